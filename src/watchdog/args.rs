//! The watchdog's command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use gpuc_core::safety::{LONGEST_S, Limit, MOST_MIB};

use crate::screen::FormatArgs;
use crate::values::{above_0_up_to, count, up_to};

const HELP: &str = "\
Examples:
  gpu-container-watchdog                              one look at GPU and host
  gpu-container-watchdog --watch --interval 2 --on-breach docker-stop:llama
  gpu-container-watchdog --watch --pid 4242 --plan plan.json --on-breach kill:4242
  gpu-container-watchdog run --peaks-out peaks.json -- llama-bench -m model.gguf -o json > bench.json
  gpu-container-watchdog --config watchdog.json run --json-out reports.jsonl -- ./serve.sh
  gpu-container-watchdog draw run.jsonl --svg run.svg

Exit status of a look or a watch:
  0 ok    5 a reading is near its limit    7 a limit is breached
  2 bad usage or input, or something could not be written
  130 interrupted    128 + n ended by signal n
See also: gpu-container-watchdog run --help";

const RUN_HELP: &str = "\
The job keeps its standard input, output and error; with --json, standard output is the report
stream alone and the job's output goes to standard error. With --tui it is shown in the dashboard
instead of on the terminal, and the job has no terminal: a standard input that is one is empty for it,
what is redirected stays as it is. Limits may stand before or after `run`.
Everything the job has started is stopped (SIGTERM, after the grace period SIGKILL) on a breach and
on every other way out, the watchdog's own death included. A signal to the watchdog that means
nothing to it (USR1, USR2, WINCH, ...) is handed on to the job.

Examples:
  gpu-container-watchdog run --peaks-out peaks.json -- llama-bench -m model.gguf -o json > bench.json
  gpu-container-watchdog run --temp-max 80 --on-breach alert --log run.jsonl -- ./serve.sh
  gpu-container-watchdog run --plan plan.json -- --port 8081
  gpu-container-watchdog run --tui --job-output server.log -- llama-server -m model.gguf

Exit status:
  the job's own; 128 + n when signal n ended it
  7 a breach aborted the job (the peaks file then says so: aborted)
  127 no such command    126 it cannot be executed
  2 bad usage or input, or something could not be written
  130 the watchdog was interrupted    128 + n signal n ended the watchdog";

/// What stands together in the help.
const LIMITS: &str = "Limits";
const ACTION: &str = "On a breach";
const REPORTS: &str = "Reports";

/// Guards a GPU job: holds GPU power, temperature and memory and host memory against limits, and
/// acts when one is breached.
#[derive(Debug, Parser)]
#[command(
    name = "gpu-container-watchdog",
    version,
    args_override_self = true,
    after_help = HELP
)]
pub struct Args {
    /// Thresholds file (JSON), of limits and of other settings; flags go over it. SIGHUP reads its
    /// limits again.
    #[arg(long, help_heading = LIMITS, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// GPU power, % of the card's limit, at which to abort [default: 95].
    #[arg(long, help_heading = LIMITS, value_name = "PCT", global = true, value_parser = up_to(Limit::Power.most()))]
    pub power_max: Option<f64>,
    /// GPU temperature, °C, at which to abort [default: 87].
    #[arg(long, help_heading = LIMITS, value_name = "C", global = true, value_parser = up_to(Limit::Temperature.most()))]
    pub temp_max: Option<f64>,
    /// VRAM used, %, at which to abort [default: 98].
    #[arg(long, help_heading = LIMITS, value_name = "PCT", global = true, value_parser = up_to(Limit::Vram.most()))]
    pub vram_max: Option<f64>,
    /// Host memory used, %, at which to abort [default: 90].
    #[arg(long, help_heading = LIMITS, value_name = "PCT", global = true, value_parser = up_to(Limit::HostMemory.most()))]
    pub host_mem_max: Option<f64>,
    /// Host memory available, MiB, at which to abort [default: 2000].
    #[arg(long, help_heading = LIMITS, value_name = "MIB", global = true, value_parser = up_to(Limit::HostAvailable.most()))]
    pub host_avail_min: Option<f64>,
    /// Swap used, %, at which to abort [default: none].
    #[arg(long, help_heading = LIMITS, value_name = "PCT", global = true, value_parser = up_to(Limit::Swap.most()))]
    pub swap_max: Option<f64>,
    /// Share of the last ten seconds in which all tasks waited for memory (PSI), %, at which to
    /// abort [default: none].
    #[arg(long, help_heading = LIMITS, value_name = "PCT", global = true, value_parser = up_to(Limit::Pressure.most()))]
    pub psi_max: Option<f64>,
    /// Memory that the control group nearest its limit cannot give back, % of that limit, at which
    /// to abort [default: none, under run 95].
    #[arg(long, help_heading = LIMITS, value_name = "PCT", global = true, value_parser = up_to(Limit::Cgroup.most()))]
    pub cgroup_mem_max: Option<f64>,
    /// VRAM of the job, all GPUs together, MiB, at which to abort (run, or --pid) [default: none].
    #[arg(long, help_heading = LIMITS, visible_alias = "job-vram", value_name = "MIB", global = true, value_parser = up_to(Limit::JobVram.most()))]
    pub job_vram_max: Option<f64>,
    /// Resident memory of the job's processes together, MiB, at which to abort (run, or --pid)
    /// [default: none].
    #[arg(long, help_heading = LIMITS, visible_alias = "job-rss", value_name = "MIB", global = true, value_parser = up_to(Limit::JobRss.most()))]
    pub job_rss_max: Option<f64>,
    /// Share of a limit at which a warning starts [default: 0.9].
    #[arg(long, help_heading = LIMITS, value_name = "SHARE", global = true, value_parser = up_to(Limit::WarnFraction.most()))]
    pub warn_fraction: Option<f64>,
    /// Take the job's limits from plan.json: VRAM and RAM that it uses, and a margin (run, or --pid).
    /// The thresholds file and flags go over it. Under run without a command the plan itself is
    /// launched.
    #[arg(long, help_heading = LIMITS, value_name = "FILE", global = true)]
    pub plan: Option<PathBuf>,
    /// Watch this process too, with all it has started: the job's limits and --plan are held against
    /// it, and the watch ends when it does. A later process of its number is never meant.
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(i32).range(1..))]
    pub pid: Option<i32>,
    /// Print all that is in force as JSON, each value with where it comes from, and end. It can be
    /// read by --config.
    #[arg(long, help_heading = LIMITS, global = true)]
    pub print_config: bool,
    /// Look again and again, until a limit is breached.
    #[arg(long)]
    pub watch: bool,
    /// Seconds from one look to the next, 0.05 at least; host memory is glanced at in between, the
    /// more often the less is left, and a breach there acted upon at once [default: 5, under run 1].
    #[arg(long, value_name = "SECONDS", global = true, value_parser = up_to(LONGEST_S))]
    pub interval: Option<f64>,
    /// Seconds that power must stay past its limit before that is a breach: a healthy card runs at
    /// its cap [default: 0, under run 10].
    #[arg(long, help_heading = LIMITS, value_name = "SECONDS", global = true, value_parser = up_to(LONGEST_S))]
    pub sustain: Option<f64>,
    /// With --watch: end after this many looks; 0 for never [default: 0].
    #[arg(long, value_name = "N", value_parser = count)]
    pub max_polls: Option<u64>,
    /// What to do on a breach: alert, kill-job (the default under run), wsl-shutdown,
    /// docker-stop:NAME, kill:PID, command:CMD, or several with commas between them. Under run, all
    /// but alert stop the job as well. A command finds GPUC_METRIC, GPUC_VALUE, GPUC_LIMIT and, of a
    /// job, GPUC_PID in its environment.
    #[arg(long, help_heading = ACTION, value_name = "ACTION", global = true)]
    pub on_breach: Option<String>,
    /// Seconds that a command or a program of --on-breach may take until it is killed with all it
    /// started, and counts as failed [default: 20].
    #[arg(long, help_heading = ACTION, value_name = "SECONDS", global = true, value_parser = above_0_up_to(LONGEST_S))]
    pub action_timeout: Option<f64>,
    /// Check everything, say what a breach would lead to, and start nothing.
    #[arg(long, help_heading = ACTION, global = true)]
    pub dry_run: bool,
    /// Looks in a row at which GPUs that answered before give no reading, until that is acted upon
    /// as a breach; 0, or an action of alert, for a warning only [default: 3].
    #[arg(long, help_heading = LIMITS, value_name = "N", global = true, value_parser = count)]
    pub blind_polls: Option<u64>,
    /// Seconds that the GPUs may take to answer [default: 5].
    #[arg(long, value_name = "SECONDS", global = true, value_parser = above_0_up_to(LONGEST_S))]
    pub gpu_timeout: Option<f64>,
    /// Print each report as JSON on standard output.
    #[arg(long, help_heading = REPORTS, global = true)]
    pub json: bool,
    #[command(flatten)]
    pub(super) format: FormatArgs,
    /// Show the watch live on the terminal: verdict, limits, trajectories, decisions and, under run,
    /// what the job prints (with --watch or run).
    #[arg(long, help_heading = REPORTS, global = true)]
    pub tui: bool,
    /// Write the report stream to a file, one report a line, and leave standard output alone.
    #[arg(long, help_heading = REPORTS, value_name = "FILE", global = true)]
    pub json_out: Option<PathBuf>,
    /// Append a JSON line for each look to a file.
    #[arg(long, help_heading = REPORTS, value_name = "FILE", global = true)]
    pub log: Option<PathBuf>,
    /// MiB at which a file of --log or --events is set aside as FILE.1, of which three are kept; 0
    /// for never [default: 64].
    #[arg(long, help_heading = REPORTS, value_name = "MIB", global = true, value_parser = up_to(MOST_MIB))]
    pub log_size: Option<f64>,
    /// Append a JSON line for each decision, with its reason, to a file. With draw: mark what was
    /// decided, from the file that this wrote.
    #[arg(long, help_heading = REPORTS, value_name = "FILE", global = true)]
    pub events: Option<PathBuf>,
    /// Keep the last readings in a file as OpenMetrics text, for node_exporter's textfile collector
    /// (name it *.prom).
    #[arg(long, help_heading = REPORTS, value_name = "FILE", global = true)]
    pub metrics_file: Option<PathBuf>,
    /// Show the whole chain of causes of an error.
    #[arg(long, global = true)]
    pub debug: bool,
    /// The job to supervise, where there is one.
    #[command(subcommand)]
    pub command: Option<Sub>,
}

/// What the watchdog can do beyond looking.
#[derive(Debug, Subcommand)]
pub enum Sub {
    /// Run a job and stop it on a breach.
    #[command(args_override_self = true, after_help = RUN_HELP)]
    Run(RunArgs),
    /// Draw a watch from the log that --log wrote: its trajectory, the limits and the breach.
    #[command(args_override_self = true)]
    Draw(DrawArgs),
}

/// The command line behind `draw`.
#[derive(Debug, clap::Args)]
pub struct DrawArgs {
    /// The log, of which the last run is drawn (- for standard input).
    #[arg(value_name = "LOG")]
    pub run_log: PathBuf,
    /// Write the picture here.
    #[arg(long, value_name = "FILE")]
    pub svg: PathBuf,
    /// Peaks of the same run, which name its limits; so do --config and the flags of limits.
    #[arg(long, value_name = "FILE")]
    pub peaks: Option<PathBuf>,
}

/// The command line behind `run`.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// Write the worst readings of the run to a file, for gpu-container-receipt --peaks.
    #[arg(long, help_heading = REPORTS, value_name = "FILE")]
    pub peaks_out: Option<PathBuf>,
    /// With --tui: write what the job prints, as far as the dashboard shows it, to a file as well.
    #[arg(long, help_heading = REPORTS, value_name = "FILE")]
    pub job_output: Option<PathBuf>,
    /// Draw the run at its end: its trajectory, the limits and the breach.
    #[arg(long, help_heading = REPORTS, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Seconds from SIGTERM to SIGKILL when the job is stopped [default: 5].
    #[arg(long, help_heading = ACTION, value_name = "SECONDS", value_parser = up_to(LONGEST_S))]
    pub grace: Option<f64>,
    /// Whether the job gets a control group (v2) of its own where one can be made: it is killed
    /// in one stroke, however fast it forks [default: auto].
    #[arg(long, value_name = "WHEN", value_enum)]
    pub cgroup: Option<CgroupUse>,
    /// Most memory, MiB, that the job's control group may hold; the kernel enforces it.
    #[arg(long, value_name = "MIB", value_parser = above_0_up_to(MOST_MIB))]
    pub memory_max: Option<f64>,
    /// Weights file of the plan's job, instead of the one that the plan names.
    #[arg(long, value_name = "FILE")]
    pub model: Option<PathBuf>,
    /// The job: a program and its arguments. With --plan, none, or flags alone behind --: the plan's
    /// llama-server with those flags.
    #[arg(trailing_var_arg = true, value_name = "COMMAND")]
    pub job: Vec<OsString>,
}

/// `--cgroup`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum CgroupUse {
    /// Where one can be made.
    Auto,
    /// Never.
    Off,
}

impl crate::CommonArgs for Args {
    fn debug(&self) -> bool {
        self.debug
    }
}
