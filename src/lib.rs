//! What the five commands share: parse, run, render the error, end with the right status.

pub mod concentration;
mod deliver;
mod launch;
pub mod model_file;
pub mod plan;
pub mod profile;
pub mod receipt;
pub mod safetensors_folder;
mod screen;
mod shell;
pub mod values;
#[cfg(target_os = "linux")]
pub mod watchdog;

pub use deliver::{
    check_writable, deliver_json, deliver_text, read_document, read_input, read_model_config,
    write_atomically,
};
pub use shell::{CommonArgs, main_with};
