//! The command line, checked: nothing behind this step can meet a contradiction.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gpuc_core::error::{Code, Fault};
use gpuc_core::safety::{Actions, Blindness, Place, Setting, Watch};
use gpuc_core::units::floor_bytes;
use gpuc_rig::nvidia::Watched;

use super::args::{Args, CgroupUse, RunArgs, Sub};
use super::chosen::{Chooser, Chosen};
use super::launch::plan_command;
use super::limits::{InForce, Layers};
use crate::deliver_json;

/// Shorter, and the watch itself could be felt.
const SHORTEST: f64 = 0.05;

/// What the watchdog is to do.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) layers: Layers,
    /// The limits, as they are at the start.
    pub(super) limits: InForce,
    /// All else, and where it comes from.
    chosen: Chosen,
    /// Only say what they are.
    pub(super) print_config: bool,
    pub(super) place: Place,
    /// The process that a monitor watches as a job.
    pub(super) pid: Option<i32>,
    pub(super) actions: Actions,
    /// How long a command or a program may take over an action.
    pub(super) action_timeout: Duration,
    pub(super) blindness: Blindness,
    pub(super) interval: Duration,
    pub(super) gpu_timeout: Duration,
    /// 0 for without end.
    pub(super) max_polls: u64,
    /// Only to say what a breach would lead to.
    pub(super) dry_run: bool,
    pub(super) json: bool,
    /// Whether standard output gets a screen.
    pub(super) screen: bool,
    pub(super) json_out: Option<PathBuf>,
    pub(super) log: Option<PathBuf>,
    /// Bytes at which a log or a file of events is set aside; 0 for never.
    pub(super) log_size: u64,
    pub(super) events: Option<PathBuf>,
    pub(super) metrics_file: Option<PathBuf>,
    /// Whether the watch is shown live.
    pub(super) tui: bool,
    pub(super) job: Option<JobSettings>,
}

/// What `run` adds.
#[derive(Debug)]
pub(super) struct JobSettings {
    pub(super) program: OsString,
    pub(super) args: Vec<OsString>,
    pub(super) peaks_out: Option<PathBuf>,
    pub(super) svg: Option<PathBuf>,
    /// What the dashboard shows of the job's output goes there too.
    pub(super) output: Option<PathBuf>,
    pub(super) grace: Duration,
    pub(super) cgroup: bool,
    /// Bytes.
    pub(super) memory_max: Option<u64>,
}

impl Settings {
    pub(super) fn of(mut args: Args) -> Result<Self, Fault> {
        let (place, run) = place_and_job(&mut args)?;
        let layers = Layers::of(&args, place)?;
        let limits = layers.read()?;
        let mut choose = Chooser::new(limits.file());
        let interval = match place {
            Place::Run => 1.0,
            Place::Once | Place::Watch => 5.0,
        };
        let interval = choose
            .number(Setting::Interval, args.interval, interval)
            .max(SHORTEST);
        let gpu_timeout = choose.number(Setting::GpuTimeout, args.gpu_timeout, 5.0);
        let action_timeout = choose.number(Setting::ActionTimeout, args.action_timeout, 20.0);
        let polls = choose.count(Setting::BlindPolls, args.blind_polls, 3);
        let max_polls = match place {
            Place::Run => 0,
            Place::Once => 1,
            Place::Watch => choose.count(Setting::MaxPolls, args.max_polls, 0),
        };
        let log = choose.path(Setting::Log, args.log);
        let log_size = choose.number(Setting::LogSize, args.log_size, 64.0);
        let events = choose.path(Setting::Events, args.events);
        let metrics_file = choose.path(Setting::MetricsFile, args.metrics_file);
        let json_out = choose.path(Setting::JsonOut, args.json_out);
        // One look only reports, whatever a file that others share says.
        let wanted = args.on_breach.filter(|text| !text.is_empty());
        let wanted = match place {
            Place::Once => wanted,
            Place::Run | Place::Watch => choose.text(Setting::OnBreach, wanted),
        };
        let options = run.as_ref().map(|run| JobOptions::of(run, &mut choose));
        let mut chosen = choose.done();
        let actions = Actions::parse(wanted.as_deref(), place).map_err(|e| {
            let fault = Fault::from(e);
            match &args.config {
                Some(file) if chosen.is_of_file(Setting::OnBreach) => fault.about(file.display()),
                _ => fault,
            }
        })?;
        chosen.settle(Setting::OnBreach, actions.to_string());
        chosen.settle(Setting::Interval, interval);
        let job = match (run, options) {
            (Some(run), Some(options)) if !args.print_config => {
                Some(JobSettings::of(run, options, args.plan.as_deref())?)
            }
            _ => None,
        };
        let json = args.json || args.format.wants_json();
        Ok(Self {
            limits,
            layers,
            chosen,
            print_config: args.print_config,
            place,
            pid: args.pid,
            blindness: Blindness {
                polls: u32::try_from(polls).unwrap_or(u32::MAX),
                // Alone, an alert has nothing to stop; any other action says what is guarded.
                aborts: !actions.only_alert(),
            },
            actions,
            action_timeout: seconds(action_timeout),
            interval: seconds(interval),
            gpu_timeout: seconds(gpu_timeout),
            max_polls,
            dry_run: args.dry_run,
            json,
            screen: !json && args.format.wants_screen(json_out.as_deref()),
            json_out,
            log,
            log_size: floor_bytes(log_size * 1048576.0),
            events,
            metrics_file,
            tui: args.tui,
            job,
        })
    }

    /// Prints all that is in force, each value with where it comes from.
    pub(super) fn print(&self) -> Result<(), Fault> {
        let mode = match self.place {
            Place::Once => "once",
            Place::Watch => "watch",
            Place::Run => "run",
        };
        let mut document = self.layers.printed(&self.limits);
        document.insert("mode".to_owned(), mode.into());
        document.insert("pid".to_owned(), self.pid.into());
        document.extend(self.chosen.printed());
        deliver_json(&document, None)
    }
}

impl Settings {
    /// What is asked of the GPUs.
    pub(super) fn watched(&self) -> Watched {
        let reloads = self.layers.can_be_read_again();
        let limited = self.limits.thresholds.job_vram_mib_max.is_some();
        Watched {
            further: true,
            // A file that is read again may bring the limit later.
            processes_always: self.pid.is_some() || self.job.is_some() && (limited || reloads),
        }
    }

    /// A watch by the limits as they are at the start.
    pub(super) fn watch(&self) -> Watch {
        let InForce {
            thresholds,
            durations,
            ..
        } = &self.limits;
        Watch::new(*thresholds, self.blindness, durations.clone())
    }
}

/// Where the watchdog is to watch, and with what job; nothing in `args` contradicts it.
fn place_and_job(args: &mut Args) -> Result<(Place, Option<RunArgs>), Fault> {
    let usage = |message, hint| Err(Fault::new(Code::InputUsage, message).with_hint(hint));
    let (place, run) = match args.command.take() {
        Some(Sub::Run(_)) if args.watch || args.max_polls.is_some() => {
            return usage(
                "--watch and --max-polls have no meaning under run",
                "a job is watched for as long as it runs",
            );
        }
        Some(Sub::Run(_)) if args.pid.is_some() => {
            return usage(
                "--pid has no meaning under run, which watches its own job",
                "leave one of them away",
            );
        }
        // Read here, the job would find its standard input empty.
        Some(Sub::Run(_))
            if args.config.as_deref() == Some(Path::new("-")) && !args.print_config =>
        {
            return usage(
                "--config - cannot be used with run: standard input is the job's",
                "name a file",
            );
        }
        Some(Sub::Run(run)) => (Place::Run, Some(run)),
        None if args.watch => (Place::Watch, None),
        // What is drawn is drawn before anything is set.
        Some(Sub::Draw(_)) | None => (Place::Once, None),
    };
    if args.tui && place == Place::Once {
        return usage(
            "--tui shows a watch, and a single look is none",
            "add --watch, or supervise a job with run",
        );
    }
    if !args.tui && run.as_ref().is_some_and(|run| run.job_output.is_some()) {
        return usage(
            "--job-output has a meaning with --tui only",
            "without it, redirect the job's output: > FILE 2>&1",
        );
    }
    Ok((place, run))
}

/// What `run` adds, but for the job itself.
#[derive(Debug)]
struct JobOptions {
    peaks_out: Option<PathBuf>,
    svg: Option<PathBuf>,
    grace: f64,
    cgroup: bool,
    memory_max: Option<f64>,
}

impl JobOptions {
    fn of(run: &RunArgs, choose: &mut Chooser<'_>) -> Self {
        let cgroup = run.cgroup.map(|wanted| match wanted {
            CgroupUse::Auto => "auto".to_owned(),
            CgroupUse::Off => "off".to_owned(),
        });
        Self {
            grace: choose.number(Setting::Grace, run.grace, 5.0),
            cgroup: choose.word(Setting::Cgroup, cgroup, "auto") == "auto",
            memory_max: choose.number_or_none(Setting::MemoryMax, run.memory_max, None),
            peaks_out: choose.path(Setting::PeaksOut, run.peaks_out.clone()),
            svg: choose.path(Setting::Svg, run.svg.clone()),
        }
    }
}

impl JobSettings {
    fn of(run: RunArgs, options: JobOptions, plan: Option<&Path>) -> Result<Self, Fault> {
        if !options.cgroup && options.memory_max.is_some() {
            let message = "--memory-max needs a cgroup, and --cgroup is off";
            return Err(Fault::new(Code::InputUsage, message)
                .with_hint("leave --cgroup off away, in the file of --config too"));
        }
        // No program begins with a dash, so such words go to the plan's.
        let only_flags = run.job.first().is_none_or(is_flag);
        let job = match plan {
            Some(plan) if only_flags => plan_command(plan, run.model.as_deref(), run.job)?,
            _ if run.model.is_some() => {
                return Err(Fault::new(
                    Code::InputUsage,
                    "--model is for the job of --plan, but there is another",
                )
                .with_hint("leave the command away, or --model"));
            }
            _ => run.job,
        };
        let mut words = job.into_iter();
        let program = words.next().filter(|p| !p.is_empty()).ok_or_else(|| {
            Fault::new(Code::InputUsage, "run needs a command, or a plan to launch").with_hint(
                "gpu-container-watchdog run [OPTIONS] -- COMMAND [ARGUMENTS], or --plan FILE",
            )
        })?;
        Ok(Self {
            program,
            args: words.collect(),
            peaks_out: options.peaks_out,
            svg: options.svg,
            output: run.job_output,
            grace: seconds(options.grace),
            cgroup: options.cgroup,
            memory_max: options.memory_max.map(|mib| floor_bytes(mib * 1048576.0)),
        })
    }
}

fn is_flag(word: &OsString) -> bool {
    word.as_encoded_bytes().starts_with(b"-")
}

pub(super) fn seconds(s: f64) -> Duration {
    Duration::try_from_secs_f64(s).unwrap_or(Duration::MAX)
}
