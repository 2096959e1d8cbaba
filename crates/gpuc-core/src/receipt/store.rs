//! The calibration point that a receipt leaves behind, and the name of its file.

use super::expected::Expected;
use super::measure::Measured;
use super::peaks::Envelope;
use crate::document::{Hardware, POINT_SCHEMA, Plan, Point};

/// Longest part of a file name that comes from the user, in bytes; names end at 255.
const LONGEST_PART: usize = 100;

/// Who and what a point is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// The model, as its owner calls it.
    pub model: String,
    /// Quantisation tag.
    pub quant: Option<String>,
    /// ISO date.
    pub created: String,
    /// The rig, as its owner calls it.
    pub rig: Option<String>,
    /// Where the measurement comes from.
    pub source: Option<String>,
}

/// What was read of the machine that it ran on.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Surroundings<'a> {
    /// Its profile.
    pub hardware: Option<&'a Hardware>,
    /// The envelope of the run.
    pub envelope: Option<&'a Envelope>,
}

/// Why a receipt leaves no point behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoPoint {
    /// The plan has no ceiling, so there is no share of it.
    #[error("the plan has no ceiling")]
    NoCeiling,
    /// It would teach the store the wrong thing.
    #[error("the benchmark ran another model than the plan's")]
    OtherModel,
    /// So would this.
    #[error("the benchmark's weights are of another quantisation than the plan's")]
    OtherSize,
    /// And this.
    #[error("the benchmark had another number of layers on the GPU than the plan")]
    OtherLayers,
    /// A stalled run says nothing about the next one.
    #[error("the measured rate is 0")]
    Stalled,
}

/// The calibration points of `measured` under `plan`: one for each depth that was measured.
pub fn points(
    plan: &Plan,
    measured: &Measured,
    who: &Identity,
    around: Surroundings<'_>,
) -> Result<Vec<Point>, NoPoint> {
    // Without its work a plan knows one ceiling, which says nothing at other depths.
    if plan.decode_work.is_none() || measured.curve.is_empty() {
        return Ok(vec![point(plan, measured, who, around)?]);
    }
    let n = measured.curve.len() as u64;
    let at = |at| {
        let point = point(plan, &measured.at(at), who, around)?;
        Ok(Point {
            run_points: Some(n),
            ..point
        })
    };
    measured.curve.iter().map(at).collect()
}

fn point(
    plan: &Plan,
    measured: &Measured,
    who: &Identity,
    around: Surroundings<'_>,
) -> Result<Point, NoPoint> {
    let expected = Expected::of(plan, measured.depth);
    let ceiling = expected
        .ceiling
        .filter(|c| *c > 0.0)
        .ok_or(NoPoint::NoCeiling)?;
    let rate = measured
        .decode
        .filter(|m| *m > 0.0)
        .ok_or(NoPoint::Stalled)?;
    if super::identity::other_model(plan, measured).is_some() {
        return Err(NoPoint::OtherModel);
    }
    if super::identity::other_size(plan, measured).is_some() {
        return Err(NoPoint::OtherSize);
    }
    if measured.other_layers {
        return Err(NoPoint::OtherLayers);
    }
    let assumed = plan.assumptions.clone().unwrap_or_default();
    let gpu = around.hardware.map(|h| &h.gpu);
    let [cache_type_k, cache_type_v] = measured.caches.clone();
    Ok(Point {
        schema_version: Some(POINT_SCHEMA),
        model: who.model.clone(),
        // A plan that moves no experts has none in RAM.
        n_cpu_moe: Some(plan.n_cpu_moe.unwrap_or(0)),
        n_moe_layers: Some(plan.n_moe_layers.unwrap_or(0)),
        ceiling_tok_s: Some(ceiling),
        measured_tok_s: Some(rate),
        stddev_tok_s: measured.stddev,
        samples: measured.samples,
        prefill_tok_s: measured.prefill,
        quant: who.quant.clone(),
        cpu_bw_gbps: assumed.cpu_mem_bw_gbps,
        vram_bw_gbps: assumed.vram_bw_gbps,
        best_cpu_bw_gbps: assumed.ceiling_cpu_bw_gbps,
        best_vram_bw_gbps: assumed.ceiling_vram_bw_gbps,
        ctx_len: assumed.ctx_len,
        created: Some(who.created.clone()),
        rig: who.rig.clone(),
        source: who
            .source
            .clone()
            .or_else(|| Some("gpu-container-receipt".into())),
        offload_fraction: plan.offload_fraction,
        moe_layers_on_host: plan
            .moe_layers_on_host
            .filter(|n| Some(*n) != plan.n_cpu_moe),
        depth: measured.depth,
        run_points: None,
        decode_work: expected.work,
        predicted_tok_s: plan.decode_work.and(expected.forecast),
        gpu: measured
            .gpu
            .clone()
            .or_else(|| gpu.map(|g| g.name.clone()).filter(|name| !name.is_empty())),
        compute_capability: gpu.and_then(|g| g.compute_capability.clone()),
        driver: gpu.and_then(|g| g.driver_version.clone()),
        build: measured.build.clone(),
        vram_used_mib: measured.vram_mib,
        gpu_temp_c: around.envelope.and_then(|e| e.gpu_temp_c),
        gpu_power_pct: around.envelope.and_then(|e| e.gpu_power_pct),
        n_params: measured.n_params,
        model_bytes: measured.model_bytes,
        ubatch: measured.ubatch,
        flash_attn: measured.flash_attn,
        cache_type_k,
        cache_type_v,
    })
}

/// The name of a point's file; `copy` counts from 1, and later copies carry their number.
///
/// Nothing in it leads out of the folder, whatever the date and the model are called.
pub fn file_name(point: &Point, copy: u32) -> String {
    let created = cleaned(point.created.as_deref().unwrap_or_default(), |c| {
        !c.is_control() && !matches!(c, '/' | '\\' | ':' | '<' | '>' | '"' | '|' | '?' | '*')
    });
    // A leading dot would hide the file, or point upwards.
    let dots = created.chars().take_while(|c| *c == '.').count();
    let created = match created.get(dots..) {
        Some(rest) if !rest.is_empty() => "-".repeat(dots) + rest,
        _ => "nodate".into(),
    };
    let model = cleaned(&point.model, |c| c.is_alphanumeric() || c == '-');
    let n = point.n_cpu_moe.unwrap_or(0);
    let suffix = if copy > 1 {
        format!("_{copy}")
    } else {
        String::new()
    };
    format!("{created}_{model}_n{n}{suffix}.json")
}

fn cleaned(text: &str, keep: impl Fn(char) -> bool) -> String {
    let mut bytes = 0;
    text.chars()
        .map(|c| if keep(c) { c } else { '-' })
        .take_while(|c| {
            bytes += c.len_utf8();
            bytes <= LONGEST_PART
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(created: &str, model: &str, copy: u32) -> String {
        let point = Point {
            model: model.into(),
            created: Some(created.into()),
            n_cpu_moe: Some(28),
            ..Point::default()
        };
        file_name(&point, copy)
    }

    #[test]
    fn names_are_cleaned_and_numbered() {
        let cases = [
            (
                "2026-06-05",
                "Qwen3-30B-A3B",
                1,
                "2026-06-05_Qwen3-30B-A3B_n28.json",
            ),
            (
                "2026-06-05",
                "Qwen2.5_x é中/y:z",
                1,
                "2026-06-05_Qwen2-5-x-é中-y-z_n28.json",
            ),
            ("2026-06-05", "../../x", 1, "2026-06-05_------x_n28.json"),
            (
                "2026-06-05T10:11:12",
                "M",
                1,
                "2026-06-05T10-11-12_M_n28.json",
            ),
            ("run 5", "M", 1, "run 5_M_n28.json"),
            ("", "M", 1, "nodate_M_n28.json"),
            ("..", "M", 1, "nodate_M_n28.json"),
            ("../escaped", "M", 1, "---escaped_M_n28.json"),
            ("2026/06/05", "M", 1, "2026-06-05_M_n28.json"),
            ("2026-06-05", "M", 2, "2026-06-05_M_n28_2.json"),
        ];
        for (created, model, copy, want) in cases {
            assert_eq!(named(created, model, copy), want);
        }
        let long = named(&"é".repeat(300), &"中".repeat(300), u32::MAX);
        assert!(long.len() <= 255, "{} bytes", long.len());
    }
}
