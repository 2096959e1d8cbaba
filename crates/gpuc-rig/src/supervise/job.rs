//! The supervised job: a tree held by a guardian, stopped whole, on every way out.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use gpuc_core::error::{Code, Coded};
use gpuc_core::safety::JobReading;
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid, setsid, tcsetpgrp};

use super::cgroup::Cgroup;
use super::console::Keepsake;
use super::guardian::{Guardian, News};
use super::protect::Protection;
use super::signals::{Forwarded, Signals, Stop, Wake};
use super::terminal::Terminal;
use super::tree::Tree;

/// How often a job that was told to stop is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// How long a kill is given before the next.
const AGAIN: Duration = Duration::from_millis(5);
/// How long a killed job may take to be gone: a process in the kernel's hands dies late.
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

/// A step on the way of stopping a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// All of it was asked to end, by this signal.
    Asked(Stop),
    /// All of it was killed.
    Killed,
    /// Nothing is left.
    Gone,
}

/// Whoever stands by while a job is stopped.
pub trait Attendant {
    /// Asked again and again while the job is given time: whether there is none left.
    fn hurry(&mut self) -> bool {
        false
    }

    /// Told of each step as it is made.
    fn step(&mut self, _step: Step) {}
}

/// Nobody.
impl Attendant for () {}

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

    /// Gives what a job leaves behind a moment to end by itself, as the `tee` at the end of a
    /// pipeline does, and says how many processes then still run.
    pub fn linger(&mut self, signals: &Signals, most: Duration) -> usize {
        if self.wait_until_gone(Some(signals), Instant::now() + most, &mut ()) {
            0
        } else {
            self.tree().running()
        }
    }

    /// Stops what is left of the job: asked first by `plea`, killed after `grace`, or at once when
    /// a second signal or the attendant shows that there is no time. Then gives the job's own end.
    pub fn stop(
        &mut self,
        plea: Stop,
        signals: Option<&Signals>,
        grace: Duration,
        attendant: &mut dyn Attendant,
    ) -> (Stopped, Option<Ended>) {
        let how = self.stop_tree(plea, signals, grace, attendant);
        if !matches!(how, Stopped::AlreadyOver | Stopped::StillThere) {
            attendant.step(Step::Gone);
        }
        if let Some(guardian) = self.guardian.take() {
            guardian.dismiss(how != Stopped::StillThere);
        }
        if let Some(cgroup) = self.cgroup.take() {
            cgroup.remove();
        }
        if let Some(terminal) = self.terminal.take() {
            terminal.take_from(self.leader);
        }
        (how, self.ended)
    }

    fn stop_tree(
        &mut self,
        plea: Stop,
        signals: Option<&Signals>,
        grace: Duration,
        attendant: &mut dyn Attendant,
    ) -> Stopped {
        if self.is_gone() {
            return Stopped::AlreadyOver;
        }
        let ends = Instant::now() + grace;
        self.ask(plea);
        attendant.step(Step::Asked(plea));
        if plea != Stop::Terminate {
            // A shell lets its background jobs ignore an interrupt: what the job itself has not
            // taken along, or a job that does not listen, is asked in the plain way.
            let mut over = false;
            let half = Instant::now() + grace / 2;
            while !over && !self.is_gone() && Instant::now() < half {
                let next = half.min(Instant::now() + LOOK);
                match self.wait_a_moment(signals, next) {
                    Moment::Impatient => return self.kill(attendant),
                    Moment::Passed if attendant.hurry() => return self.kill(attendant),
                    Moment::Passed => over = self.has_ended(),
                }
            }
            if self.is_gone() {
                return Stopped::Terminated;
            }
            self.ask(Stop::Terminate);
            attendant.step(Step::Asked(Stop::Terminate));
        }
        if self.wait_until_gone(signals, ends, attendant) {
            return Stopped::Terminated;
        }
        self.kill(attendant)
    }

    fn ask(&self, plea: Stop) {
        let tree = self.tree();
        tree.signal(plea.signal());
        // One that is paused cannot end before it goes on.
        tree.signal(Signal::SIGCONT);
    }

    fn kill(&mut self, attendant: &mut dyn Attendant) -> Stopped {
        attendant.step(Step::Killed);
        let ends = Instant::now() + LAST;
        loop {
            if let Some(cgroup) = &self.cgroup {
                cgroup.kill();
            }
            // Again and again: between listing and killing, one more may have been forked.
            self.tree().kill();
            let next = ends.min(Instant::now() + AGAIN);
            if self.wait_until_gone(None, next, &mut ()) {
                return Stopped::Killed;
            }
            if Instant::now() >= ends {
                return Stopped::StillThere;
            }
        }
    }

    fn is_gone(&mut self) -> bool {
        self.hear();
        let Some(guardian) = &self.guardian else {
            return true;
        };
        self.empty || guardian.is_gone() && self.tree().running() == 0
    }

    fn wait_until_gone(
        &mut self,
        signals: Option<&Signals>,
        ends: Instant,
        attendant: &mut dyn Attendant,
    ) -> bool {
        loop {
            if self.is_gone() {
                return true;
            }
            let now = Instant::now();
            if now >= ends {
                return false;
            }
            match self.wait_a_moment(signals, ends.min(now + LOOK)) {
                Moment::Impatient => return false,
                Moment::Passed if attendant.hurry() => return self.is_gone(),
                Moment::Passed => {}
            }
        }
    }

    fn wait_a_moment(&mut self, signals: Option<&Signals>, until: Instant) -> Moment {
        let bell: Vec<BorrowedFd<'_>> = self.bell().into_iter().collect();
        let waited = match signals {
            Some(signals) => signals.wait(&bell, Some(until)),
            None => super::signals::wait_for(&bell, Some(until)).map(|_| Wake::default()),
        };
        match waited {
            Ok(wake) if wake.stop.is_some() => Moment::Impatient,
            Ok(_) => Moment::Passed,
            Err(_) => {
                std::thread::sleep(until.saturating_duration_since(Instant::now()));
                Moment::Passed
            }
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

/// What a short wait has brought.
enum Moment {
    Passed,
    Impatient,
}

impl Drop for Job {
    fn drop(&mut self) {
        // The way out of a panic.
        if self.guardian.is_some() {
            self.stop(Stop::Terminate, None, Duration::from_secs(5), &mut ());
        }
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
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    fn job(signals: &Signals, script: &str) -> Job {
        let args = ["-c".into(), script.into()];
        Job::spawn(
            signals,
            "sh".as_ref(),
            &args,
            Streams::default(),
            None,
            None,
        )
        .unwrap()
    }

    fn stop(job: &mut Job, signals: &Signals, grace: Duration) -> (Stopped, Option<Ended>) {
        job.stop(Stop::Terminate, Some(signals), grace, &mut ())
    }

    #[test]
    fn a_job_dropped_in_a_panic_takes_its_tree_with_it() {
        let signals = Signals::take_over().unwrap();
        let job = job(&signals, "setsid sleep 100 & sleep 100");
        while job.tree().running() < 3 {
            std::thread::yield_now();
        }
        let numbers = job.reading().processes.unwrap();
        let fell = catch_unwind(AssertUnwindSafe(|| {
            let _job = job;
            panic!("on purpose");
        }));
        assert!(fell.is_err());
        for pid in numbers {
            assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
        }
    }

    #[test]
    fn an_ended_job_gives_its_status_once_and_again() {
        let signals = Signals::take_over().unwrap();
        let mut job = job(&signals, "exit 3");
        while !job.has_ended() || !job.is_gone() {
            std::thread::yield_now();
        }
        let stopped = stop(&mut job, &signals, Duration::ZERO);
        assert_eq!(stopped, (Stopped::AlreadyOver, Some(Ended::Exit(3))));
        assert_eq!(
            stop(&mut job, &signals, Duration::ZERO).1,
            Some(Ended::Exit(3))
        );
    }

    #[test]
    fn a_job_writes_where_it_is_told_to_and_may_have_a_session_of_its_own() {
        use std::io::Read as _;
        let signals = Signals::take_over().unwrap();
        let (mut ours, theirs) = io::pipe().unwrap();
        let streams = Streams {
            stdin: Some(std::fs::File::open("/dev/null").unwrap().into()),
            stdout: Some(theirs.try_clone().unwrap().into()),
            stderr: Some(theirs.into()),
            no_terminal: true,
            keepsake: None,
        };
        let script = "cat; cut -d' ' -f1,5,6,7 /proc/$$/stat; echo told >&2";
        let args = ["-c".into(), script.into()];
        let mut job = Job::spawn(&signals, "sh".as_ref(), &args, streams, None, None).unwrap();
        let pid = job.number();
        while !job.has_ended() || !job.is_gone() {
            std::thread::yield_now();
        }
        stop(&mut job, &signals, Duration::ZERO);
        let mut told = String::new();
        ours.read_to_string(&mut told).unwrap();
        // Its number, group and session, and no terminal.
        assert_eq!(told, format!("{pid} {pid} {pid} 0\ntold\n"));
    }

    /// Has no time, and remembers what was done.
    #[derive(Default)]
    struct Hurried(Vec<Step>);

    impl Attendant for Hurried {
        fn hurry(&mut self) -> bool {
            true
        }
        fn step(&mut self, step: Step) {
            self.0.push(step);
        }
    }

    #[test]
    fn there_is_no_grace_when_there_is_a_hurry() {
        let signals = Signals::take_over().unwrap();
        let mut job = job(&signals, "trap '' TERM; while :; do sleep 0.01; done");
        let grace = Duration::from_secs(1000);
        let mut hurried = Hurried::default();
        let how = job.stop(Stop::Terminate, Some(&signals), grace, &mut hurried);
        assert_eq!(hurried.0.first(), Some(&Step::Asked(Stop::Terminate)));
        assert_eq!(hurried.0.last(), Some(&Step::Gone));
        assert_ne!(how.0, Stopped::StillThere);
        assert!(how.1.is_some());
    }

    #[test]
    fn a_killed_guardian_leaves_nothing() {
        let signals = Signals::take_over().unwrap();
        let mut job = job(&signals, "setsid sleep 100 & sleep 100");
        while job.tree().running() < 3 {
            std::thread::yield_now();
        }
        let guardian = job.guardian.as_ref().unwrap().pid;
        let numbers = job.reading().processes.unwrap();
        kill(guardian, Signal::SIGKILL).unwrap();
        while !job.has_ended() {
            std::thread::yield_now();
        }
        stop(&mut job, &signals, Duration::from_secs(100));
        for pid in numbers {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
        }
    }
}
