//! How a job is stopped: asked, given time, killed, until nothing of it is left.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::super::signals::{Signals, Stop, Wake, wait_for};
use super::{Ended, Job};

/// How often a job that was told to stop is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// How long a kill is given before the next.
const AGAIN: Duration = Duration::from_millis(5);
/// How long a killed job may take to be gone: a process in the kernel's hands dies late.
const LAST: Duration = Duration::from_secs(2);

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

impl Job {
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

    pub(super) fn is_gone(&mut self) -> bool {
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
            None => wait_for(&bell, Some(until)).map(|_| Wake::default()),
        };
        match waited {
            // A hang-up tells nobody's impatience: a shell adds one of its own to the terminal's.
            Ok(wake) if wake.stop.is_some_and(|stop| stop != Stop::HangUp) => Moment::Impatient,
            Ok(_) => Moment::Passed,
            Err(_) => {
                std::thread::sleep(until.saturating_duration_since(Instant::now()));
                Moment::Passed
            }
        }
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
