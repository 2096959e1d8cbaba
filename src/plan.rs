//! `gpu-container-plan`: its arguments, and one run.

mod model;

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Parser, ValueEnum};
use gpuc_core::calibration::{points_in, seed};
use gpuc_core::document::{Plan, Point, Profile, Verdict};
use gpuc_core::error::{Code, Fault};
use gpuc_core::exit::Exit;
use gpuc_core::header::GgmlType;
use gpuc_core::launch::{Job, Programs, Weights, bounded_prompt_cache_mib, shell_line};
use gpuc_core::plan::{Bandwidths, Problem, Rig, RigView, Search, Wish, curve, frontier, refuse};
use gpuc_core::units::MIB;
use gpuc_show::html::Page;
use gpuc_show::svg;
use gpuc_show::text::{self, PlanScreen, Terminal};
use gpuc_show::view::prompts;

use self::model::{Loaded, load};
use crate::deliver::{deliver_picture, read_document};
use crate::launch::{Emit, emit};
use crate::screen::{self, FormatArgs, say};
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
  gpu-container-plan --profile profile.json --model model.gguf --calibration-dir calibration
  gpu-container-plan --profile profile.json --model model.gguf --emit systemd > llama.service
  gpu-container-plan --profile profile.json --model model.gguf --svg plan.svg

Exit status:
  0  ship: the plan fits and clears the floor
  3  refuse: the message says what was expected, why it fails and what would help
  2  bad usage, or an input or output that cannot be used"
)]
pub struct PlanArgs {
    /// Profile of the rig, from gpu-container-profile (- for standard input)
    #[arg(long, value_name = "FILE")]
    profile: PathBuf,
    /// The model's weights file (a GGUF, any file of a split one, or a folder that holds one): every
    /// tensor is then placed as llama.cpp does; or a folder of safetensors with its config.json,
    /// whose widths are then taken
    #[arg(long, value_name = "FILE|DIR")]
    model: Option<PathBuf>,
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
    /// Sequences, each with a context of its own
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
    /// Use this -ngl instead of as much as fits (of blocks + 1, the output layer being one)
    #[arg(long, value_name = "N", value_parser = count)]
    n_gpu_layers: Option<u64>,
    /// Place experts by whole layers, or tensor by tensor (needs --model)
    #[arg(long, value_name = "HOW", value_enum, default_value = "layers")]
    placement: PlacementFlag,
    /// Plan without a GPU: everything in RAM
    #[arg(long, conflicts_with_all = ["n_cpu_moe", "n_gpu_layers"])]
    cpu_only: bool,
    /// VRAM that may be used, MiB, instead of what the profile found free
    #[arg(long, value_name = "MIB", value_parser = non_negative)]
    vram_mib: Option<f64>,
    /// Type of the K cache (f32, f16, bf16, q8_0, q4_0, q4_1, iq4_nl, q5_0, q5_1) [default: f16]
    #[arg(long, value_name = "TYPE", value_parser = cache_type)]
    cache_type_k: Option<GgmlType>,
    /// Type of the V cache [default: f16]
    #[arg(long, value_name = "TYPE", value_parser = cache_type)]
    cache_type_v: Option<GgmlType>,
    /// Tokens evaluated at a time [default: 512]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    ubatch_size: Option<u64>,
    /// Flash attention [default: on]
    #[arg(long, value_name = "ON|OFF", value_enum)]
    flash_attn: Option<Switch>,
    /// Sequences that share the context, as llama.cpp's -np counts them [default: --batch]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    parallel: Option<u64>,
    /// Print the whole trade as a table instead of one plan: contexts, cache types, layers in RAM
    #[arg(long)]
    frontier: bool,
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
    /// Print what starts the plan instead of the plan itself, which then goes to -o FILE alone;
    /// a refused plan prints nothing
    #[arg(long, value_name = "AS", value_enum, conflicts_with = "frontier")]
    emit: Option<Emit>,
    /// Write what --emit makes here instead of standard output
    #[arg(long, value_name = "FILE", requires = "emit")]
    emit_to: Option<PathBuf>,
    /// Draw the plan: its memory map, and decode and VRAM by the layers in RAM
    #[arg(long, value_name = "FILE", conflicts_with = "frontier")]
    svg: Option<PathBuf>,
    /// Write the plan and its pictures as one page
    #[arg(long, value_name = "FILE", conflicts_with = "frontier")]
    html: Option<PathBuf>,
    #[command(flatten)]
    format: FormatArgs,
    /// Show the whole chain of causes of an error
    #[arg(long)]
    debug: bool,
}

/// How finely experts are placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PlacementFlag {
    Layers,
    Tensors,
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Switch {
    On,
    Off,
}

/// The types that llama.cpp takes for a KV cache.
const CACHE_TYPES: [&str; 9] = [
    "f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1",
];

fn cache_type(text: &str) -> Result<GgmlType, String> {
    CACHE_TYPES
        .contains(&text)
        .then(|| GgmlType::by_name(text))
        .flatten()
        .ok_or_else(|| format!("expected one of {}", CACHE_TYPES.join(", ")))
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
    let points = (!args.no_calibration).then(|| points(args.calibration_dir.as_deref()));
    if let Some(dir) = args.calibration_dir.as_deref().filter(|dir| !dir.is_dir()) {
        let dir = dir.display();
        say(&format!(
            "note: there is no folder {dir} yet, so no receipt of yours counts"
        ));
    }
    let Some(loaded) = load(&args, &profile)? else {
        let nothing = refuse(
            "refused: there is no model to place: the profile holds none. What would help: \
             --model FILE.gguf, or --model-config config.json here or with gpu-container-profile"
                .into(),
        );
        draw(&args, &nothing, None)?;
        return finish(&args, nothing, None);
    };
    let problem = Problem {
        subject: loaded.subject(&args)?,
        rig: rig(&args, &profile)?,
        wish: wish(&args, loaded.name(), loaded.notes(&args)?),
        points: points.as_deref(),
    };
    if args.frontier {
        let table = frontier(&problem).map_err(Fault::from)?;
        let draw = |t: &Terminal| text::frontier(&table, t);
        if !args.format.deliver(&table, args.out.as_deref(), draw)? {
            say(&draw(&screen::words()));
        }
        return Ok(Exit::Ok);
    }
    let plan = problem.plan().map_err(Fault::from)?;
    draw(&args, &plan, Some(&problem))?;
    finish(&args, plan, Some(&loaded))
}

/// Draws the plan where that is asked for.
fn draw(args: &PlanArgs, plan: &Plan, problem: Option<&Problem<'_>>) -> Result<(), Fault> {
    if args.svg.is_none() && args.html.is_none() {
        return Ok(());
    }
    // A rig whose budget is not known, and a plan for the CPU alone, have nothing to choose from.
    let problem = problem.filter(|_| plan.assumptions.is_some() && !args.cpu_only);
    let curve = problem.and_then(|p| curve(p).ok());
    if let Some(path) = &args.svg {
        deliver_picture(&svg::plan(plan, curve.as_ref()).svg(), path)?;
    }
    if let Some(path) = &args.html {
        deliver_picture(&Page::of(plan, curve.as_ref()).html(), path)?;
    }
    Ok(())
}

fn finish(args: &PlanArgs, mut plan: Plan, loaded: Option<&Loaded>) -> anyhow::Result<Exit> {
    plan.model_repo.clone_from(&args.hf);
    plan.model_file = loaded
        .and_then(Loaded::path)
        .and_then(|p| std::path::absolute(p).ok()?.to_str().map(str::to_owned));
    let launch = launch_line(&plan, args, loaded);
    let mut shown = false;
    if args.out.is_some() || args.emit.is_none() {
        let screen = PlanScreen {
            plan: &plan,
            launch: launch.as_deref(),
        };
        let draw = |terminal: &Terminal| text::plan(&screen, terminal);
        shown = args.format.deliver(&plan, args.out.as_deref(), draw)?;
    }
    let ships = plan.verdict == Verdict::Ship;
    if let (Some(how), true) = (args.emit, ships) {
        let name = loaded.map_or("model", Loaded::name);
        emit(&plan, name, how, args.emit_to.as_deref())?;
    }
    if !shown {
        tell(&plan, launch.as_deref());
    }
    Ok(match plan.verdict {
        Verdict::Ship => Exit::Ok,
        Verdict::Refuse => Exit::Refused,
    })
}

fn rig(args: &PlanArgs, profile: &Profile) -> Result<Rig, Fault> {
    let view = RigView::new(&profile.hardware);
    Ok(Rig {
        gpu: view.gpu_name().to_owned(),
        compute_capability: profile.hardware.gpu.compute_capability.clone(),
        vram_mib: args.vram_mib.or(view.vram_budget_mib()),
        ram: view.ram_budget_bytes(),
        bandwidths: Bandwidths::resolve(&profile.hardware, args.cpu_bw, args.vram_bw)?,
    })
}

fn wish(args: &PlanArgs, name: &str, notes: Vec<String>) -> Wish {
    let f16 = GgmlType::F16;
    Wish {
        name: name.to_owned(),
        ctx: args.ctx,
        depth: args.depth,
        batch: args.batch,
        parallel: args.parallel,
        ubatch: args.ubatch_size.unwrap_or(UBATCH),
        type_k: args.cache_type_k.unwrap_or(f16),
        type_v: args.cache_type_v.unwrap_or(f16),
        flash_attn: args.flash_attn != Some(Switch::Off),
        full_flags: args.cache_type_k.is_some()
            || args.cache_type_v.is_some()
            || args.ubatch_size.is_some()
            || args.flash_attn.is_some()
            || args.parallel.is_some(),
        margin_mib: args.margin_mib,
        floor: args.floor,
        search: match args.placement {
            PlacementFlag::Layers => Search::Layers,
            PlacementFlag::Tensors => Search::Tensors,
        },
        cpu_only: args.cpu_only,
        n_cpu_moe: args.n_cpu_moe,
        gpu_layers: args.n_gpu_layers,
        notes,
    }
}

/// The shipped points and those of the user's store.
fn points(store: Option<&Path>) -> Vec<Point> {
    let mut points = seed();
    points.extend(store.map(stored_points).unwrap_or_default());
    points
}

/// The points of a store; what cannot be read is left out.
pub(crate) fn stored_points(dir: &Path) -> Vec<Point> {
    let mut points = Vec::new();
    let Ok(entries) = fs::read_dir(dir) else {
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
fn tell(plan: &Plan, launch: Option<&str>) {
    let mut text = String::new();
    if let Some(message) = &plan.message {
        text += &format!("{message}\n");
    }
    for note in plan.assumptions.iter().flat_map(|a| &a.notes) {
        text += &format!("note: {note}\n");
    }
    if let Some(flags) = plan.remedies.first().and_then(|r| r.flags.as_ref()) {
        text += &format!("try: {flags}\n");
    }
    if let Some(mib) = bounded_prompt_cache_mib(plan).filter(|_| launch.is_some()) {
        text += &format!("note: {}\n", prompts(mib));
    }
    if let Some(launch) = launch {
        text += &format!("launch: {launch}\n");
    }
    say(&text);
}

/// The command line that launches a plan that ships.
fn launch_line(plan: &Plan, args: &PlanArgs, loaded: Option<&Loaded>) -> Option<String> {
    let weights = match (&args.hf, loaded.and_then(Loaded::path)) {
        (Some(hf), _) => Weights::Repo(hf.clone()),
        (None, Some(path)) => Weights::File(path.to_string_lossy().into_owned()),
        (None, None) => Weights::Unknown,
    };
    let job = Job::of(plan, weights).ok()?;
    Some(shell_line(
        &[vec![Programs::default().server], job.server()].concat(),
    ))
}
