//! The watch itself: looks at the right times, at the job and at signals all the time.

use std::io;
use std::time::{Duration, Instant};

use gpuc_core::document::{Report, Safety};
use gpuc_core::error::{Code, Fault};
use gpuc_core::safety::{GpuReadings, HostReading, Place, Reading, Watch};
use gpuc_rig::supervise::{Job, Signals, Stop, Worker};

use super::output::Outputs;
use super::settings::Settings;

/// How often host memory is looked at while the GPUs take their time.
const HOST_LOOK: Duration = Duration::from_millis(250);
/// The least time between two looks when the GPUs take longer than the interval.
const BREATH: Duration = Duration::from_millis(100);

/// Why a watch ended.
#[derive(Debug)]
pub(super) enum Cause {
    /// A limit was breached, and it is to be acted upon.
    Breach,
    /// A signal asked us to end.
    Stop(Stop),
    /// The job ended by itself.
    JobEnded,
    /// As many looks as were asked for, or nobody listens any more; the last verdict.
    Done(Safety),
}

/// Everything that a watch needs.
pub(super) struct Patrol<'a> {
    pub(super) settings: &'a Settings,
    pub(super) signals: &'a Signals,
    pub(super) gpus: Worker<GpuReadings>,
    pub(super) host: Box<dyn FnMut() -> HostReading + 'a>,
    pub(super) watch: Watch,
    pub(super) outputs: Outputs,
    pub(super) started: Instant,
}

impl Patrol<'_> {
    /// Watches until there is a cause to stop.
    pub(super) fn walk(&mut self, mut job: Option<&mut Job>) -> Result<Cause, Fault> {
        let mut next = self.started;
        let mut looking: Option<Instant> = None;
        let mut asked = self.started;
        let mut looks: u64 = 0;
        loop {
            let now = Instant::now();
            if looking.is_none() && now >= next {
                // An answer that is still owed has had its time already.
                if !self.gpus.is_busy() {
                    self.gpus.ask();
                    asked = now;
                }
                looking = Some(now);
            }
            let answer = self.gpus.answer();
            let mut until = next;
            if let Some(since) = looking {
                let patience = asked + self.settings.gpu_timeout;
                match self.look(now >= patience, answer) {
                    Some(reading) => {
                        looking = None;
                        looks += 1;
                        next = (since + self.settings.interval).max(now + BREATH);
                        until = next;
                        let report = self.take(&reading);
                        if let Some(cause) = self.judge(&report, looks) {
                            return Ok(cause);
                        }
                    }
                    None => until = patience.min(now + HOST_LOOK),
                }
            }
            let wake = self
                .signals
                .wait(self.gpus.bell(), Some(until))
                .map_err(broken)?;
            if let Some(stop) = wake.stop {
                return Ok(Cause::Stop(stop));
            }
            if let Some(job) = job.as_deref_mut() {
                if wake.suspend {
                    job.pause_together();
                }
                if wake.child {
                    job.follow_pause();
                }
                if job.has_ended() {
                    self.last_look(looks);
                    return Ok(Cause::JobEnded);
                }
            } else if wake.suspend {
                Signals::pause();
            }
        }
    }

    /// A reading, as soon as there is one to be had or to be given up.
    fn look(&mut self, late: bool, answer: Option<GpuReadings>) -> Option<Reading> {
        let host = (self.host)();
        let gpus = if let Some(answer) = answer {
            answer
        } else if self.watch.host_aborts(&host) {
            GpuReadings::NotAwaited("GPUs not waited for: host memory is past its limit".to_owned())
        } else if self.gpus.is_gone() {
            GpuReadings::Failed("asking the GPUs failed inside the watchdog".to_owned())
        } else if late {
            let s = self.settings.gpu_timeout.as_secs_f64();
            GpuReadings::Failed(format!("no answer within {s} s"))
        } else {
            return None;
        };
        Some(Reading { gpus, host })
    }

    fn take(&mut self, reading: &Reading) -> Report {
        let at = self.started.elapsed();
        let report = self.watch.step(at, reading);
        self.outputs.report(at, &report, self.settings);
        report
    }

    fn judge(&self, report: &Report, looks: u64) -> Option<Cause> {
        let alert_only = self.settings.action == gpuc_core::safety::Action::Alert;
        let in_run = self.settings.place == Place::Run;
        if report.verdict == Safety::Abort && !(in_run && alert_only) {
            return Some(Cause::Breach);
        }
        let done = looks == self.settings.max_polls;
        let unheard = !in_run && alert_only && self.outputs.is_unheard();
        (done || unheard).then_some(Cause::Done(report.verdict))
    }

    /// A job that was over before its first look: the host at least was there to be read.
    fn last_look(&mut self, looks: u64) {
        if looks > 0 {
            return;
        }
        let gpus = self.gpus.answer().unwrap_or_else(|| {
            GpuReadings::NotAwaited("GPUs not waited for: the job had ended".to_owned())
        });
        let host = (self.host)();
        self.take(&Reading { gpus, host });
    }
}

fn broken(e: io::Error) -> Fault {
    Fault::new(Code::RuntimeUnexpected, "signals cannot be waited for").with_cause(e)
}
