//! Carrying out what the user asked for on a breach, and saying honestly whether it worked.

use std::fmt;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use gpuc_core::error::{Code, Coded};
use gpuc_core::safety::Action;
use nix::errno::Errno;
use nix::sys::signal::Signal;

use super::guardian::{Guardian, News};
use super::job::Ended;
use super::pidfd::Process;
use super::protect::Protection;
use super::signals::Signals;

/// How long a process that was asked to end may take.
const GRACE: Duration = Duration::from_secs(5);
/// How long what is killed is waited for.
const LAST: Duration = Duration::from_secs(2);

/// An action that was checked and can be carried out.
#[derive(Debug)]
pub struct Remedy(Means);

#[derive(Debug)]
enum Means {
    /// Nothing beyond the supervised job itself.
    Nothing,
    Program(PathBuf, Vec<String>),
    Process(i32, Process),
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
                Self::NoProgram { .. } => {
                    "found out now rather than at the breach: install it, or make it executable"
                }
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
                let process = Process::open(*pid).and_then(|process| {
                    // A zombie still has its number.
                    if process.has_ended() {
                        return Err(Errno::ESRCH.into());
                    }
                    Ok(process)
                });
                Means::Process(
                    *pid,
                    process.map_err(|source| RemedyError::NoProcess {
                        action: text(),
                        pid: *pid,
                        source,
                    })?,
                )
            }
        }))
    }

    /// Starts carrying it out. A program gets `facts` in its environment, and `limit` to be done.
    ///
    /// A program is held as a job is: when its time is over, when the watchdog is, all that it has
    /// started ends. What one that was done in time leaves running is let be.
    pub fn begin(
        &self,
        signals: &Signals,
        facts: &[(&str, String)],
        limit: Duration,
        oom_score: Option<&String>,
    ) -> UnderWay<'_> {
        let state = match &self.0 {
            Means::Nothing => State::Over(Ok("nothing to do".to_owned())),
            Means::Process(_, process) => match process.signal(Signal::SIGTERM) {
                Ok(()) => State::Ending {
                    process,
                    killed: false,
                },
                Err(Errno::ESRCH) => State::Over(Ok("the process had ended before".to_owned())),
                Err(e) => State::Over(Err(e.desc().to_owned())),
            },
            Means::Program(program, args) => {
                let mut command = Command::new(program);
                command.args(args).envs(facts.iter().map(|(k, v)| (k, v)));
                Protection::undo_in(oom_score.cloned(), &mut command);
                match launch(command, signals) {
                    Ok(guardian) => State::Running(guardian),
                    Err(e) => {
                        State::Over(Err(format!("{} cannot be started: {e}", program.display())))
                    }
                }
            }
        };
        UnderWay {
            started: Instant::now(),
            limit,
            state,
        }
    }
}

impl fmt::Display for Remedy {
    /// What would be done, as a command line where it is one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Means::Nothing => f.write_str("nothing beside the job"),
            Means::Process(pid, _) => write!(
                f,
                "SIGTERM to process {pid}, after {} s SIGKILL",
                GRACE.as_secs()
            ),
            Means::Program(program, args) => {
                write!(f, "run {}", program.display())?;
                args.iter().try_for_each(|arg| write!(f, " {arg:?}"))
            }
        }
    }
}

fn launch(mut command: Command, signals: &Signals) -> io::Result<Guardian> {
    command
        .process_group(0)
        .stdin(Stdio::null())
        // Standard output belongs to the job or to the report stream.
        .stdout(Stdio::from(io::stderr().as_fd().try_clone_to_owned()?));
    signals.restore_in(&mut command);
    let mut guardian = Guardian::start(command, None, None)?;
    let why = match guardian.wait() {
        Some(News::Started(_)) => return Ok(guardian),
        Some(News::NotStarted(errno)) => io::Error::from_raw_os_error(errno),
        _ => io::ErrorKind::BrokenPipe.into(),
    };
    guardian.dismiss(true);
    Err(why)
}

/// An action while it lasts. Dropping it ends it.
#[derive(Debug)]
pub struct UnderWay<'a> {
    started: Instant,
    limit: Duration,
    state: State<'a>,
}

#[derive(Debug)]
enum State<'a> {
    Running(Guardian),
    Ending { process: &'a Process, killed: bool },
    Over(Result<String, String>),
}

impl UnderWay<'_> {
    /// What came of it: `Ok` what was done, `Err` why it failed; nothing while it lasts.
    pub fn outcome(&mut self) -> Option<&Result<String, String>> {
        let late = self.started.elapsed();
        let over = match &mut self.state {
            State::Over(_) => None,
            State::Running(guardian) => match end_of(guardian) {
                Some(Ended::Exit(0)) => Some(Ok("done".to_owned())),
                Some(Ended::Exit(status)) => Some(Err(format!("exit status {status}"))),
                Some(Ended::Signal(n)) => Some(Err(format!("ended by signal {n}"))),
                None if late < self.limit => None,
                None => Some(Err(format!(
                    "not done after {} s, killed",
                    self.limit.as_secs_f64()
                ))),
            },
            State::Ending { process, killed } => {
                let ended = process.has_ended();
                if ended && *killed {
                    Some(Ok("the process was killed".to_owned()))
                } else if ended {
                    Some(Ok("the process ended".to_owned()))
                } else if late >= GRACE + LAST {
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
            let done = over.is_ok();
            if let State::Running(guardian) = std::mem::replace(&mut self.state, State::Over(over))
            {
                if done {
                    guardian.release();
                } else {
                    guardian.dismiss_within(LAST);
                }
            }
        }
        match &self.state {
            State::Over(outcome) => Some(outcome),
            _ => None,
        }
    }

    /// Becomes readable when something has come of it.
    pub fn bell(&self) -> Option<BorrowedFd<'_>> {
        match &self.state {
            State::Running(guardian) => guardian.bell(),
            _ => None,
        }
    }
}

/// How a guardian's program has ended, if it has.
fn end_of(guardian: &mut Guardian) -> Option<Ended> {
    while let Some(news) = guardian.news() {
        if let News::Ended(ended) = news {
            return Some(ended);
        }
    }
    guardian.is_gone().then_some(Ended::Signal(9))
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let over = State::Over(Err("given up".to_owned()));
        if let State::Running(guardian) = std::mem::replace(&mut self.state, over) {
            guardian.dismiss_within(LAST);
        }
    }
}
