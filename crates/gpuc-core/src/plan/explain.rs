//! A plan in words: what was expected and why it fails. What would help is planned, not guessed:
//! see `remedies`.

use super::planner::PlanRequest;
use super::rig::Rate;
use super::search::Candidate;
use crate::calibration::Estimate;
use crate::document::Remedy;
use crate::units::{as_gib, as_mib};

pub(super) fn unknown_vram(gpu: &str) -> String {
    let gpu = match gpu {
        "" | "unknown" => "the GPU",
        name => name,
    };
    format!(
        "refused: a placement needs to know the VRAM, but the profile gives neither free nor total \
         memory for {gpu}. What would help: run gpu-container-profile where the NVIDIA driver \
         answers, give --vram-mib, or plan without a GPU (--cpu-only)"
    )
}

pub(super) fn throughput_basis(
    request: &PlanRequest<'_>,
    chosen: &Candidate,
    at_best: bool,
) -> String {
    let of = |rate: &Rate, places: usize| {
        let (gbps, source) = if at_best {
            (rate.best.gbps, &rate.best.source)
        } else {
            (rate.gbps, &rate.source)
        };
        format!("{gbps:.places$} GB/s ({source})")
    };
    let b = request.bandwidths;
    let vram = format!("VRAM {}", of(&b.vram, 0));
    let ram = format!("RAM {}", of(&b.ram, 1));
    match (placed(request, chosen), chosen.usage.host_read > 0.0) {
        (_, false) => format!("roofline, all weights in VRAM: {vram}"),
        (_, true) if request.cpu_only => format!("roofline, all weights in RAM: {ram}"),
        (placed, true) => format!("roofline, {placed}: {vram}, {ram}"),
    }
}

/// Where the model is, in words.
fn placed(request: &PlanRequest<'_>, chosen: &Candidate) -> String {
    let layers = request.footprint.moe_layers();
    if request.cpu_only {
        return "all of it in RAM".into();
    }
    if let (Some(on_gpu), Some(blocks)) = (chosen.placement.gpu_layers, request.footprint.blocks())
    {
        return format!("{on_gpu} of {} layers on the GPU", blocks + 1);
    }
    if chosen.on_host == 0 {
        return "all weights in VRAM".into();
    }
    format!("experts of {} of {layers} layers in RAM", chosen.on_host)
}

pub(super) fn calibration_basis(request: &PlanRequest<'_>, forecast: Option<&Estimate>) -> String {
    match (forecast, request.points) {
        (Some(e), _) => format!("calibrated: {}", e.basis),
        (None, Some(_)) => "uncalibrated: no receipt of this kind, so the forecast is the \
                            ceiling itself"
            .into(),
        (None, None) => "uncalibrated as asked: the forecast is the ceiling itself".into(),
    }
}

pub(super) fn ships(
    request: &PlanRequest<'_>,
    chosen: &Candidate,
    budget: f64,
    ceiling: f64,
    forecast: Option<&Estimate>,
) -> String {
    let speed = match forecast {
        Some(e) => format!(
            "about {:.1} tok/s ({:.1} to {:.1}), never more than {ceiling:.1}",
            ceiling * e.centre,
            ceiling * e.low,
            ceiling * e.high
        ),
        None => format!("never more than {ceiling:.1} tok/s (uncalibrated)"),
    };
    let vram = if request.cpu_only {
        String::new()
    } else {
        let (needed, budget) = (as_mib(chosen.needed), as_mib(budget));
        format!("{needed:.0} of {budget:.0} MiB of VRAM and ")
    };
    format!(
        "ships: {}: {}, {vram}{:.1} GiB of RAM; decode {speed}",
        request.model,
        placed(request, chosen),
        as_gib(chosen.usage.host_bytes)
    )
}

pub(super) fn vram_short(request: &PlanRequest<'_>, chosen: &Candidate, budget: f64) -> String {
    let device = chosen.usage.device;
    let how = match (request.forced_n, request.forced_layers) {
        (Some(n), _) => format!("with --n-cpu-moe {n}"),
        (None, Some(k)) => format!("with --n-gpu-layers {k}"),
        (None, None) if request.footprint.moe_layers() == 0 => {
            "even with all blocks in RAM".to_owned()
        }
        (None, None) => format!(
            "even with the experts of all {} layers in RAM",
            request.footprint.moe_layers()
        ),
    };
    format!(
        "refused: {} at a context of {} was expected to fit {:.0} MiB of VRAM, but {how} it needs \
         {:.0} MiB (weights {:.0}, KV cache {:.0}, compute buffers {:.0}, margin {:.0})",
        request.model,
        request.flags.ctx,
        as_mib(budget),
        as_mib(chosen.needed),
        as_mib(device.weights as f64),
        as_mib(device.context as f64),
        as_mib(device.compute as f64),
        as_mib(chosen.needed - chosen.usage.device_bytes)
    )
}

/// A placement that fits in VRAM, but not in RAM, or is too slow; `ram` is the budget that is
/// short.
pub(super) fn refused(
    request: &PlanRequest<'_>,
    chosen: &Candidate,
    ceiling: f64,
    too_slow: bool,
    ram: Option<f64>,
) -> String {
    let mut why = Vec::new();
    if let Some(budget) = ram {
        why.push(format!(
            "what is kept in RAM needs {:.1} GiB and {:.1} GiB are available",
            as_gib(chosen.usage.host_bytes),
            as_gib(budget)
        ));
    }
    if too_slow {
        why.push(format!(
            "with {} decode cannot exceed {ceiling:.2} tok/s, under the floor of {} tok/s",
            placed(request, chosen),
            request.floor
        ));
    }
    format!(
        "refused: {} was expected to decode at {} tok/s or more on this rig, but {}",
        request.model,
        request.floor,
        why.join(", and ")
    )
}

/// A refusal with what would help.
pub(super) fn with_help(message: &str, remedies: &[Remedy]) -> String {
    let help = match remedies {
        [] => "no single change that was tried; a smaller model, or a larger rig".to_owned(),
        some => some
            .iter()
            .take(3)
            .map(|r| r.change.as_str())
            .collect::<Vec<_>>()
            .join("; or "),
    };
    format!("{message}. What would help: {help}")
}
