//! `gpu-container-concentration`: its arguments, and one run.

mod imatrix;
mod rig;

use std::path::{Path, PathBuf};

use clap::Parser;
use gpuc_core::document::{CacheReplay, Trace};
use gpuc_core::error::{Code, Fault};
use gpuc_core::exit::Exit;
use gpuc_core::routing::{
    PerToken, Policy, beside, hot_fraction_interval, imatrix_trace, read_trace, replay, report,
    summary,
};
use gpuc_show::svg;
use gpuc_show::text::{self, Terminal};

use self::imatrix::imatrix;
use crate::deliver::{deliver_picture, read_input};
use crate::screen::{FormatArgs, say};
use crate::shell::CommonArgs;
use crate::values::{count, non_negative};

/// Find out whether a model's routing is skewed enough for a per-expert cache, before one is
/// built: few hot experts that carry most tokens can stay in VRAM, evenly used ones cannot.
#[derive(Debug, Parser)]
#[command(
    name = "gpu-container-concentration",
    version,
    args_override_self = true,
    after_help = "\
Examples:
  llama-imatrix -m model.gguf -f prompts.txt -o imatrix.gguf
  gpu-container-concentration --imatrix imatrix.gguf --topk 8
  gpu-container-concentration --trace trace.json --coverage 0.95 -o report.json
  gpu-container-concentration --trace chat.jsonl --slots 32,64 --compare code.jsonl \\
      --profile profile.json --model-config config.json

Exit status:
  0  a per-expert cache is not justified
  5  a per-expert cache could help: few experts carry most of the routing
  2  bad usage, or an input or output that cannot be used"
)]
pub struct ConcentrationArgs {
    #[command(flatten)]
    from: Source,
    /// Name to call the model by, with --imatrix (a trace names its own) [default: model]
    #[arg(long, value_name = "NAME")]
    model_name: Option<String>,
    /// Experts a token is sent to, with --imatrix: turns visits into tokens
    #[arg(long, value_name = "N", default_value = "8", value_parser = count)]
    topk: u64,
    /// Share of the routing that the resident experts are to carry
    #[arg(long, value_name = "SHARE", default_value = "0.90", value_parser = non_negative)]
    coverage: f64,
    /// A cache could help when fewer than this share of the experts carry it
    #[arg(long, value_name = "SHARE", default_value = "0.50", value_parser = non_negative)]
    threshold: f64,
    /// Further traces, a file each, to set beside --trace: is the routing the same elsewhere?
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "trace", action = clap::ArgAction::Set)]
    compare: Vec<PathBuf>,
    /// Replay caches of so many experts in each layer, with a per-token trace
    /// [default: an eighth, a quarter and a half of the experts]
    #[arg(long, value_name = "N,...", value_delimiter = ',', value_parser = count)]
    slots: Vec<u64>,
    /// Experts of a layer, where the trace does not tell [default: the model's, else as many as it
    /// names]
    #[arg(long, value_name = "N", value_parser = count)]
    experts: Option<u64>,
    /// Rig to say what a cache would buy on, with --model or --model-config
    #[arg(long, value_name = "FILE", requires = "routed")]
    profile: Option<PathBuf>,
    /// The model's weights file (a GGUF, any file of a split one, or a folder that holds one), or a
    /// folder of safetensors with its config.json, with --profile
    #[arg(long, value_name = "FILE|DIR", requires = "profile", group = "routed")]
    model: Option<PathBuf>,
    /// The model's config.json, with --profile, where the weights are not at hand
    #[arg(long, value_name = "FILE", requires = "profile", group = "routed")]
    model_config: Option<PathBuf>,
    /// Its quantisation, with --model-config
    #[arg(long, value_name = "TAG", default_value = "gguf-q4_k_m")]
    quant: String,
    /// Write the report here instead of standard output
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Draw the routing: a heat map of experts by layers, and what the hottest of them carry
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    #[command(flatten)]
    format: FormatArgs,
    /// Show the whole chain of causes of an error
    #[arg(long)]
    debug: bool,
}

/// Where the counts come from.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Source {
    /// Routing trace: JSON with the visits to each expert of each layer, or JSON lines of pos,
    /// layer and experts (- for standard input)
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Importance matrix that llama-imatrix wrote as GGUF
    #[arg(long, value_name = "FILE")]
    imatrix: Option<PathBuf>,
}

impl CommonArgs for ConcentrationArgs {
    fn debug(&self) -> bool {
        self.debug
    }
}

/// One run of the command.
#[allow(clippy::needless_pass_by_value, reason = "main_with hands them over")]
pub fn run(args: ConcentrationArgs) -> anyhow::Result<Exit> {
    let on_rig = rig::read(&args)?;
    let model_experts = on_rig.as_ref().and_then(rig::Read::experts);
    let experts = args.experts.or(model_experts);
    let routing = routing(&args, experts)?;
    let mut report = report(&routing.counts, args.coverage, args.threshold);
    if let Some(tokens) = &routing.tokens {
        let same = model_experts.is_none_or(|e| u64::from(tokens.experts()) <= e);
        let rig = on_rig.as_ref().filter(|_| same).map(rig::Read::on_rig);
        match &rig {
            Some(Err(why)) => report
                .notes
                .push(format!("what a cache would buy is not known: {why}")),
            None if !same => report.notes.push(format!(
                "what a cache would buy is not known: the trace names {} experts in a layer, the \
                 model has {}",
                tokens.experts(),
                model_experts.unwrap_or(0)
            )),
            _ => {}
        }
        let rig = rig.and_then(Result::ok);
        replay(&mut report, tokens, &slots(&args, tokens), rig.as_ref());
    }
    for path in &args.compare {
        let other = read_routing(path, experts)?;
        let judged = gpuc_core::routing::report(&other.counts, args.coverage, args.threshold);
        let interval = other
            .tokens
            .and_then(|t| hot_fraction_interval(&t, args.coverage));
        let name = path.display().to_string();
        let workload = beside(&routing.counts, &other.counts, &judged, interval, name);
        report.workloads.push(workload);
    }
    if let Some(path) = &args.svg {
        deliver_picture(&svg::routing(&routing.counts, &report).svg(), path)?;
    }
    let screen = |t: &Terminal| text::concentration(&report, t);
    let shown = args.format.deliver(&report, args.out.as_deref(), screen)?;
    let mut text = summary(&report) + "\n";
    for row in &report.replay {
        text += &format!("  {}\n", line(row));
    }
    for other in &report.workloads {
        text += &format!(
            "  {}: {:.0} % of the experts carry it; the first trace's hot experts carry {:.0} %\n",
            other.name,
            100.0 * other.hot_frac_for_coverage,
            100.0 * other.carried_by_first
        );
    }
    for note in &report.notes {
        text += &format!("  note: {note}\n");
    }
    if !shown {
        say(&text);
    }
    Ok(if report.cache_helps {
        Exit::Warn
    } else {
        Exit::Ok
    })
}

/// A replayed cache for a person.
fn line(row: &CacheReplay) -> String {
    let policy = match row.policy {
        Policy::StaticHottest => "static-hottest",
        Policy::Lru => "lru",
        Policy::LeastStale => "least-stale",
    };
    let buys = row
        .predicted_decode_tok_s
        .zip(row.vram_mib)
        .map_or_else(String::new, |(rate, mib)| {
            format!(", about {rate:.1} tok/s for {mib:.0} MiB of VRAM")
        });
    let instead = row
        .whole_layers_decode_tok_s
        .map_or_else(String::new, |rate| {
            format!(" ({rate:.1} with whole layers there instead)")
        });
    format!(
        "{} experts a layer, {policy}: {:.1} % hits{buys}{instead}",
        row.slots,
        100.0 * row.hit_rate
    )
}

fn slots(args: &ConcentrationArgs, trace: &PerToken) -> Vec<u64> {
    if !args.slots.is_empty() {
        return args.slots.clone();
    }
    let experts = u64::from(trace.experts());
    [8, 4, 2].iter().map(|part| experts / part).collect()
}

/// What a file tells about routing.
pub(crate) struct Routing {
    /// Visits to each expert of each layer.
    pub(crate) counts: Trace,
    /// The choices one by one, where the file has them.
    tokens: Option<PerToken>,
}

fn routing(args: &ConcentrationArgs, experts: Option<u64>) -> Result<Routing, Fault> {
    match &args.from {
        Source {
            trace: Some(path), ..
        } => read_routing(path, experts),
        Source {
            imatrix: Some(path),
            ..
        } => {
            let model = args
                .model_name
                .clone()
                .unwrap_or_else(|| "model".to_owned());
            Ok(Routing {
                counts: imatrix_trace(imatrix(path)?, args.topk, Some(model)),
                tokens: None,
            })
        }
        // The parser asks for one of them.
        Source { .. } => Err(Fault::new(
            Code::InputUsage,
            "one of --trace and --imatrix is needed",
        )),
    }
}

/// The routing in a file of either kind.
pub(crate) fn read_routing(path: &Path, experts: Option<u64>) -> Result<Routing, Fault> {
    let bytes = read_input(path, "trace", Code::IoTraceUnreadable)?;
    let text = gpuc_core::text::decode(&bytes).ok();
    match text.as_deref().and_then(PerToken::read) {
        Some(read) => {
            let tokens = read
                .map_err(|e| Fault::from(e).about(path.display()))?
                .with_experts(experts);
            Ok(Routing {
                counts: tokens.counts(None),
                tokens: Some(tokens),
            })
        }
        None => Ok(Routing {
            counts: read_trace(&bytes, &path.display().to_string())?,
            tokens: None,
        }),
    }
}
