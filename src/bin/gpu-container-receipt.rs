//! `gpu-container-receipt`: a measured run held against its plan.

use std::process::ExitCode;

fn main() -> ExitCode {
    gpu_container::main_with(gpu_container::receipt::run)
}
