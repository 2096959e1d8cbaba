//! The supervised job: a process group of its own, stopped whole, on every way out.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use gpuc_core::error::{Code, Coded};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{Pid, getpid, getppid, tcsetpgrp};

use super::group::Group;
use super::signals::Signals;
use super::terminal::Terminal;

/// How often a group that was told to stop is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// How long a killed group may take to be gone: a process in the kernel's hands dies late.
const LAST: Duration = Duration::from_secs(2);

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this status.
    Exit(u8),
    /// By this signal.
    Signal(u8),
}

impl Ended {
    /// The status as a shell would give it.
    pub fn status(self) -> u8 {
        match self {
            Self::Exit(status) => status,
            Self::Signal(n) => 128_u8.saturating_add(n),
        }
    }

    fn of(status: ExitStatus) -> Self {
        let narrow = |n: i32| u8::try_from(n).unwrap_or(u8::MAX);
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Exit(narrow(code)),
            (None, Some(signal)) => Self::Signal(narrow(signal)),
            (None, None) => Self::Exit(u8::MAX),
        }
    }
}

/// What it took to stop a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// Nothing was left to stop.
    AlreadyOver,
    /// It ended when it was asked to.
    Terminated,
    /// It had to be killed.
    Killed,
    /// Even killed, some of it has not ended yet.
    StillThere,
}

/// Why a job could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// No such program, or none of the interpreter its first line names.
    #[error("{program}: command not found")]
    NotFound {
        /// What was to be started.
        program: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It is there, but cannot be executed.
    #[error("{program}: cannot be executed")]
    NotExecutable {
        /// What was to be started.
        program: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl Coded for SpawnError {
    fn code(&self) -> Code {
        match self {
            Self::NotFound { .. } => Code::IoCommandNotFound,
            Self::NotExecutable { .. } => Code::IoCommandNotExecutable,
        }
    }
    fn hint(&self) -> Option<String> {
        Some(
            match self {
                Self::NotFound { .. } => "check the spelling and PATH; shell syntax needs sh -c",
                Self::NotExecutable { .. } => "check that it is a program and that you may run it",
            }
            .to_owned(),
        )
    }
}

/// A running job. Dropping it stops it.
#[derive(Debug)]
pub struct Job {
    child: Child,
    group: Group,
    terminal: Option<Terminal>,
    status: Option<Ended>,
    over: bool,
    stopped: bool,
}

impl Job {
    /// Starts `program`, which inherits everything but its standard output where that is to go to
    /// standard error.
    ///
    /// Call it from the thread that lives as long as the process: the kernel kills the job when
    /// the thread that started it ends.
    pub fn spawn(
        signals: &Signals,
        program: &OsStr,
        args: &[OsString],
        stdout_to_stderr: bool,
    ) -> Result<Self, SpawnError> {
        let failed = |source: io::Error| {
            let program = program.to_string_lossy().into_owned();
            match source.kind() {
                io::ErrorKind::NotFound => SpawnError::NotFound { program, source },
                _ => SpawnError::NotExecutable { program, source },
            }
        };
        let mut command = Command::new(program);
        command.args(args).process_group(0);
        if stdout_to_stderr {
            let stderr = io::stderr().as_fd().try_clone_to_owned().map_err(failed)?;
            command.stdout(Stdio::from(stderr));
        }
        let terminal = Terminal::held();
        prepare(&mut command, terminal.is_some());
        signals.restore_in(&mut command);
        let child = command.spawn().map_err(failed)?;
        let group = Group(Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX)));
        Ok(Self {
            child,
            group,
            terminal,
            status: None,
            over: false,
            stopped: false,
        })
    }

    /// How the job ended, once it has. The process stays unreaped, so that its number stays its
    /// own, until [`Job::stop`].
    pub fn has_ended(&mut self) -> bool {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        // An error can only be a signal that has no name here: it has ended all the same.
        self.over |= !matches!(
            waitid(Id::Pid(self.group.0), flags),
            Ok(WaitStatus::StillAlive)
        );
        self.over
    }

    /// Gives what a job leaves behind a moment to end by itself, as the `tee` at the end of a
    /// pipeline does, and says how many processes then still run.
    pub fn linger(&mut self, signals: &Signals, most: Duration) -> usize {
        if self.wait_until_gone(Some(signals), most) {
            0
        } else {
            self.group.running()
        }
    }

    /// Stops what is left of the group: asked first, killed after `grace`, or at once when a
    /// second signal shows that somebody is impatient. Then gives the job's own end.
    pub fn stop(&mut self, signals: Option<&Signals>, grace: Duration) -> (Stopped, Option<Ended>) {
        let how = self.stop_group(signals, grace);
        self.stopped = true;
        if self.status.is_none() && self.has_ended() {
            self.status = self.child.try_wait().ok().flatten().map(Ended::of);
        }
        if let Some(terminal) = self.terminal.take() {
            terminal.take_from(self.group.0);
        }
        (how, self.status)
    }

    fn stop_group(&mut self, signals: Option<&Signals>, grace: Duration) -> Stopped {
        if self.is_gone() {
            return Stopped::AlreadyOver;
        }
        self.group.signal(Signal::SIGTERM);
        // One that is paused cannot end before it goes on.
        self.group.signal(Signal::SIGCONT);
        if self.wait_until_gone(signals, grace) {
            return Stopped::Terminated;
        }
        self.group.signal(Signal::SIGKILL);
        if self.wait_until_gone(None, LAST) {
            Stopped::Killed
        } else {
            Stopped::StillThere
        }
    }

    fn is_gone(&mut self) -> bool {
        // Once reaped, the number may be somebody else's.
        self.status.is_some() || self.has_ended() && self.group.running() == 0
    }

    fn wait_until_gone(&mut self, signals: Option<&Signals>, most: Duration) -> bool {
        let ends = Instant::now() + most;
        loop {
            if self.is_gone() {
                return true;
            }
            let now = Instant::now();
            if now >= ends {
                return false;
            }
            let next = ends.min(now + LOOK);
            match signals.map(|s| s.wait(None, Some(next))) {
                Some(Ok(wake)) if wake.stop.is_some() => return false,
                Some(Ok(_)) => {}
                None | Some(Err(_)) => std::thread::sleep(next - now),
            }
        }
    }

    /// Follows a job that its terminal has paused: we pause as well, so that the shell sees it,
    /// and go on together.
    pub fn follow_pause(&mut self) {
        let flags = WaitPidFlag::WSTOPPED | WaitPidFlag::WNOHANG;
        let paused = matches!(
            waitid(Id::Pid(self.group.0), flags),
            Ok(WaitStatus::Stopped(..))
        );
        if paused && self.terminal.is_some() {
            self.pause_together();
        }
    }

    /// Pauses the job and ourselves until we are told to go on.
    pub fn pause_together(&mut self) {
        self.group.signal(Signal::SIGSTOP);
        if let Some(terminal) = self.terminal {
            terminal.take_from(self.group.0);
        }
        Signals::pause();
        if let Some(terminal) = self.terminal {
            terminal.hand_to(self.group.0);
        }
        self.group.signal(Signal::SIGCONT);
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        // The way out of a panic.
        if !self.stopped {
            self.stop(None, Duration::from_secs(5));
        }
    }
}

/// What the job's process does between fork and exec.
#[allow(unsafe_code)]
fn prepare(command: &mut Command, has_terminal: bool) {
    let us = getpid();
    let before_exec = move || {
        if has_terminal {
            // Done here as well as by us, so that its first read cannot come too early. The
            // signal that this would raise is still blocked.
            let _ = tcsetpgrp(io::stdin(), getpid());
        }
        // Should we be killed outright, at least the job itself goes with us.
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        if getppid() != us {
            // Killed already, before the kernel knew that it matters.
            return Err(io::Error::from(io::ErrorKind::BrokenPipe));
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes system calls on numbers it owns; `stdin()`
    // was initialised before the fork by `Terminal::held`, and nothing allocates or locks.
    unsafe {
        command.pre_exec(before_exec);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[test]
    fn a_job_dropped_in_a_panic_takes_its_group_with_it() {
        let signals = Signals::take_over().unwrap();
        let args = ["-c".into(), "sleep 100 & sleep 100".into()];
        let job = Job::spawn(&signals, "sh".as_ref(), &args, false).unwrap();
        let group = job.group;
        assert!(group.running() > 0);
        let fell = catch_unwind(AssertUnwindSafe(|| {
            let _job = job;
            panic!("on purpose");
        }));
        assert!(fell.is_err());
        assert_eq!(group.running(), 0);
    }

    #[test]
    fn an_ended_job_keeps_its_number_until_it_is_stopped() {
        let signals = Signals::take_over().unwrap();
        let args = ["-c".into(), "exit 3".into()];
        let mut job = Job::spawn(&signals, "sh".as_ref(), &args, false).unwrap();
        while !job.has_ended() {
            std::thread::yield_now();
        }
        assert!(std::path::Path::new(&format!("/proc/{}", job.group.0)).exists());
        let stopped = job.stop(Some(&signals), Duration::ZERO);
        assert_eq!(stopped, (Stopped::AlreadyOver, Some(Ended::Exit(3))));
        assert_eq!(job.stop(None, Duration::ZERO).1, Some(Ended::Exit(3)));
    }
}
