//! The watch itself: looks at the right times, at the job and at signals all the time.

mod sense;

use std::io;
use std::time::{Duration, Instant};

use gpuc_core::document::{Breach, Happening, Level, Report, Safety};
use gpuc_core::error::{Code, Fault};
use gpuc_core::safety::{GpuReadings, HostReading, HostWanted, JobReading, Place, Reading, Watch};
use gpuc_rig::host::Groups;
use gpuc_rig::supervise::{Attendant, Job, Signals, Step, Stop, Subject, Worker};
use gpuc_show::dashboard::Look;

use super::evidence::event;
use super::output::{Outputs, rendered};
use super::settings::Settings;
use crate::screen::say;

/// How often host memory is looked at between two looks, at the least; twice in an interval where
/// that is shorter.
const HOST_LOOK: Duration = Duration::from_millis(250);
/// The least time between two looks when the GPUs take longer than the interval.
const BREATH: Duration = Duration::from_millis(100);
/// How soon GPUs answer that are not in trouble.
const AT_ONCE: Duration = Duration::from_millis(5);

/// Why a watch ended.
#[derive(Debug)]
pub(super) enum Cause {
    /// This limit was breached, and it is to be acted upon.
    Breach(Breach),
    /// A signal asked us to end.
    Stop(Stop),
    /// The job ended by itself.
    JobEnded,
    /// As many looks as were asked for, or nobody listens any more; the last verdict.
    Done(Safety),
}

/// Whoever reads the host.
pub(super) type Host<'a> = Box<dyn FnMut(HostWanted) -> HostReading + 'a>;

/// Everything that a watch needs.
pub(super) struct Patrol<'a> {
    pub(super) settings: &'a Settings,
    pub(super) signals: &'a Signals,
    pub(super) gpus: Worker<GpuReadings>,
    pub(super) host: Host<'a>,
    /// The job's own control group, where it has one with a limit.
    pub(super) groups: Option<Groups>,
    /// Somebody else's process that is watched as a job.
    pub(super) subject: Option<Subject>,
    /// The job as it was last read, and when.
    pub(super) job: Option<(Instant, JobReading)>,
    /// While a job is stopped: when the GPUs are asked next, or given up.
    pub(super) grace: Option<Instant>,
    pub(super) watch: Watch,
    pub(super) outputs: Outputs,
    pub(super) started: Instant,
}

/// Where a watch stands between and within its looks.
struct Rounds {
    /// When the next look is due.
    next: Instant,
    /// Since when a look has been waiting for the GPUs.
    looking: Option<Instant>,
    /// When the GPUs were last asked.
    asked: Instant,
    looks: u64,
    /// Whether the last look found a limit breached.
    alarmed: bool,
    /// What it came to.
    verdict: Safety,
    /// When the host is to be glanced at next.
    glance: Instant,
}

impl Patrol<'_> {
    /// Watches until there is a cause to stop.
    pub(super) fn walk(&mut self, mut job: Option<&mut Job>) -> Result<Cause, Fault> {
        let mut rounds = Rounds {
            next: self.started,
            looking: None,
            asked: self.started,
            looks: 0,
            alarmed: false,
            verdict: Safety::Ok,
            glance: self.started,
        };
        loop {
            if let Some(cause) = self.round(&mut rounds, job.as_deref()) {
                return Ok(cause);
            }
            let due = match rounds.looking {
                Some(_) => rounds.asked + self.settings.gpu_timeout,
                None => rounds.next,
            };
            let bells = [
                self.gpus.bell(),
                job.as_ref().and_then(|j| j.bell()),
                self.subject.as_ref().map(Subject::bell),
            ];
            let bells: Vec<_> = bells.into_iter().flatten().collect();
            // The host is looked at in between as well: memory can be gone within an interval.
            let until = due.min(rounds.glance);
            let sign = self.outputs.live().unwrap_or(until);
            let wake = self
                .signals
                .wait(&bells, Some(until.min(sign)))
                .map_err(broken)?;
            match wake.stop {
                Some(Stop::HangUp) if self.reloads() => self.reload(),
                Some(stop) => return Ok(Cause::Stop(stop)),
                None => {}
            }
            if let Some(job) = job.as_deref_mut() {
                if !(wake.rung || wake.suspend || !wake.forward.is_empty()) {
                    // Time has passed, and nothing else.
                    continue;
                }
                if wake.suspend {
                    self.outputs.rest(|| job.pause_together());
                }
                job.follow_pause();
                for signal in wake.forward {
                    job.forward(signal);
                }
                if job.has_ended() {
                    self.last_look(&rounds, Some(job));
                    return Ok(Cause::JobEnded);
                }
            } else if wake.suspend {
                self.outputs.rest(Signals::pause);
            } else if self.subject.as_ref().is_some_and(Subject::has_ended) {
                say("watchdog: the process has ended, and the watch with it");
                return Ok(Cause::Done(self.last_look(&rounds, None)));
            }
        }
    }

    /// Whether a hang-up means that the limits are to be read again.
    pub(super) fn reloads(&self) -> bool {
        self.settings.layers.can_be_read_again() && !self.signals.has_lost_its_terminal()
    }

    /// Reads the limits again; a file that is bad changes nothing.
    fn reload(&mut self) {
        match self.settings.layers.read_again() {
            Ok(limits) => {
                self.watch.reload(limits.thresholds, limits.durations);
                say("watchdog: limits read again");
                self.tell(Happening::Reloaded, "a hang-up asked for it");
            }
            Err(fault) => say(&format!(
                "{}\nwatchdog: the limits in force stay as they are",
                rendered(&fault)
            )),
        }
    }

    /// Whatever is to be done now: begin a look, end one, or only glance at the host.
    fn round(&mut self, rounds: &mut Rounds, job: Option<&Job>) -> Option<Cause> {
        let now = Instant::now();
        let answer = self.gpus.answer();
        // GPUs that answer at once spare the host a second look in the same moment.
        if rounds.looking.is_none() && now >= rounds.next && !self.gpus.is_busy() {
            rounds.glance = rounds.glance.max(now + AT_ONCE);
        }
        // Whether the host cannot wait for the GPUs, nor for the next look to come due.
        let urgent = now >= rounds.glance && self.glance(rounds) && !rounds.alarmed;
        let due = now >= rounds.next || urgent;
        let since = match rounds.looking {
            Some(since) => since,
            None if due => {
                // An answer that is still owed has had its time already.
                if !self.gpus.is_busy() {
                    self.gpus.ask();
                    rounds.asked = now;
                }
                now
            }
            // An answer that comes now is one that was given up.
            None => return None,
        };
        rounds.looking = Some(since);
        let late = now >= rounds.asked + self.settings.gpu_timeout;
        let gpus = self.answered(late, urgent, answer)?;
        let (host, job_now) = (self.host(HostWanted::ALL), self.job(job));
        let reading = Reading {
            gpus,
            host,
            job: job_now,
        };
        self.glanced(rounds, &reading.host);
        rounds.looking = None;
        rounds.looks += 1;
        rounds.next =
            (since + self.settings.interval).max(now + BREATH.min(self.settings.interval));
        let report = self.take(&reading);
        rounds.alarmed = report.verdict == Safety::Abort;
        rounds.verdict = report.verdict;
        let cause = self.judge(&report, rounds.looks);
        if matches!(cause, Some(Cause::Breach(_))) && self.settings.place == Place::Run {
            if !self.is_confirmed(&report, job) {
                say("watchdog: looked at again, it is past no limit; the job goes on");
                self.tell(Happening::Cleared, "looked at again, it is past no limit");
                rounds.alarmed = false;
                return None;
            }
            self.tell(
                Happening::Confirmed,
                "looked at again, it is still past a limit, or cannot be read",
            );
        }
        cause
    }

    /// A short look at the host alone: whether it is past a limit.
    fn glance(&mut self, rounds: &mut Rounds) -> bool {
        let host = self.host(self.watch.host_wanted());
        self.glanced(rounds, &host);
        self.watch.host_aborts(self.started.elapsed(), &host)
    }

    /// The less memory is left, the sooner it is looked at again.
    fn glanced(&self, rounds: &mut Rounds, host: &HostReading) {
        let most = HOST_LOOK.min(self.settings.interval / 2);
        rounds.glance = Instant::now() + self.watch.glance(host, most);
    }

    /// Writes a decision down.
    pub(super) fn tell(&mut self, what: Happening, reason: &str) {
        self.outputs.event(event(what, reason));
    }

    /// Writes down that a signal asks us to end.
    pub(super) fn signalled(&mut self, stop: Stop) {
        self.tell(Happening::Signalled, stop.name());
    }

    /// Looks on while a job is stopped, at everything, and says whether it can no longer be waited
    /// for.
    pub(super) fn cannot_wait(&mut self) -> bool {
        let host = self.host(HostWanted::ALL);
        let now = Instant::now();
        let interval = self.settings.interval;
        let due = *self.grace.get_or_insert(now + interval);
        let is_worse = match self.gpus.answer() {
            Some(gpus) => {
                let job = self.job.take().map(|(_, job)| job);
                let job = job.unwrap_or_default();
                self.witness(&Reading {
                    gpus,
                    host: host.clone(),
                    job,
                })
            }
            None if now < due => false,
            None => {
                self.grace = Some(now + interval);
                let owed = self.gpus.is_busy();
                self.gpus.ask();
                let why = "GPUs not waited for: the job is being stopped".to_owned();
                owed && self.witness(&Reading {
                    gpus: GpuReadings::NotAwaited(why),
                    host: host.clone(),
                    job: JobReading::default(),
                })
            }
        };
        is_worse || self.watch.cannot_wait(&host)
    }

    fn witness(&mut self, reading: &Reading) -> bool {
        let at = self.started.elapsed();
        let (report, is_worse) = self.watch.look_on(at, reading);
        self.show(at, reading, &report);
        self.outputs.record(at, &report);
        is_worse
    }

    fn take(&mut self, reading: &Reading) -> Report {
        let at = self.started.elapsed();
        let report = self.watch.step(at, reading);
        self.show(at, reading, &report);
        self.outputs.report(at, &report, self.settings);
        report
    }

    fn show(&mut self, at: Duration, reading: &Reading, report: &Report) {
        let thresholds = *self.watch.thresholds();
        self.outputs.show(|| Look {
            at,
            report: report.clone(),
            gpus: reading.gpus.read().map(<[_]>::to_vec),
            processes: reading.job.processes.as_ref().map(Vec::len),
            thresholds,
        });
    }

    fn judge(&self, report: &Report, looks: u64) -> Option<Cause> {
        let alert_only = self.settings.actions.only_alert();
        let in_run = self.settings.place == Place::Run;
        if !(in_run && alert_only) {
            let breach = report.breaches.iter().find(|b| b.level == Level::Abort);
            if let Some(breach) = breach {
                return Some(Cause::Breach(breach.clone()));
            }
        }
        let done = looks == self.settings.max_polls;
        let unheard = !in_run && alert_only && self.outputs.is_unheard();
        (done || unheard).then_some(Cause::Done(report.verdict))
    }

    /// What the last look came to. A job may have been over before the first: the host at least was
    /// there to be read.
    fn last_look(&mut self, rounds: &Rounds, job: Option<&Job>) -> Safety {
        if rounds.looks > 0 {
            return rounds.verdict;
        }
        let gpus = self.gpus.answer().unwrap_or_else(|| {
            GpuReadings::NotAwaited("GPUs not waited for: the job had ended".to_owned())
        });
        let (host, job) = (self.host(HostWanted::ALL), self.job(job));
        self.take(&Reading { gpus, host, job }).verdict
    }
}

/// Stands by while a job is stopped that may be filling the host's memory.
impl Attendant for Patrol<'_> {
    fn hurry(&mut self) -> bool {
        self.outputs.live();
        self.cannot_wait()
    }

    fn step(&mut self, step: Step) {
        self.outputs.step(step);
    }
}

fn broken(e: io::Error) -> Fault {
    Fault::new(Code::RuntimeUnexpected, "signals cannot be waited for").with_cause(e)
}

#[cfg(test)]
mod tests;
