//! A process group: who is still in it, and signals to all of it.

use std::fs;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// A job's process group. Its leader stays unreaped as long as this is used, so that the number
/// cannot have become somebody else's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Group(pub(super) Pid);

impl Group {
    pub(super) fn signal(self, signal: Signal) {
        // Gone already, or made of processes that only root may signal: neither can be helped.
        let _ = killpg(self.0, signal);
    }

    /// How many of its processes still run. Zombies do not: where nobody reaps orphans they stay,
    /// and signalling the group would go on to succeed for ever.
    pub(super) fn running(self) -> usize {
        let Ok(entries) = fs::read_dir("/proc") else {
            return 0;
        };
        entries
            .filter_map(|e| e.ok()?.file_name().into_string().ok())
            .filter(|name| name.bytes().all(|b| b.is_ascii_digit()))
            .filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/stat")).ok())
            .filter(|stat| is_running_in(stat, self.0.as_raw()))
            .count()
    }
}

/// Whether the process of a `/proc/PID/stat` line is in the group and alive.
fn is_running_in(stat: &str, group: i32) -> bool {
    // The name stands in brackets and may hold anything, brackets and spaces included.
    let Some((_, rest)) = stat.rsplit_once(')') else {
        return false;
    };
    let mut fields = rest.split_ascii_whitespace();
    let (state, _parent, pgrp) = (fields.next(), fields.next(), fields.next());
    !matches!(state, Some("Z" | "X")) && pgrp.and_then(|p| p.parse().ok()) == Some(group)
}

#[cfg(test)]
mod tests {
    use super::is_running_in;

    #[test]
    fn stat_lines() {
        let cases = [
            ("42 (sleep) S 1 77 42 0 -1", true),
            ("42 (a) Z) R 1 77 42 0 -1", true),
            ("42 (sleep) Z 1 77 42 0 -1", false),
            ("42 (sleep) S 1 78 42 0 -1", false),
            ("42 (77) S 77 1 77", false),
            ("", false),
            ("42 (x)", false),
        ];
        for (stat, want) in cases {
            assert_eq!(is_running_in(stat, 77), want, "{stat}");
        }
    }
}
