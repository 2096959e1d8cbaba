//! The limits in force: defaults, a plan over them, a thresholds file over that, flags over all.

use std::path::{Path, PathBuf};
use std::time::Duration;

use gpuc_core::document::{Plan, Thresholds};
use gpuc_core::error::{Code, Coded, Fault};
use gpuc_core::safety::{self, Config, Durations, Limit, Limits, Place};
use serde_json::{Map, Value, json};

use super::args::Args;
use crate::read_input;
use crate::screen::say;

/// Everything that limits come from, kept so that the file can be read again.
#[derive(Debug)]
pub(super) struct Layers {
    place: Place,
    plan_file: Option<PathBuf>,
    plan: Limits,
    file: Option<PathBuf>,
    again: bool,
    flags: Limits,
    /// `--sustain`, which is about power.
    sustain: Option<Duration>,
}

/// The limits in force, and what they come from.
#[derive(Debug, Clone)]
pub(super) struct InForce {
    pub(super) thresholds: Thresholds,
    pub(super) durations: Durations,
    file: Config,
}

impl Layers {
    pub(super) fn of(args: &Args, place: Place) -> Result<Self, Fault> {
        let given = [
            (Limit::Power, args.power_max),
            (Limit::Temperature, args.temp_max),
            (Limit::Vram, args.vram_max),
            (Limit::HostMemory, args.host_mem_max),
            (Limit::HostAvailable, args.host_avail_min),
            (Limit::Swap, args.swap_max),
            (Limit::Pressure, args.psi_max),
            (Limit::Cgroup, args.cgroup_mem_max),
            (Limit::JobVram, args.job_vram_max),
            (Limit::JobRss, args.job_rss_max),
            (Limit::WarnFraction, args.warn_fraction),
        ];
        let mut flags = Limits::default();
        for (limit, value) in given {
            if value.is_some() {
                flags.give(limit, value);
            }
        }
        let jobless = [Limit::JobVram, Limit::JobRss].into_iter();
        let jobless = jobless.filter(|l| flags.has(*l)).map(Limit::flag);
        let mut jobless = jobless.chain(args.plan.as_ref().map(|_| "--plan"));
        if place != Place::Run
            && args.pid.is_none()
            && let Some(flag) = jobless.next()
        {
            let message = format!("{flag} needs a job: one of the watchdog's own, or --pid");
            return Err(Fault::new(Code::InputUsage, message).with_hint(
                "put its command behind run, or name a process that runs already: --pid PID",
            ));
        }
        Ok(Self {
            place,
            plan_file: args.plan.clone(),
            plan: args
                .plan
                .as_deref()
                .map_or_else(|| Ok(Limits::default()), plan)?,
            // Standard input and pipes are over once they are read.
            again: args.config.as_ref().is_some_and(|file| file.is_file()),
            file: args.config.clone(),
            flags,
            sustain: args.sustain.map(super::settings::seconds),
        })
    }

    /// Whether anybody has said anything about limits.
    pub(super) fn are_given(&self) -> bool {
        let none = Limits::default();
        self.file.is_some() || self.flags != none || self.plan != none
    }

    /// Whether there is a file that can be read again.
    pub(super) fn can_be_read_again(&self) -> bool {
        self.again
    }

    /// Reads the file again.
    pub(super) fn read_again(&self) -> Result<InForce, Fault> {
        // Opening a pipe would wait for its writer, and nobody would watch meanwhile.
        if let Some(file) = self.file.as_deref().filter(|f| f.exists() && !f.is_file()) {
            let message = format!("{} is no regular file any more", file.display());
            return Err(Fault::new(Code::InputBadWatchdogConfig, message));
        }
        self.read()
    }

    /// Reads the thresholds file, if there is one, and says on standard error what is odd in it.
    pub(super) fn read(&self) -> Result<InForce, Fault> {
        let file = self
            .file
            .as_deref()
            .map_or_else(|| Ok(Config::default()), config)?;
        let mut thresholds = Thresholds::default();
        let mut durations = Durations::default();
        if self.place == Place::Run {
            // In a container the machine's memory says little of what is left.
            thresholds.cgroup_mem_pct_max = Some(95.0);
            // A healthy card runs at its cap.
            durations.give(Limit::Power, Duration::from_secs(10));
        }
        let mut flags = Durations::default();
        if let Some(sustain) = self.sustain {
            flags.give(Limit::Power, sustain);
        }
        let thresholds = file.limits.over(self.plan.over(thresholds));
        Ok(InForce {
            thresholds: self.flags.over(thresholds),
            durations: flags.over(file.durations.over(durations)),
            file,
        })
    }

    /// What is in force, each limit with where it comes from, as `--print-config` prints it.
    pub(super) fn printed(&self, in_force: &InForce) -> Map<String, Value> {
        let mut limits = Map::new();
        let mut sustain = Map::new();
        for limit in Limit::ALL {
            let from = if self.flags.has(limit) {
                "flag"
            } else if in_force.file.limits.has(limit) {
                "file"
            } else if self.plan.has(limit) {
                "plan"
            } else {
                "default"
            };
            let value = limit.get(&in_force.thresholds);
            limits.insert(
                limit.key().to_owned(),
                json!({"value": value, "from": from, "flag": limit.flag()}),
            );
            let Some(lasts) = in_force.durations.get(limit) else {
                continue;
            };
            let from = if limit == Limit::Power && self.sustain.is_some() {
                "flag"
            } else if in_force.file.durations.get(limit).is_some() {
                "file"
            } else {
                "default"
            };
            let entry = json!({"value": lasts.as_secs_f64(), "from": from});
            sustain.insert(limit.key().to_owned(), entry);
        }
        let shown = |path: &Option<PathBuf>| path.as_ref().map(|p| p.display().to_string());
        let mut document = Map::new();
        document.insert("config".to_owned(), shown(&self.file).into());
        document.insert("plan".to_owned(), shown(&self.plan_file).into());
        document.insert("limits".to_owned(), limits.into());
        document.insert("sustain_s".to_owned(), sustain.into());
        document
    }
}

impl InForce {
    /// What the thresholds file says.
    pub(super) fn file(&self) -> &Config {
        &self.file
    }
}

fn config(path: &Path) -> Result<Config, Fault> {
    let bytes = read_input(path, "thresholds file", Code::InputBadWatchdogConfig)?;
    let file = safety::config(&bytes).map_err(|e| named(path, e))?;
    for warning in &file.warnings {
        say(&format!("warning: {}: {warning}", path.display()));
    }
    Ok(file)
}

fn plan(path: &Path) -> Result<Limits, Fault> {
    let bytes = read_input(path, "plan", Code::InputBadPlan)?;
    let plan: Plan = gpuc_core::json::read(&bytes).map_err(|e| {
        Fault::new(Code::InputBadPlan, format!("{} is no plan", path.display()))
            .with_hint("name a file that gpu-container-plan -o has written")
            .with_cause(e)
    })?;
    safety::planned(&plan).map_err(|e| named(path, e))
}

/// The same error, with the file that it is about in front.
fn named<E: Coded + Send + Sync + 'static>(path: &Path, e: E) -> Fault {
    let fault = Fault::from(e);
    let mut named = Fault::new(fault.code(), format!("{}: {fault}", path.display()));
    if let Some(hint) = fault.hint() {
        named = named.with_hint(hint);
    }
    match fault.causes().into_iter().next() {
        Some(cause) => named.with_cause(cause),
        None => named,
    }
}
