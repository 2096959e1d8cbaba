//! Who may read from the terminal: a job in a process group of its own only when it is told so.

use std::io::{self, IsTerminal as _};

use nix::unistd::{Pid, getpgrp, tcgetpgrp, tcsetpgrp};

/// The terminal that standard input is, if it is one that we are in the foreground of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terminal {
    ours: Pid,
}

impl Terminal {
    pub(super) fn held() -> Option<Self> {
        let ours = getpgrp();
        let stdin = io::stdin();
        (stdin.is_terminal() && tcgetpgrp(&stdin) == Ok(ours)).then_some(Self { ours })
    }

    /// Hands it to a job, if it is ours to hand.
    pub(super) fn hand_to(self, group: Pid) {
        if tcgetpgrp(io::stdin()) == Ok(self.ours) {
            // A job without a terminal stops at its first read, and then is visibly stopped.
            let _ = tcsetpgrp(io::stdin(), group);
        }
    }

    /// Takes it back from a job that has it; somebody else's it stays.
    pub(super) fn take_from(self, group: Pid) {
        if tcgetpgrp(io::stdin()) == Ok(group) {
            let _ = tcsetpgrp(io::stdin(), self.ours);
        }
    }
}
