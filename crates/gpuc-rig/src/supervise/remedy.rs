//! Carrying out what the user asked for on a breach, and saying honestly whether it worked.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gpuc_core::error::{Code, Coded};
use gpuc_core::safety::Action;
use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::pidfd::Process;
use super::signals::Signals;

/// How long a process that was asked to end may take.
const GRACE: Duration = Duration::from_secs(5);
/// How long a command may take; docker itself gives a container 10 s.
const DEADLINE: Duration = Duration::from_secs(20);

/// An action that was checked and can be carried out.
#[derive(Debug)]
pub struct Remedy(Means);

#[derive(Debug)]
enum Means {
    /// Nothing beyond the supervised job itself.
    Nothing,
    Program(PathBuf, Vec<String>),
    Process(Process),
}

/// Why an action could not be carried out when it is needed.
#[derive(Debug, thiserror::Error)]
pub enum RemedyError {
    /// The program that does it is missing.
    #[error("--on-breach {action} needs {program}, which is not on PATH")]
    NoProgram {
        /// The action.
        action: String,
        /// The program.
        program: &'static str,
    },
    /// The process cannot be stopped by us.
    #[error("--on-breach {action}: process {pid} cannot be watched over")]
    NoProcess {
        /// The action.
        action: String,
        /// Its number.
        pid: i32,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It is us.
    #[error("--on-breach kill:{0} names the watchdog itself")]
    Ourselves(i32),
}

impl Coded for RemedyError {
    fn code(&self) -> Code {
        match self {
            Self::NoProgram { .. } => Code::DepMissing,
            Self::NoProcess { .. } | Self::Ourselves(_) => Code::InputBadAction,
        }
    }
    fn hint(&self) -> Option<String> {
        Some(
            match self {
                Self::NoProgram { .. } => "found out now rather than at the breach: install it",
                Self::NoProcess { .. } => "check that it runs and that you may signal it",
                Self::Ourselves(_) => "name the process of the job",
            }
            .to_owned(),
        )
    }
}

impl Remedy {
    /// Checks that the action can be carried out, and holds on to what it needs.
    pub fn prepare(action: &Action) -> Result<Self, RemedyError> {
        let text = || action.to_string();
        let program = |name: &'static str, args: &[&str]| {
            let args = args.iter().map(|&a| a.to_owned()).collect();
            match crate::path::find(name) {
                Some(path) => Ok(Means::Program(path, args)),
                None => Err(RemedyError::NoProgram {
                    action: text(),
                    program: name,
                }),
            }
        };
        Ok(Self(match action {
            Action::Alert | Action::KillJob => Means::Nothing,
            Action::WslShutdown => match program("wsl.exe", &["--shutdown"]) {
                Ok(means) => means,
                Err(_) => program("wsl", &["--shutdown"])?,
            },
            Action::DockerStop(name) => program("docker", &["stop", name])?,
            Action::Command(line) => {
                Means::Program("/bin/sh".into(), vec!["-c".into(), line.clone()])
            }
            Action::Kill(pid) if u32::try_from(*pid) == Ok(std::process::id()) => {
                return Err(RemedyError::Ourselves(*pid));
            }
            Action::Kill(pid) => {
                Means::Process(
                    Process::open(*pid).map_err(|source| RemedyError::NoProcess {
                        action: text(),
                        pid: *pid,
                        source,
                    })?,
                )
            }
        }))
    }

    /// Starts carrying it out.
    pub fn begin(&self, signals: &Signals) -> UnderWay<'_> {
        let started = Instant::now();
        let state = match &self.0 {
            Means::Nothing => State::Over(Ok("nothing to do".to_owned())),
            Means::Process(process) => match process.signal(Signal::SIGTERM) {
                Ok(()) => State::Ending {
                    process,
                    killed: false,
                },
                Err(Errno::ESRCH) => State::Over(Ok("the process had ended before".to_owned())),
                Err(e) => State::Over(Err(e.desc().to_owned())),
            },
            Means::Program(program, args) => match launch(program, args, signals) {
                Ok(child) => State::Running(child),
                Err(e) => State::Over(Err(format!("{} cannot be started: {e}", program.display()))),
            },
        };
        UnderWay { started, state }
    }
}

fn launch(program: &PathBuf, args: &[String], signals: &Signals) -> io::Result<Child> {
    use std::os::fd::AsFd as _;
    let mut command = Command::new(program);
    command
        .args(args)
        .process_group(0)
        .stdin(Stdio::null())
        // Standard output belongs to the job or to the report stream.
        .stdout(Stdio::from(io::stderr().as_fd().try_clone_to_owned()?));
    signals.restore_in(&mut command);
    command.spawn()
}

/// An action while it lasts.
#[derive(Debug)]
pub struct UnderWay<'a> {
    started: Instant,
    state: State<'a>,
}

#[derive(Debug)]
enum State<'a> {
    Running(Child),
    Ending { process: &'a Process, killed: bool },
    Over(Result<String, String>),
}

impl UnderWay<'_> {
    /// What came of it: `Ok` what was done, `Err` why it failed; nothing while it lasts.
    pub fn outcome(&mut self) -> Option<&Result<String, String>> {
        let late = self.started.elapsed();
        let over = match &mut self.state {
            State::Over(_) => None,
            State::Running(child) => match child.try_wait() {
                Ok(Some(status)) if status.success() => Some(Ok("done".to_owned())),
                Ok(Some(status)) => Some(Err(status.to_string())),
                Ok(None) if late < DEADLINE => None,
                Ok(None) => {
                    kill_group(child);
                    Some(Err(format!(
                        "not done after {} s, killed",
                        DEADLINE.as_secs()
                    )))
                }
                Err(e) => Some(Err(e.to_string())),
            },
            State::Ending { process, killed } => {
                let ended = process.has_ended();
                if ended && *killed {
                    Some(Ok("the process was killed".to_owned()))
                } else if ended {
                    Some(Ok("the process ended".to_owned()))
                } else if late >= DEADLINE {
                    Some(Err("the process does not end, even killed".to_owned()))
                } else {
                    if late >= GRACE && !*killed {
                        *killed = true;
                        // Its failure shows in what follows.
                        let _ = process.signal(Signal::SIGKILL);
                    }
                    None
                }
            }
        };
        if let Some(over) = over {
            self.state = State::Over(over);
        }
        match &self.state {
            State::Over(outcome) => Some(outcome),
            _ => None,
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if let State::Running(child) = &mut self.state {
            kill_group(child);
        }
    }
}

fn kill_group(child: &mut Child) {
    if let Ok(group) = i32::try_from(child.id()) {
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
}
