//! What gpu-container decides, as pure functions: documents and `now` in, documents out.
//!
//! Nothing here opens a file, reads a clock or an environment variable, starts a thread or prints.
//! What touches the machine is `gpuc-rig`; the five binaries join the two.

pub mod calibration;
pub mod document;
pub mod error;
pub mod exit;
pub mod footprint;
pub mod forecast;
pub mod gpus;
pub mod header;
pub mod json;
pub mod launch;
pub mod model;
pub mod plan;
pub mod receipt;
pub mod routing;
pub mod safety;
pub mod text;
pub mod units;
