//! `gpu-container-plan`: its arguments, and one run.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Parser;
use gpuc_core::calibration::{points_in, seed};
use gpuc_core::document::{Assumptions, Model, Plan, Point, Profile, Verdict};
use gpuc_core::error::{Code, Fault};
use gpuc_core::exit::Exit;
use gpuc_core::model::{self, quant};
use gpuc_core::plan::{
    Bandwidths, ClosedForm, ClosedFormSetting, PlanRequest, RigView, plan, refuse,
};
use gpuc_core::units::{MIB, round_to};

use crate::deliver::{deliver_json, read_document, read_model_config};
use crate::shell::CommonArgs;
use crate::values::{at_least_one, count, non_negative, positive, weight_bytes};

/// A file of a calibration store that is larger than this holds no points of ours.
const LARGEST_STORE_FILE: u64 = 16 * MIB;

/// Tokens that llama.cpp evaluates at a time unless told otherwise (`-ub`).
const UBATCH: u64 = 512;

/// Place a model on a rig: which experts go to VRAM and which to RAM, how fast it will decode at
/// most and in all likelihood, and whether that is worth running.
#[derive(Debug, Parser)]
#[command(
    name = "gpu-container-plan",
    version,
    args_override_self = true,
    after_help = "\
Examples:
  gpu-container-plan --profile profile.json --model-config config.json --quant gguf-q4_k_m
  gpu-container-plan --profile profile.json --model-config config.json --ctx 32768 -o plan.json

Exit status:
  0  ship: the plan fits and clears the floor
  3  refuse: the message says what was expected, why it fails and what would help
  2  bad usage, or an input or output that cannot be used"
)]
pub struct PlanArgs {
    /// Profile of the rig, from gpu-container-profile (- for standard input)
    #[arg(long, value_name = "FILE")]
    profile: PathBuf,
    /// The model's HuggingFace config.json; without it, the model in the profile is planned
    #[arg(long, value_name = "FILE")]
    model_config: Option<PathBuf>,
    /// Name to call the model by
    #[arg(long, value_name = "NAME")]
    model_name: Option<String>,
    /// Quantisation tag [default with --model-config: gguf-q4_k_m]
    #[arg(long, value_name = "TAG")]
    quant: Option<String>,
    /// Context to keep room for, tokens; 0 is the model's own, as llama.cpp means it
    #[arg(long, value_name = "N", default_value = "4096", value_parser = count)]
    ctx: u64,
    /// Context filled when decode is judged, tokens [default: the whole context]
    #[arg(long, value_name = "N", value_parser = count)]
    depth: Option<u64>,
    /// Sequences, each with a KV cache of its own
    #[arg(long, value_name = "N", default_value = "1", value_parser = at_least_one)]
    batch: u64,
    /// RAM bandwidth, GB/s [default: the profile's, else 80, labelled]
    #[arg(long, value_name = "GB/S", value_parser = positive)]
    cpu_bw: Option<f64>,
    /// VRAM bandwidth, GB/s [default: the profile's, else 1790, labelled]
    #[arg(long, value_name = "GB/S", value_parser = positive)]
    vram_bw: Option<f64>,
    /// Bytes per weight of all that is no routed expert [default: by the quantisation]
    #[arg(long, value_name = "BYTES", value_parser = weight_bytes)]
    non_expert_bpw: Option<f64>,
    /// Use this --n-cpu-moe instead of the smallest that fits
    #[arg(long, value_name = "N", value_parser = count)]
    n_cpu_moe: Option<u64>,
    /// VRAM kept for compute buffers and the CUDA context, MiB
    #[arg(long, value_name = "MIB", default_value = "1024", value_parser = non_negative)]
    margin_mib: f64,
    /// Refuse what cannot decode at this rate, tokens a second
    #[arg(long, value_name = "TOK/S", default_value = "1.0", value_parser = non_negative)]
    floor: f64,
    /// HuggingFace repository to name in the launch line (repo/name:quant)
    #[arg(long, value_name = "REF")]
    hf: Option<String>,
    /// Folder of calibration points that receipts have written
    #[arg(long, value_name = "DIR")]
    calibration_dir: Option<PathBuf>,
    /// Forecast the ceiling itself
    #[arg(long)]
    no_calibration: bool,
    /// Write the plan here instead of standard output
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Show the whole chain of causes of an error
    #[arg(long)]
    debug: bool,
}

impl CommonArgs for PlanArgs {
    fn debug(&self) -> bool {
        self.debug
    }
}

/// One run of the command.
#[allow(clippy::needless_pass_by_value, reason = "main_with hands them over")]
pub fn run(args: PlanArgs) -> anyhow::Result<Exit> {
    let profile: Profile = read_document(&args.profile, "profile", Code::InputBadProfile)?;
    let plan = match subject(&args, &profile)? {
        Some(subject) => decide(&args, &profile, &subject)?,
        None => refuse(
            "refused: there is no model to place: the profile holds none. What would help: \
             --model-config config.json, here or with gpu-container-profile"
                .into(),
        ),
    };
    deliver_json(&plan, args.out.as_deref())?;
    tell(&plan, args.hf.as_deref());
    Ok(match plan.verdict {
        Verdict::Ship => Exit::Ok,
        Verdict::Refuse => Exit::Refused,
    })
}

/// The model to place, and what its analysis wants the reader to know.
struct Subject {
    model: Model,
    notes: Vec<String>,
}

fn subject(args: &PlanArgs, profile: &Profile) -> anyhow::Result<Option<Subject>> {
    let name = args.model_name.as_deref();
    if let Some(path) = &args.model_config {
        let config = read_model_config(path)?;
        let tag = args.quant.as_deref().unwrap_or("gguf-q4_k_m");
        let analysis = model::analyze(&config, name, Some(tag)).map_err(Fault::from)?;
        return Ok(Some(Subject {
            model: analysis.model,
            notes: analysis.notes,
        }));
    }
    Ok(profile.model.clone().map(|mut model| {
        if let Some(name) = name {
            name.clone_into(&mut model.name);
        }
        if let Some(tag) = &args.quant {
            model.quant = Some(tag.clone());
        }
        Subject {
            model,
            notes: Vec::new(),
        }
    }))
}

fn decide(args: &PlanArgs, profile: &Profile, subject: &Subject) -> anyhow::Result<Plan> {
    let model = &subject.model;
    let ctx = match (args.ctx, model.max_context) {
        (0, Some(own)) => own,
        (0, None) => {
            return Err(Fault::new(
                Code::InputBadModelConfig,
                "a context of 0 means the model's own, which is not known here",
            )
            .with_hint("give --ctx N, or a config.json with max_position_embeddings")
            .into());
        }
        (ctx, _) => ctx,
    };
    let dtype_bytes = model.dtype_bytes.unwrap_or(2.0);
    let weights = quant::weights(
        model.quant.as_deref(),
        dtype_bytes,
        model.quantization.as_ref(),
    )
    .map_err(Fault::from)?;
    let expert_bpw = weights.expert;
    let non_expert_bpw = args.non_expert_bpw.unwrap_or(weights.rest);
    let depth = args.depth.unwrap_or(ctx).min(ctx);
    let kv_bytes = model.kv_bytes(ctx, args.batch, UBATCH).unwrap_or(0);
    let kv_read_bytes = model.kv_read_bytes(depth, args.batch).unwrap_or(0);
    let setting = ClosedFormSetting {
        expert_bpw,
        non_expert_bpw,
        kv_bytes,
        kv_read_bytes,
    };
    let Some(footprint) = ClosedForm::new(model, setting) else {
        return Ok(refuse(unplaceable(model)));
    };
    let bandwidths =
        Bandwidths::resolve(&profile.hardware, args.cpu_bw, args.vram_bw).map_err(Fault::from)?;
    let points = (!args.no_calibration).then(|| points(args.calibration_dir.as_deref()));
    let request = PlanRequest {
        model: &model.name,
        footprint: &footprint,
        rig: RigView::new(&profile.hardware),
        bandwidths: &bandwidths,
        margin: args.margin_mib * MIB as f64,
        floor: args.floor,
        forced_n: args.n_cpu_moe,
        points: points.as_deref(),
        assumptions: Assumptions {
            cpu_mem_bw_gbps: Some(round_to(bandwidths.ram.gbps, 1)),
            cpu_bw_measured: Some(bandwidths.ram.known),
            vram_bw_gbps: Some(round_to(bandwidths.vram.gbps, 1)),
            vram_bw_source: Some(bandwidths.vram.source.clone()),
            bytes_per_weight: Some(round_to(expert_bpw, 3)),
            non_expert_bpw: Some(round_to(non_expert_bpw, 3)),
            ctx_len: Some(ctx),
            depth: args.depth,
            batch: Some(args.batch),
            overhead_mib: Some(args.margin_mib),
            kv_dtype: Some("f16".into()),
            model_total_b: model.total_params,
            forced_n: args.n_cpu_moe,
            notes: subject.notes.iter().cloned().chain(weights.note).collect(),
        },
    };
    Ok(plan(&request).map_err(Fault::from)?)
}

/// Why a model that is no mixture of experts, or not known well enough, is not placed.
fn unplaceable(model: &Model) -> String {
    let name = &model.name;
    match model.architecture.as_deref() {
        Some("dense") => format!(
            "refused: {name} was expected to be a mixture of experts, whose experts can live in \
             RAM; it is a dense model, and all its weights are read for each token. What would \
             help: a GPU that holds the whole model, a mixture-of-experts model of that size, or \
             a smaller dense model"
        ),
        Some("moe") => format!(
            "refused: placing {name} needs its number of layers with experts, its expert \
             parameters and its other parameters, and not all of them are known. What would help: \
             the model's own config.json with --model-config"
        ),
        _ => format!(
            "refused: the shape of {name} is not known: its configuration has no key that says how \
             many layers or experts there are. What would help: the config.json as it is published \
             on HuggingFace"
        ),
    }
}

/// The shipped points and those of the user's store; what cannot be read is left out.
fn points(store: Option<&Path>) -> Vec<Point> {
    let mut points = seed();
    let Some(entries) = store.and_then(|dir| fs::read_dir(dir).ok()) else {
        return points;
    };
    let mut files: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| path.as_os_str().as_encoded_bytes().ends_with(b".json"))
        .collect();
    files.sort();
    for path in files {
        let small = fs::metadata(&path).is_ok_and(|m| m.is_file() && m.len() <= LARGEST_STORE_FILE);
        if let Some(bytes) = small.then(|| fs::read(&path).ok()).flatten() {
            points.extend(points_in(&bytes).points);
        }
    }
    points
}

/// The plan for a person, on standard error.
fn tell(plan: &Plan, hf: Option<&str>) {
    let mut text = String::new();
    if let Some(message) = &plan.message {
        text += &format!("{message}\n");
    }
    for note in plan.assumptions.iter().flat_map(|a| &a.notes) {
        text += &format!("note: {note}\n");
    }
    if let (Verdict::Ship, Some(flags)) = (plan.verdict, &plan.llama_flags) {
        let source = hf.map_or("-m MODEL.gguf".to_owned(), |hf| format!("-hf {hf}"));
        text += &format!("launch: llama-server {source} {flags}\n");
    }
    // Standard error that is closed must not change the verdict.
    let _ = std::io::stderr().write_all(text.as_bytes());
}
