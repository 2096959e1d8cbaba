//! `gpu-container-concentration`: its arguments, and one run.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use clap::Parser;
use gpuc_core::document::{CacheReplay, LayerCounts, Trace};
use gpuc_core::error::{Code, Fault};
use gpuc_core::exit::Exit;
use gpuc_core::header::{HeaderError, read_gguf};
use gpuc_core::routing::{
    ImatrixError, PerToken, Policy, beside, counts_tensors, imatrix_trace, is_old_imatrix,
    read_trace, replay, report, summary,
};
use gpuc_show::svg;

use crate::deliver::{deliver_json, deliver_picture, read_input};
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
    /// Experts of a layer, where the trace does not tell [default: as many as it names]
    #[arg(long, value_name = "N", value_parser = count)]
    experts: Option<u64>,
    /// Rig to say what a cache would buy on, with --model-config
    #[arg(long, value_name = "FILE", requires = "model_config")]
    profile: Option<PathBuf>,
    /// The model's config.json, with --profile
    #[arg(long, value_name = "FILE", requires = "profile")]
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
    let routing = routing(&args)?;
    let mut report = report(&routing.counts, args.coverage, args.threshold);
    if let Some(tokens) = &routing.tokens {
        let profile = rig::read(&args)?;
        let on_rig = profile.as_ref().and_then(rig::Read::on_rig);
        if profile.is_some() && on_rig.is_none() {
            report.notes.push(
                "what a cache would buy is not known: it takes the card's kind and bandwidth, and \
                 a mixture of experts"
                    .into(),
            );
        }
        replay(&mut report, tokens, &slots(&args, tokens), on_rig.as_ref());
    }
    for path in &args.compare {
        let other = read_routing(path, args.experts)?.counts;
        let judged = gpuc_core::routing::report(&other, args.coverage, args.threshold);
        let name = path.display().to_string();
        report
            .workloads
            .push(beside(&routing.counts, &other, &judged, name));
    }
    if let Some(path) = &args.svg {
        deliver_picture(&svg::routing(&routing.counts, &report).svg(), path)?;
    }
    deliver_json(&report, args.out.as_deref())?;
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
    // Nobody has to listen; the report is out.
    let _ = io::stderr().write_all(text.as_bytes());
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
    format!(
        "{} experts a layer, {policy}: {:.1} % hits{buys}",
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
struct Routing {
    counts: Trace,
    /// The choices one by one, where the file has them.
    tokens: Option<PerToken>,
}

fn routing(args: &ConcentrationArgs) -> Result<Routing, Fault> {
    match &args.from {
        Source {
            trace: Some(path), ..
        } => read_routing(path, args.experts),
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

fn read_routing(path: &Path, experts: Option<u64>) -> Result<Routing, Fault> {
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

/// The rig that a cache would be built on.
mod rig {
    use gpuc_core::document::{Model, Profile};
    use gpuc_core::error::{Code, Fault};
    use gpuc_core::forecast::{DecodeSetting, Outlook, Work, decode_weights};
    use gpuc_core::model::{self, quant};
    use gpuc_core::plan::Bandwidths;
    use gpuc_core::routing::OnRig;

    use super::ConcentrationArgs;
    use crate::deliver::{read_document, read_model_config};

    /// A profile and a model.
    pub(super) struct Read {
        profile: Profile,
        bandwidths: Bandwidths,
        model: Model,
        weights: (f64, f64),
    }

    pub(super) fn read(args: &ConcentrationArgs) -> Result<Option<Read>, Fault> {
        let (Some(profile), Some(config)) = (&args.profile, &args.model_config) else {
            return Ok(None);
        };
        let profile: Profile = read_document(profile, "profile", Code::InputBadProfile)?;
        let config = read_model_config(config)?;
        let model = model::analyze(&config, None, Some(&args.quant))?.model;
        let tag = Some(args.quant.as_str());
        let by_tag = quant::weights(tag, 2.0, model.quantization.as_ref())?;
        let weights = decode_weights(model.family.as_deref(), tag, (by_tag.expert, by_tag.rest));
        Ok(Some(Read {
            bandwidths: Bandwidths::resolve(&profile.hardware, None, None)?,
            profile,
            model,
            weights,
        }))
    }

    impl Read {
        pub(super) fn on_rig(&self) -> Option<OnRig<'_>> {
            let (expert_bpw, rest_bpw) = self.weights;
            let layers = self.model.n_moe_layers.filter(|l| *l > 0)?;
            let setting = DecodeSetting {
                expert_bpw,
                rest_bpw,
                on_host: layers,
                cache_read_bytes: 0.0,
                sequences: 1,
            };
            let gpu = &self.profile.hardware.gpu;
            let Bandwidths {
                ram,
                vram,
                card_known,
            } = &self.bandwidths;
            let outlook = Outlook::new(
                &gpu.name,
                gpu.compute_capability.as_deref(),
                vram.stated(),
                ram.stated(),
                &[],
            )
            .filter(|_| *card_known)?;
            let each = self.model.expert.expert_params_each? as f64;
            Some(OnRig {
                outlook,
                work: Work::of_model(&self.model, &setting)?,
                expert_bytes: each * expert_bpw * layers as f64,
            })
        }
    }
}

/// The counts of each MoE block in the importance matrix at `path`, in the file's order.
fn imatrix(path: &Path) -> Result<Vec<LayerCounts>, Fault> {
    let unreadable = |e: io::Error| {
        Fault::new(
            Code::InputBadImatrix,
            format!("importance matrix {} cannot be read", path.display()),
        )
        .with_hint("name the file that llama-imatrix wrote; it must be a file, not a pipe")
        .with_cause(e)
    };
    let mut file = File::open(path).map_err(unreadable)?;
    if file.metadata().map_err(unreadable)?.is_dir() {
        return Err(unreadable(io::ErrorKind::IsADirectory.into()));
    }
    let bad = |e: ImatrixError| Fault::from(e).about(path.display());
    let header = match read_gguf(&mut file) {
        Ok(header) => header,
        Err(HeaderError::Read(e)) => return Err(unreadable(e)),
        Err(HeaderError::NotGguf { .. }) if starts_like_old(&mut file) => {
            return Err(bad(ImatrixError::OldFormat));
        }
        Err(e) => return Err(bad(e.into())),
    };
    let mut layers = Vec::new();
    for tensor in counts_tensors(&header.tensors).map_err(bad)? {
        let mut bytes = vec![0; tensor.len()];
        file.seek(SeekFrom::Start(tensor.offset()))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(unreadable)?;
        layers.push(tensor.counts(&bytes).map_err(bad)?);
    }
    Ok(layers)
}

fn starts_like_old(file: &mut File) -> bool {
    let mut start = Vec::new();
    let read = file
        .rewind()
        .and_then(|()| file.take(1024).read_to_end(&mut start));
    read.is_ok() && is_old_imatrix(&start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MICRO: &[u8] = include_bytes!("../tests/data/imatrix-micro.gguf");

    fn judge(bytes: &[u8]) -> Result<Exit, Fault> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let trace = imatrix_trace(imatrix(file.path())?, 8, None);
        let report = report(&trace, 0.9, 0.5);
        assert!((0.0..=1.0).contains(&report.concentration_score));
        Ok(Exit::Ok)
    }

    #[test]
    fn the_fixture_is_read() {
        assert!(judge(MICRO).is_ok());
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_imatrix_or_an_error(
            start in prop::sample::select(vec![&b""[..], b"GGUF", b"GGUF\x03\0\0\0"]),
            rest in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            if let Err(e) = judge(&[start, &rest].concat()) {
                prop_assert_eq!(e.code(), Code::InputBadImatrix);
            }
        }

        #[test]
        fn a_damaged_imatrix_is_one_or_an_error(
            changes in prop::collection::vec((0usize..12_000, any::<u8>()), 0..8),
            cut in prop::option::of(0usize..MICRO.len()),
        ) {
            let mut bytes = MICRO.to_vec();
            for (at, with) in changes {
                bytes[at] = with;
            }
            bytes.truncate(cut.unwrap_or(MICRO.len()));
            if let Err(e) = judge(&bytes) {
                prop_assert_eq!(e.code(), Code::InputBadImatrix);
            }
        }
    }
}
