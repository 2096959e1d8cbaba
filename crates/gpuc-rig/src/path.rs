//! Programs on PATH.

use std::path::{Path, PathBuf};

/// The first program called `name` on PATH that may be executed.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    // A relative entry would run whatever lies in the folder one happens to stand in.
    std::env::split_paths(&path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .find(|program| program.is_file() && may_be_executed(program))
}

/// As a shell looks: what may not be executed does not hide what comes later on PATH.
#[cfg(unix)]
fn may_be_executed(program: &Path) -> bool {
    nix::unistd::access(program, nix::unistd::AccessFlags::X_OK).is_ok()
}

#[cfg(not(unix))]
fn may_be_executed(_program: &Path) -> bool {
    true
}
