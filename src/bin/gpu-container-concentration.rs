//! `gpu-container-concentration`: is a model's routing skewed enough for a per-expert cache?

use std::process::ExitCode;

fn main() -> ExitCode {
    gpu_container::main_with(gpu_container::concentration::run)
}
