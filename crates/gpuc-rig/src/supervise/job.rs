//! The supervised job: a tree held by a guardian, stopped whole, on every way out.

mod stop;

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use gpuc_core::error::{Code, Coded};
use gpuc_core::safety::JobReading;
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid, setsid, tcsetpgrp};

use super::cgroup::Cgroup;
use super::console::Keepsake;
use super::guardian::{Guardian, News};
use super::protect::Protection;
use super::signals::{Forwarded, Signals};
use super::terminal::Terminal;
use super::tree::Tree;
pub use stop::{Attendant, Step, Stopped};

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

/// Where a job's standard streams lead, each where it is not simply to ours.
#[derive(Debug, Default)]
pub struct Streams {
    /// Standard input.
    pub stdin: Option<OwnedFd>,
    /// Standard output.
    pub stdout: Option<OwnedFd>,
    /// Standard error.
    pub stderr: Option<OwnedFd>,
    /// Whether it gets a session without a terminal: the one that we have shows something else.
    pub no_terminal: bool,
    /// The terminal that is put right should we be killed.
    pub keepsake: Option<Keepsake>,
}

/// A running job. Dropping it stops it.
#[derive(Debug)]
pub struct Job {
    /// There until the job is stopped.
    guardian: Option<Guardian>,
    /// The number of the job itself, and of its process group.
    leader: Pid,
    cgroup: Option<Cgroup>,
    terminal: Option<Terminal>,
    ended: Option<Ended>,
    empty: bool,
    paused: bool,
}

impl Job {
    /// Starts `program`, which inherits everything but the streams that lead elsewhere, the service
    /// manager's socket, and the score for full memory where one is given.
    ///
    /// Best called before there are other threads: what holds the job is a fork of this process.
    pub fn spawn(
        signals: &Signals,
        program: &OsStr,
        args: &[OsString],
        streams: Streams,
        cgroup: Option<Cgroup>,
        oom_score: Option<String>,
    ) -> Result<Self, SpawnError> {
        let failed = |source: io::Error| {
            let program = program.to_string_lossy().into_owned();
            match source.kind() {
                io::ErrorKind::NotFound => SpawnError::NotFound { program, source },
                _ => SpawnError::NotExecutable { program, source },
            }
        };
        let mut command = Command::new(program);
        command.args(args);
        for name in super::notify::VARIABLES {
            // The manager is ours: what the job told it would be taken for what we say.
            command.env_remove(name);
        }
        if let Some(stdin) = streams.stdin {
            command.stdin(stdin);
        }
        if let Some(stdout) = streams.stdout {
            command.stdout(stdout);
        }
        if let Some(stderr) = streams.stderr {
            command.stderr(stderr);
        }
        let terminal = if streams.no_terminal {
            None
        } else {
            command.process_group(0);
            Terminal::held()
        };
        prepare(&mut command, terminal.is_some(), streams.no_terminal);
        Protection::undo_in(oom_score, &mut command);
        signals.restore_in(&mut command);
        let mut guardian =
            Guardian::start(command, cgroup.as_ref(), streams.keepsake.as_ref()).map_err(failed)?;
        let leader = match guardian.wait() {
            Some(News::Started(pid)) => Pid::from_raw(pid),
            other => {
                guardian.dismiss(true);
                if let Some(cgroup) = cgroup {
                    cgroup.remove();
                }
                return Err(failed(match other {
                    Some(News::NotStarted(errno)) => io::Error::from_raw_os_error(errno),
                    _ => io::Error::from(io::ErrorKind::BrokenPipe),
                }));
            }
        };
        Ok(Self {
            guardian: Some(guardian),
            leader,
            cgroup,
            terminal,
            ended: None,
            empty: false,
            paused: false,
        })
    }

    /// Whether the job itself has ended; what it started may go on.
    pub fn has_ended(&mut self) -> bool {
        self.hear();
        self.ended.is_some()
    }

    fn hear(&mut self) {
        let Some(guardian) = &mut self.guardian else {
            return;
        };
        while let Some(news) = guardian.news() {
            match news {
                News::Ended(ended) => self.ended = Some(ended),
                News::Paused => self.paused = true,
                News::Empty => self.empty = true,
                News::Started(_) | News::NotStarted(_) => {}
            }
        }
        if guardian.is_gone() && self.ended.is_none() {
            // The job dies with its guardian, by the kernel's hand.
            self.ended = Some(Ended::Signal(9));
        }
    }

    /// Becomes readable when there is something to be known about the job.
    pub fn bell(&self) -> Option<BorrowedFd<'_>> {
        self.guardian.as_ref().and_then(Guardian::bell)
    }

    /// Everything the job has started, or what is left of it.
    fn tree(&self) -> Tree {
        match &self.guardian {
            Some(guardian) if !guardian.is_gone() => Tree::below(guardian.pid),
            // Its orphans have come to us.
            _ => Tree::below(getpid()),
        }
    }

    /// The numbers of all its processes, and what they hold in memory.
    pub fn reading(&self) -> JobReading {
        JobReading {
            since_the_start: true,
            ..self.tree().reading()
        }
    }

    /// The number of the job's first process.
    pub fn number(&self) -> i32 {
        self.leader.as_raw()
    }

    /// Hands a signal on to the job itself.
    pub fn forward(&mut self, signal: Forwarded) {
        if !self.has_ended() {
            // Read a moment ago; its guardian is the only one who could free the number.
            let _ = kill(self.leader, signal.0);
        }
    }

    /// Follows a job that its terminal has paused: we pause as well, so that the shell sees it,
    /// and go on together.
    pub fn follow_pause(&mut self) {
        self.hear();
        if std::mem::take(&mut self.paused) && self.terminal.is_some() {
            self.pause_together();
        }
    }

    /// Pauses the job and ourselves until we are told to go on.
    pub fn pause_together(&mut self) {
        self.tree().signal_group(self.leader, Signal::SIGSTOP);
        if let Some(terminal) = self.terminal {
            terminal.take_from(self.leader);
        }
        Signals::pause();
        if let Some(terminal) = self.terminal {
            terminal.hand_to(self.leader);
        }
        self.tree().signal_group(self.leader, Signal::SIGCONT);
        // Its pause was ours.
        self.hear();
        self.paused = false;
    }
}

/// What the job's process does between fork and exec.
#[allow(unsafe_code)]
fn prepare(command: &mut Command, has_terminal: bool, alone: bool) {
    let before_exec = move || {
        if alone {
            // A group of its own as well.
            setsid()?;
        }
        if has_terminal {
            // Done here as well as by us, so that its first read cannot come too early. The
            // signal that this would raise is still blocked.
            let _ = tcsetpgrp(io::stdin(), getpid());
        }
        // Should its guardian be killed outright, at least the job itself goes with it.
        Ok(prctl::set_pdeathsig(Signal::SIGKILL)?)
    };
    // SAFETY: between fork and exec the closure makes system calls on numbers it owns; `stdin()`
    // was initialised before the fork by `Terminal::held`, and nothing allocates or locks.
    unsafe {
        command.pre_exec(before_exec);
    }
}

#[cfg(test)]
mod tests;
