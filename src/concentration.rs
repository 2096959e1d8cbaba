//! `gpu-container-concentration`: its arguments, and one run.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use clap::Parser;
use gpuc_core::document::{LayerCounts, Trace};
use gpuc_core::error::{Code, Fault};
use gpuc_core::exit::Exit;
use gpuc_core::header::{HeaderError, read_gguf};
use gpuc_core::routing::{
    ImatrixError, counts_tensors, imatrix_trace, is_old_imatrix, read_trace, report, summary,
};

use crate::deliver::{deliver_json, read_input};
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
    /// Write the report here instead of standard output
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Show the whole chain of causes of an error
    #[arg(long)]
    debug: bool,
}

/// Where the counts come from.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Source {
    /// Routing trace: JSON with the visits to each expert of each layer (- for standard input)
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
pub fn run(args: ConcentrationArgs) -> anyhow::Result<Exit> {
    let (coverage, threshold) = (args.coverage, args.threshold);
    let out = args.out.clone();
    let report = report(&trace(args)?, coverage, threshold);
    deliver_json(&report, out.as_deref())?;
    let mut text = summary(&report) + "\n";
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

fn trace(args: ConcentrationArgs) -> Result<Trace, Fault> {
    match args.from {
        Source {
            trace: Some(path), ..
        } => {
            let bytes = read_input(&path, "trace", Code::IoTraceUnreadable)?;
            Ok(read_trace(&bytes, &path.display().to_string())?)
        }
        Source {
            imatrix: Some(path),
            ..
        } => {
            let model = args.model_name.unwrap_or_else(|| "model".to_owned());
            Ok(imatrix_trace(imatrix(&path)?, args.topk, Some(model)))
        }
        // The parser asks for one of them.
        Source { .. } => Err(Fault::new(
            Code::InputUsage,
            "one of --trace and --imatrix is needed",
        )),
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
