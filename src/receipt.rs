//! `gpu-container-receipt`: its arguments, and one run.

mod store;

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use gpuc_core::document::{Concentration, Peaks, Plan, Profile, Receipt, Trace};
use gpuc_core::error::{Code, Fault};
use gpuc_core::exit::Exit;
use gpuc_core::receipt::{
    Bench, BenchError, Envelope, Measured, Surroundings, Wanted, checked_plan, curve_table,
    fold_peaks, fold_routing, history, measure, prove, verdict,
};
use gpuc_core::routing::report;
use gpuc_show::html::Page;
use gpuc_show::svg;
use gpuc_show::text::{self, Terminal};
use gpuc_show::view::Speed;

use crate::concentration::read_routing;
use crate::deliver::{deliver_picture, read_document, read_input};
use crate::plan::stored_points;
use crate::screen::{FormatArgs, say};
use crate::shell::CommonArgs;
use crate::values::{count, non_negative};
use crate::watchdog::read_track;

/// The largest benchmark output that is read; a sweep of thousands of rows is a few megabytes.
const LARGEST_BENCH: usize = 64 << 20;

/// Hold a real run against its plan: is the measured speed under the ceiling, inside the forecast,
/// above the floor? With --calibration-dir the measurement sharpens the next plan's forecast.
#[derive(Debug, Parser)]
#[command(
    name = "gpu-container-receipt",
    version,
    args_override_self = true,
    after_help = "\
Examples:
  llama-bench -m model.gguf -ncmoe 28 -d 0,4096,16384 -o json > bench.json
  gpu-container-receipt --plan plan.json --bench bench.json
  gpu-container-receipt --plan plan.json --bench bench.json --peaks peaks.json \\
      --calibration-dir calibration -o receipt.json
  gpu-container-receipt --plan plan.json --bench bench.json --peaks peaks.json --html run.html
  gpu-container-receipt --history calibration
  curl -s localhost:8080/metrics | gpu-container-receipt --plan plan.json --server -

Exit status:
  0  the floor is cleared, at or under the ceiling
  3  below the floor
  4  above the ceiling: what the plan takes for the bandwidth is wrong
  2  bad usage, or an input or output that cannot be used"
)]
pub struct ReceiptArgs {
    /// The plan.json that was run (- for standard input)
    #[arg(long, value_name = "FILE", required_unless_present = "history")]
    plan: Option<PathBuf>,
    /// Print the calibration points of this folder over time instead: forecast against measured,
    /// and where the rig has drifted
    #[arg(long, value_name = "DIR", conflicts_with_all = ["plan", "bench", "calibration_dir"])]
    history: Option<PathBuf>,
    /// llama-bench output (json, jsonl, csv, md or sql, log lines and all), a llama-server answer
    /// with timings, or its /metrics (- for standard input); several files are read as one
    #[arg(long, value_name = "FILE", num_args = 1.., action = clap::ArgAction::Set)]
    bench: Vec<PathBuf>,
    /// What llama-server says of its own speed, instead of --bench: an answer with timings, or its
    /// /metrics (- for standard input)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["bench", "history"])]
    server: Option<PathBuf>,
    /// Measured decode rate; wins over --bench
    #[arg(long, value_name = "RATE", value_parser = non_negative)]
    decode_tok_s: Option<f64>,
    /// Measured prefill rate; wins over --bench
    #[arg(long, value_name = "RATE", value_parser = non_negative)]
    prefill_tok_s: Option<f64>,
    /// Measured VRAM, MiB
    #[arg(long, value_name = "MIB", value_parser = non_negative)]
    vram_used_mib: Option<f64>,
    /// Take the decode row at this context depth [default: the smallest]
    #[arg(long, value_name = "TOKENS", value_parser = count)]
    depth: Option<u64>,
    /// Name of the model, for the calibration point [default: the plan's]
    #[arg(long, value_name = "NAME")]
    model_name: Option<String>,
    /// Quantisation tag, for the calibration point [default: the plan's]
    #[arg(long, value_name = "TAG")]
    quant: Option<String>,
    /// Add a calibration point to this folder
    #[arg(long, value_name = "DIR")]
    calibration_dir: Option<PathBuf>,
    /// Date of the measurement [default: today]
    #[arg(long, value_name = "ISO")]
    created: Option<String>,
    /// Profile of the rig, for the calibration point: its card and its driver
    #[arg(long, value_name = "FILE", conflicts_with = "history")]
    profile: Option<PathBuf>,
    /// The rig, for the calibration point
    #[arg(long, value_name = "TEXT")]
    rig: Option<String>,
    /// Where the measurement comes from
    #[arg(long, value_name = "TEXT")]
    source: Option<String>,
    /// Routing trace, as counts or token by token: adds whether a per-expert cache would help
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Share of the routing that the resident experts are to carry, with --trace
    #[arg(long, value_name = "SHARE", default_value = "0.90", value_parser = non_negative)]
    coverage: f64,
    /// A cache could help when fewer than this share of the experts carry it, with --trace
    #[arg(long, value_name = "SHARE", default_value = "0.50", value_parser = non_negative)]
    threshold: f64,
    /// Peaks of the supervised run, as gpu-container-watchdog run --peaks-out wrote them
    #[arg(long, value_name = "FILE")]
    peaks: Option<PathBuf>,
    /// Draw the receipt: what was measured between floor, forecast and ceiling
    #[arg(long, value_name = "FILE", conflicts_with = "history")]
    svg: Option<PathBuf>,
    /// Write plan, receipt, envelope and their pictures as one page
    #[arg(long, value_name = "FILE", conflicts_with = "history")]
    html: Option<PathBuf>,
    /// Log of the supervised run, to draw in --html
    #[arg(long, value_name = "FILE", requires = "html")]
    log: Option<PathBuf>,
    /// Events of the supervised run, to mark in --html what was decided
    #[arg(long, value_name = "FILE", requires = "log")]
    events: Option<PathBuf>,
    /// Write the receipt here instead of standard output
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    format: FormatArgs,
    /// Show the whole chain of causes of an error
    #[arg(long)]
    debug: bool,
}

impl CommonArgs for ReceiptArgs {
    fn debug(&self) -> bool {
        self.debug
    }
}

/// One run of the command.
#[allow(clippy::needless_pass_by_value, reason = "main_with hands them over")]
pub fn run(args: ReceiptArgs) -> anyhow::Result<Exit> {
    if let Some(dir) = &args.history {
        return past(dir, &args);
    }
    // The parser asks for one of the two.
    let path = args.plan.clone().unwrap_or_default();
    let bytes = read_input(&path, "plan", Code::IoReadFailed)?;
    let plan = checked_plan(&bytes, &path.display().to_string()).map_err(Fault::from)?;
    let mut measured = measured(&args, &plan)?;
    let profile: Option<Profile> = match &args.profile {
        Some(path) => Some(read_document(path, "profile", Code::InputBadProfile)?),
        None => None,
    };
    let (envelope, peaks) = args.peaks.as_deref().and_then(envelope).unzip();
    // A map to hold it against is what makes the card's reading a measurement of the placement.
    if !plan.memory_map.is_empty() {
        let seen = envelope.as_ref().and_then(|e| e.gpu_vram_used_mib);
        measured.vram_mib = measured.vram_mib.or(seen);
    }
    let mut receipt = prove(&plan, &measured);
    let seen = Seen {
        routing: args.trace.as_deref().and_then(|p| routing(&args, p)),
        peaks: peaks.flatten(),
    };
    if let Some((_, report)) = &seen.routing {
        fold_routing(&mut receipt, report);
    }
    if let Some(envelope) = &envelope {
        fold_peaks(&mut receipt, envelope);
    }
    let around = Surroundings {
        hardware: profile.as_ref().map(|p| &p.hardware),
        envelope: envelope.as_ref(),
    };
    let kept = store::write_back(&args, &plan, &measured, around, &mut receipt)?;
    let pictures = draw(&args, &plan, &receipt, &seen);
    let exit = verdict(&plan, &measured);
    let screen = |t: &Terminal| text::receipt(&receipt, &Speed::of(&plan), exit, t);
    let deliver = || args.format.deliver(&receipt, args.out.as_deref(), screen);
    let shown = match pictures.and_then(|()| deliver()) {
        Ok(shown) => shown,
        Err(e) => {
            // No receipt, no point: the next try would add it a second time.
            if let Some(path) = kept {
                let _ = fs::remove_file(path);
            }
            return Err(e.into());
        }
    };
    if !shown {
        let curve = curve_table(&receipt.depth_curve);
        let notes = receipt.notes.iter().map(String::as_str);
        for line in curve.lines().chain(notes) {
            say(line);
        }
    }
    Ok(exit)
}

/// What a page shows beside the receipt, where it was given and could be read.
struct Seen {
    routing: Option<(Trace, Concentration)>,
    peaks: Option<Peaks>,
}

/// Draws the receipt where that is asked for.
fn draw(args: &ReceiptArgs, plan: &Plan, receipt: &Receipt, seen: &Seen) -> Result<(), Fault> {
    if let Some(path) = &args.svg {
        deliver_picture(&svg::receipt(receipt, plan).svg(), path)?;
    }
    let Some(path) = &args.html else {
        return Ok(());
    };
    let track = args
        .log
        .as_deref()
        .and_then(|log| match read_track(log, args.events.as_deref()) {
            Ok(track) => Some(track),
            Err(e) => {
                say(&format!("WARN: {e}: left out"));
                None
            }
        });
    let page = Page {
        receipt: Some(receipt),
        peaks: seen.peaks.as_ref(),
        track: track.as_ref(),
        routing: seen.routing.as_ref().map(|(trace, report)| (trace, report)),
        ..Page::of(plan, None)
    };
    deliver_picture(&page.html(), path)
}

/// The history of a calibration folder.
fn past(dir: &Path, args: &ReceiptArgs) -> anyhow::Result<Exit> {
    // Naming a folder that is not there is a slip of the pen, not an empty history.
    fs::read_dir(dir).map_err(|e| {
        Fault::new(
            Code::IoReadFailed,
            format!("calibration folder {} cannot be read", dir.display()),
        )
        .with_hint("name the folder that --calibration-dir writes to")
        .with_cause(e)
    })?;
    let table = history(&stored_points(dir));
    let (text, out) = (table.table(), args.out.as_deref());
    if !args
        .format
        .deliver(&table, out, |t| text::history(&table, t))?
    {
        say(&text);
    }
    Ok(Exit::Ok)
}

fn measured(args: &ReceiptArgs, plan: &Plan) -> Result<Measured, Fault> {
    let bench = match (&args.server, args.bench.as_slice()) {
        (Some(path), _) => Some(Bench::read_server(&read_bench(path)?)),
        (None, []) => None,
        (None, files) => {
            let files: Result<Vec<_>, _> = files.iter().map(|path| read_bench(path)).collect();
            Some(Bench::read_all(&files?))
        }
    };
    let rows = bench.as_ref().map_or(0, |b| b.rows.len());
    let mut measured = match bench {
        None => Measured::default(),
        Some(bench) => measure(&bench, &Wanted::of(plan, args.depth))?,
    };
    if args.decode_tok_s.is_some() {
        measured = measured.given(args.decode_tok_s);
    }
    measured.prefill = args.prefill_tok_s.or(measured.prefill);
    measured.vram_mib = args.vram_used_mib;
    if let Some(source) = &args.source {
        measured.method.clone_from(source);
    }
    if measured.decode.is_none() {
        return Err(BenchError::NoDecode { rows }.into());
    }
    Ok(measured)
}

fn read_bench(path: &Path) -> Result<Vec<u8>, Fault> {
    let bytes = read_input(path, "benchmark", Code::IoReadFailed)?;
    if bytes.len() > LARGEST_BENCH {
        let name = path.display();
        return Err(Fault::new(
            Code::InputNoBenchRows,
            format!("{name} is larger than {} MiB", LARGEST_BENCH >> 20),
        )
        .with_hint("pass the output of llama-bench, not a model or a whole log"));
    }
    Ok(bytes)
}

/// The routing and the report on it, or nothing and a warning.
fn routing(args: &ReceiptArgs, path: &Path) -> Option<(Trace, Concentration)> {
    match read_routing(path, None).map(|routing| routing.counts) {
        Ok(trace) => {
            let report = report(&trace, args.coverage, args.threshold);
            Some((trace, report))
        }
        Err(e) => {
            let why = cause(&e);
            say(&format!("WARN: {e}{why}: the routing verdict is left out"));
            None
        }
    }
}

/// The cause of a fault, in brackets.
fn cause(e: &Fault) -> String {
    let why = e.causes().into_iter().next();
    why.map_or_else(String::new, |c| format!(" ({c})"))
}

/// The safety envelope, with the whole document where it is one of ours, or nothing and a warning.
fn envelope(path: &Path) -> Option<(Envelope, Option<Peaks>)> {
    let name = path.display();
    let mut complaints = Vec::new();
    let envelope = match read_input(path, "peaks", Code::IoReadFailed) {
        Ok(bytes) => Envelope::read(&bytes, &mut complaints)
            .map(|envelope| (envelope, gpuc_core::json::read(&bytes).ok())),
        Err(e) => {
            complaints.push(format!("it cannot be read{}", cause(&e)));
            None
        }
    };
    for why in complaints {
        say(&format!("WARN: --peaks {name}: {why}: left out"));
    }
    envelope
}
