//! Keeping the watchdog itself alive when memory runs out.

use std::fs;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::libc;

const SCORE: &str = "/proc/self/oom_score_adj";
/// As systemd's own guard against full memory has it: among the last to be killed.
const LOWERED: &str = "-900";

/// The score that this process was started with, where it was changed.
static ORIGINAL: OnceLock<String> = OnceLock::new();

/// What was done to stay alive, and what the job is to be given back.
#[derive(Debug)]
pub struct Protection {
    /// Whether our pages stay in memory; or why not.
    pub locked: Result<(), String>,
    /// Whether the kernel kills others first; or why not.
    pub spared: Result<(), String>,
    original: Option<String>,
}

impl Protection {
    /// Does what the system permits. Call it before anything is started.
    pub fn take() -> Self {
        let before = fs::read_to_string(SCORE).ok().map(|s| s.trim().to_owned());
        let spared = lower();
        let original = before.filter(|_| spared.is_ok());
        if let Some(score) = &original {
            // Taken twice, the first is the one that we were started with.
            let _ = ORIGINAL.set(score.clone());
        }
        Self {
            locked: lock(),
            original,
            spared,
        }
    }

    /// Gives a tool that we ask something the score that we were started with.
    pub(super) fn undo_in_tool(command: &mut Command) {
        Self::undo_in(ORIGINAL.get().cloned(), command);
    }

    /// Gives the command's process the score that we were started with.
    #[allow(unsafe_code)]
    pub(super) fn undo_in(original: Option<String>, command: &mut Command) {
        let Some(score) = original else { return };
        let restore = move || {
            // SAFETY: a path that lives for ever; the descriptor is closed again.
            unsafe {
                let fd = libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY);
                if fd >= 0 {
                    libc::write(fd, score.as_ptr().cast(), score.len());
                    libc::close(fd);
                }
            }
            Ok(())
        };
        // SAFETY: between fork and exec the closure makes system calls on memory made before.
        unsafe {
            command.pre_exec(restore);
        }
    }

    /// The score that the job is to have, where ours was changed.
    pub fn original(&self) -> Option<String> {
        self.original.clone()
    }
}

fn lower() -> Result<(), String> {
    let mut file = fs::File::options()
        .write(true)
        .open(SCORE)
        .map_err(|e| e.to_string())?;
    file.write_all(LOWERED.as_bytes())
        .map_err(|e| e.to_string())
}

/// Only where no limit could make a later allocation fail; each page as it is first used, since
/// all at once would hold several times of what is ever touched.
#[allow(unsafe_code)]
fn lock() -> Result<(), String> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let capable = status
        .lines()
        .find_map(|l| l.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .is_some_and(|caps| caps & (1 << CAP_IPC_LOCK) != 0);
    if !capable && !is_unlimited() {
        return Err("RLIMIT_MEMLOCK does not allow for it".to_owned());
    }
    let how = libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT;
    // SAFETY: the call takes a number and changes nothing that the program could notice.
    let done = unsafe { libc::mlockall(how) };
    Errno::result(done)
        .map(drop)
        .map_err(|e| e.desc().to_owned())
}

/// The kernel's number of the right to lock memory.
const CAP_IPC_LOCK: u32 = 14;

#[allow(unsafe_code)]
fn is_unlimited() -> bool {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the call fills a record of ours.
    let done = unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) };
    done == 0 && limit.rlim_cur == libc::RLIM_INFINITY
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_that_is_asked_has_the_score_that_we_were_started_with() {
        // Anybody may raise a score, so this does not depend on what the machine permits.
        let score = ORIGINAL.get_or_init(|| "321".to_owned());
        let mut cat = Command::new("cat");
        cat.arg(SCORE);
        super::super::attend(&mut cat);
        let printed = cat.output().unwrap().stdout;
        assert_eq!(String::from_utf8(printed).unwrap().trim(), score);
    }
}
