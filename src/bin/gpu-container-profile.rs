//! gpu-container-profile: measures the rig and, when one is given, analyses the model.

use std::process::ExitCode;

use gpu_container::{main_with, profile};

fn main() -> ExitCode {
    main_with(|args| profile::run(&args))
}
