//! The command line, checked: nothing behind this step can meet a contradiction.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gpuc_core::error::{Code, Fault};
use gpuc_core::safety::{Actions, Blindness, Place, Watch};
use gpuc_core::units::floor_bytes;
use gpuc_rig::nvidia::Watched;

use super::args::{Args, CgroupUse, RunArgs, Sub};
use super::launch::plan_command;
use super::limits::{InForce, Layers};

/// Shorter, and the watch itself could be felt.
const SHORTEST: f64 = 0.05;

/// What the watchdog is to do.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) layers: Layers,
    /// The limits, as they are at the start.
    pub(super) limits: InForce,
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
        let (place, job) = match args.command.take() {
            Some(Sub::Run(_)) if args.watch || args.max_polls.is_some() => {
                return Err(Fault::new(
                    Code::InputUsage,
                    "--watch and --max-polls have no meaning under run",
                )
                .with_hint("a job is watched for as long as it runs"));
            }
            Some(Sub::Run(_)) if args.pid.is_some() => {
                return Err(Fault::new(
                    Code::InputUsage,
                    "--pid has no meaning under run, which watches its own job",
                )
                .with_hint("leave one of them away"));
            }
            // Read here, the job would find its standard input empty.
            Some(Sub::Run(_)) if args.config.as_deref() == Some(Path::new("-")) => {
                return Err(Fault::new(
                    Code::InputUsage,
                    "--config - cannot be used with run: standard input is the job's",
                )
                .with_hint("name a file"));
            }
            Some(Sub::Run(_)) if args.print_config => (Place::Run, None),
            Some(Sub::Run(run)) => {
                let job = JobSettings::of(run, args.plan.as_deref())?;
                (Place::Run, Some(job))
            }
            None if args.watch => (Place::Watch, None),
            // What is drawn is drawn before anything is set.
            Some(Sub::Draw(_)) | None => (Place::Once, None),
        };
        let json = args.json || args.format.wants_json();
        if args.tui && place == Place::Once {
            return Err(Fault::new(
                Code::InputUsage,
                "--tui shows a watch, and a single look is none",
            )
            .with_hint("add --watch, or supervise a job with run"));
        }
        if let Some(job) = &job
            && job.output.is_some()
            && !args.tui
        {
            return Err(Fault::new(
                Code::InputUsage,
                "--job-output has a meaning with --tui only",
            )
            .with_hint("without it, redirect the job's output: > FILE 2>&1"));
        }
        let interval = match place {
            Place::Run => 1.0,
            Place::Once | Place::Watch => 5.0,
        };
        let actions = Actions::parse(args.on_breach.as_deref(), place)?;
        let blindness = Blindness {
            polls: u32::try_from(args.blind_polls.unwrap_or(3)).unwrap_or(u32::MAX),
            // Alone, an alert has nothing to stop; any other action says what is guarded.
            aborts: !actions.only_alert(),
        };
        let layers = Layers::of(&args, place)?;
        Ok(Self {
            limits: layers.read()?,
            layers,
            print_config: args.print_config,
            place,
            pid: args.pid,
            actions,
            action_timeout: seconds(args.action_timeout.unwrap_or(20.0)),
            blindness,
            interval: seconds(args.interval.unwrap_or(interval).max(SHORTEST)),
            gpu_timeout: seconds(args.gpu_timeout.unwrap_or(5.0)),
            max_polls: if args.watch {
                args.max_polls.unwrap_or(0)
            } else {
                u64::from(job.is_none())
            },
            dry_run: args.dry_run,
            json,
            screen: !json && args.format.wants_screen(args.json_out.as_deref()),
            json_out: args.json_out,
            log: args.log,
            log_size: floor_bytes(args.log_size.unwrap_or(64.0) * 1048576.0),
            events: args.events,
            metrics_file: args.metrics_file,
            tui: args.tui,
            job,
        })
    }
}

impl Settings {
    /// What is asked of the GPUs.
    pub(super) fn watched(&self) -> Watched {
        let reloads = self.layers.file().is_some();
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

impl JobSettings {
    fn of(run: RunArgs, plan: Option<&Path>) -> Result<Self, Fault> {
        let cgroup = run.cgroup == CgroupUse::Auto;
        if !cgroup && run.memory_max.is_some() {
            return Err(Fault::new(Code::InputUsage, "--memory-max needs a cgroup")
                .with_hint("leave --cgroup off away"));
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
            peaks_out: run.peaks_out,
            svg: run.svg,
            output: run.job_output,
            grace: seconds(run.grace),
            cgroup,
            memory_max: run.memory_max.map(|mib| floor_bytes(mib * 1048576.0)),
        })
    }
}

fn is_flag(word: &OsString) -> bool {
    word.as_encoded_bytes().starts_with(b"-")
}

pub(super) fn seconds(s: f64) -> Duration {
    Duration::try_from_secs_f64(s).unwrap_or(Duration::MAX)
}
