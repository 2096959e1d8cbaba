//! What `--on-breach` asks for, checked at the start and carried out at a breach.

use std::time::{Duration, Instant};

use gpuc_core::document::{Breach, Event, Happening};
use gpuc_core::error::Fault;
use gpuc_core::safety::Action;
use gpuc_rig::supervise::{Remedy, Stop, UnderWay};

use super::evidence::event;
use super::patrol::Patrol;
use super::settings::Settings;
use crate::screen::say;

/// How often actions under way are looked at, at the least.
const LOOK: Duration = Duration::from_millis(50);
/// A process that is asked to end, and then killed, takes a while beside the limit of a command.
const SLACK: Duration = Duration::from_secs(10);

/// All that is to be done on a breach beside stopping the job.
pub(super) struct Remedies {
    all: Vec<(Action, Remedy)>,
    limit: Duration,
    /// The score for full memory that a program is to have, where ours was changed.
    pub(super) oom_score: Option<String>,
}

impl Remedies {
    /// Checks that each can be carried out, and holds on to what it needs.
    pub(super) fn prepare(settings: &Settings) -> Result<Self, Fault> {
        let mut all = Vec::new();
        for action in settings.actions.iter() {
            if !matches!(action, Action::Alert | Action::KillJob) {
                all.push((action.clone(), Remedy::prepare(action)?));
            }
        }
        Ok(Self {
            all,
            limit: settings.action_timeout,
            oom_score: None,
        })
    }

    /// Starts each, with what a command may want to know about the breach.
    pub(super) fn begin(
        &self,
        patrol: &mut Patrol<'_>,
        breach: &Breach,
        job: Option<i32>,
    ) -> Deeds<'_> {
        let mut facts = vec![
            ("GPUC_METRIC", breach.metric.clone()),
            ("GPUC_VALUE", breach.value.to_string()),
            ("GPUC_LIMIT", breach.threshold.to_string()),
        ];
        facts.extend(job.map(|pid| ("GPUC_PID", pid.to_string())));
        // Not one after the other: the last is as urgent as the first.
        let mut all = Vec::new();
        for (action, remedy) in &self.all {
            let action = action.to_string();
            patrol.outputs.event(Event {
                action: Some(action.clone()),
                metric: Some(breach.metric.clone()),
                value: Some(breach.value),
                threshold: Some(breach.threshold),
                ..event(Happening::ActionStarted, "a limit is breached")
            });
            all.push(Deed {
                action,
                under_way: remedy.begin(
                    patrol.signals,
                    &facts,
                    self.limit,
                    self.oom_score.as_ref(),
                ),
                outcome: None,
            });
        }
        Deeds {
            all,
            ends: Instant::now() + self.limit + SLACK,
        }
    }

    /// What a breach would lead to, for people.
    pub(super) fn plan(&self, settings: &Settings) -> String {
        let mut out = "On a breach the watchdog would\n".to_owned();
        for (action, remedy) in &self.all {
            out += &format!("  {action}: {remedy}\n");
        }
        let stops = !settings.actions.only_alert();
        out += &match &settings.job {
            Some(job) if stops => format!(
                "  stop the job ({}) and all it has started: SIGTERM, after {} s SIGKILL\n  end with status 7\n",
                job.program.to_string_lossy(),
                job.grace.as_secs_f64()
            ),
            Some(_) => "  report it; the job goes on\n".to_owned(),
            None => "  report it\n  end with status 7\n".to_owned(),
        };
        out + "This was checked and nothing was started.\n"
    }
}

/// The actions under way.
pub(super) struct Deeds<'a> {
    all: Vec<Deed<'a>>,
    ends: Instant,
}

struct Deed<'a> {
    action: String,
    under_way: UnderWay<'a>,
    outcome: Option<Result<String, String>>,
}

impl Deeds<'_> {
    /// Waits until each is over, or with `most` no longer than that nor than the host's memory
    /// allows; whether all are.
    ///
    /// A signal to us ends the wait: whoever sent it wants us gone.
    pub(super) fn wait(
        &mut self,
        patrol: &mut Patrol<'_>,
        most: Option<Duration>,
    ) -> Result<bool, Stop> {
        let ends = most.map_or(self.ends, |most| self.ends.min(Instant::now() + most));
        loop {
            self.look(patrol);
            patrol.outputs.live();
            if self.all.iter().all(|deed| deed.outcome.is_some()) {
                return Ok(true);
            }
            let now = Instant::now();
            if now >= ends || most.is_some() && patrol.cannot_wait() {
                return Ok(false);
            }
            let bells: Vec<_> = self.all.iter().filter_map(|d| d.under_way.bell()).collect();
            match patrol.signals.wait(&bells, Some(ends.min(now + LOOK))) {
                Ok(wake) => {
                    // What is under way goes by the limits that it began with.
                    let reloads = wake.stop == Some(Stop::HangUp) && patrol.reloads();
                    if let Some(stop) = wake.stop.filter(|_| !reloads) {
                        return Err(stop);
                    }
                }
                Err(_) => std::thread::sleep(LOOK),
            }
        }
    }

    fn look(&mut self, patrol: &mut Patrol<'_>) {
        for deed in self.all.iter_mut().filter(|deed| deed.outcome.is_none()) {
            if let Some(outcome) = deed.under_way.outcome().cloned() {
                deed.outcome = Some(outcome.clone());
                say(&format!("watchdog: {}", deed.words()));
                let (what, reason) = match outcome {
                    Ok(done) => (Happening::ActionDone, done),
                    Err(why) => (Happening::ActionFailed, why),
                };
                patrol.outputs.event(Event {
                    action: Some(deed.action.clone()),
                    ..event(what, reason)
                });
            }
        }
    }

    /// Whether one could not be carried out.
    pub(super) fn failed(&self) -> bool {
        self.all
            .iter()
            .any(|deed| !matches!(deed.outcome, Some(Ok(_))))
    }

    /// What came of each; one that is not over counts as failed.
    pub(super) fn words(&self) -> Vec<String> {
        self.all.iter().map(Deed::words).collect()
    }
}

impl Deed<'_> {
    fn words(&self) -> String {
        match &self.outcome {
            Some(Ok(done)) => format!("{}: {done}", self.action),
            Some(Err(why)) => format!("{} FAILED: {why}", self.action),
            None => format!("{} FAILED: not done", self.action),
        }
    }
}
