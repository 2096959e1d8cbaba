//! Place a model on a rig, forecast its speed, ship or refuse.

use std::process::ExitCode;

fn main() -> ExitCode {
    gpu_container::main_with(gpu_container::plan::run)
}
