//! A plan in words: what was expected, why it fails, what would help.

use super::planner::{Candidate, PlanRequest};
use crate::calibration::Estimate;
use crate::units::{as_gib, as_mib, floor_bytes};

/// Contexts are rounded down to what llama.cpp allocates in.
const CTX_STEP: u64 = 256;

pub(super) fn unknown_vram(gpu: &str) -> String {
    let gpu = if gpu.is_empty() { "the GPU" } else { gpu };
    format!(
        "refused: a placement needs to know the VRAM, but the profile gives neither free nor total \
         memory for {gpu}. What would help: run gpu-container-profile where the NVIDIA driver \
         answers, or write vram_total_mib into the profile by hand"
    )
}

pub(super) fn throughput_basis(request: &PlanRequest<'_>, chosen: &Candidate) -> String {
    let b = request.bandwidths;
    let vram = format!("VRAM {:.0} GB/s ({})", b.vram.gbps, b.vram.source);
    if chosen.on_host == 0 {
        return format!("roofline, all weights in VRAM: {vram}");
    }
    format!(
        "roofline, experts of {} of {} layers read from RAM: {vram}, RAM {:.1} GB/s ({})",
        chosen.on_host,
        request.footprint.moe_layers(),
        b.ram.gbps,
        b.ram.source
    )
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
    let placed = if chosen.on_host == 0 {
        "all experts in VRAM".to_owned()
    } else {
        format!(
            "experts of {} of {} layers in RAM ({:.1} GiB)",
            chosen.on_host,
            request.footprint.moe_layers(),
            as_gib(chosen.usage.host_bytes)
        )
    };
    let speed = match forecast {
        Some(e) => format!(
            "about {:.1} tok/s ({:.1} to {:.1}), never more than {ceiling:.1}",
            ceiling * e.centre,
            ceiling * e.low,
            ceiling * e.high
        ),
        None => format!("never more than {ceiling:.1} tok/s (uncalibrated)"),
    };
    format!(
        "ships: {}: {placed}, {:.0} of {:.0} MiB of VRAM; decode {speed}",
        request.model,
        as_mib(chosen.needed),
        as_mib(budget)
    )
}

pub(super) fn vram_short(request: &PlanRequest<'_>, chosen: &Candidate, budget: f64) -> String {
    let device = chosen.usage.device;
    let short = (chosen.needed - budget).max(0.0);
    let how = match request.forced_n {
        Some(n) => format!("with --n-cpu-moe {n}"),
        None => format!(
            "even with the experts of all {} layers in RAM",
            request.footprint.moe_layers()
        ),
    };
    let mut help = Vec::new();
    if request.forced_n.is_some() {
        help.push("leave --n-cpu-moe away, so that the smallest that fits is searched".to_owned());
    }
    let ctx = request.assumptions.ctx_len.unwrap_or(0);
    // What the cache must shrink to, in proportion: the cache grows at most linearly with the
    // context, so the room that is left bounds it.
    let cache = device.context as f64;
    if cache > short && ctx > CTX_STEP {
        let most = floor_bytes(ctx as f64 * (1.0 - short / cache)) / CTX_STEP * CTX_STEP;
        if most > 0 {
            help.push(format!("a context of at most {most} tokens"));
        }
    }
    help.push(format!("{:.0} MiB more free VRAM", as_mib(short).ceil()));
    help.push("a smaller quantisation of the same model".to_owned());
    format!(
        "refused: {} at a context of {ctx} was expected to fit {:.0} MiB of VRAM, but {how} it \
         needs {:.0} MiB (weights {:.0}, KV cache {:.0}, margin {:.0}). What would help: {}",
        request.model,
        as_mib(budget),
        as_mib(chosen.needed),
        as_mib(device.weights as f64),
        as_mib(device.context as f64),
        as_mib(request.margin),
        help.join("; or ")
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
    let mut help = Vec::new();
    let host = chosen.usage.host_bytes;
    if let Some(budget) = ram {
        why.push(format!(
            "the experts kept in RAM need {:.1} GiB and {:.1} GiB are available",
            as_gib(host),
            as_gib(budget)
        ));
        let missing = (host - budget).max(0.0);
        help.push(format!(
            "{:.1} GiB more free RAM",
            (as_gib(missing) * 10.0).ceil() / 10.0
        ));
        help.push(format!("{:.0} MiB more free VRAM", as_mib(missing).ceil()));
    }
    if too_slow {
        why.push(format!(
            "decode cannot exceed {ceiling:.2} tok/s, under the floor of {} tok/s",
            request.floor
        ));
        let b = request.bandwidths;
        let left = 1.0 / request.floor - chosen.usage.device_read / (b.vram.gbps * 1e9);
        if chosen.usage.host_read > 0.0 && left > 0.0 {
            let gbps = (chosen.usage.host_read / left / 1e9).ceil();
            help.push(format!(
                "RAM of at least {gbps:.0} GB/s (now {:.1})",
                b.ram.gbps
            ));
        }
        if chosen.on_host > 0 {
            help.push("more free VRAM, so that fewer experts are read from RAM".to_owned());
        }
        help.push(format!(
            "a floor of at most {:.2} (--floor)",
            (ceiling * 100.0).floor() / 100.0
        ));
    }
    help.push("a smaller quantisation of the same model".to_owned());
    format!(
        "refused: {} was expected to decode at {} tok/s or more from this rig, but {}. What would \
         help: {}",
        request.model,
        request.floor,
        why.join(", and "),
        help.join("; or ")
    )
}
