//! The whole trade at a glance: every number of layers in RAM, several contexts and cache types.

use serde::Serialize;

use super::error::PlanError;
use super::footprint::{Footprint, Placement};
use super::problem::Problem;
use super::search::{Candidate, choose};
use crate::header::GgmlType;
use crate::units::{MIB, as_mib, round_to};

/// The shortest context in the table, tokens; each further one is twice as long.
const FIRST_CTX: u64 = 4096;
/// Cache types in the table.
const CACHE_TYPES: [&str; 3] = ["f16", "q8_0", "q4_0"];
/// Placements in the table for each context and cache type: deeper models are thinned out.
const MOST_STEPS: u64 = 256;

/// What one placement costs and gives.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FrontierRow {
    /// Context, tokens.
    pub ctx: u64,
    /// Type of K and V cache.
    pub cache_type: String,
    /// `--n-cpu-moe`, for a mixture of experts.
    pub n_cpu_moe: Option<u64>,
    /// `-ngl`, where not everything is on the GPU.
    pub n_gpu_layers: Option<u64>,
    /// Layers whose experts are in RAM, or for a dense model whole layers.
    pub layers_in_ram: u64,
    /// VRAM with the margin, MiB.
    pub vram_mib: f64,
    /// RAM, MiB.
    pub ram_mib: f64,
    /// Whether both fit this rig.
    pub fits: bool,
    /// Whether it is what a plan takes at the flags that were given.
    #[serde(skip_serializing_if = "is_not")]
    #[cfg_attr(feature = "schema", schemars(default))]
    pub chosen: bool,
    /// Decode cannot exceed this, tokens a second.
    pub ceiling_decode_tok_s: f64,
    /// Forecast, tokens a second; the ceiling when uncalibrated.
    pub predicted_decode_tok_s: f64,
    /// Lower end of the calibrated band; none when uncalibrated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub predicted_band_low_tok_s: Option<f64>,
    /// Upper end of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub predicted_band_high_tok_s: Option<f64>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_not(chosen: &bool) -> bool {
    !chosen
}

/// The table.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Frontier {
    /// The model.
    pub model: String,
    /// How the footprint was made.
    pub footprint_source: String,
    /// VRAM that may be used, MiB.
    pub vram_budget_mib: Option<f64>,
    /// RAM that may be used, MiB.
    pub ram_budget_mib: Option<f64>,
    /// One row a placement.
    pub rows: Vec<FrontierRow>,
}

/// The table for `problem`; its own context and cache type are always in it.
pub fn frontier(problem: &Problem<'_>) -> Result<Frontier, PlanError> {
    let asked_ctx = problem.ctx()?;
    let longest = problem.max_context().unwrap_or(asked_ctx).max(asked_ctx);
    let mut contexts: Vec<u64> = std::iter::successors(Some(FIRST_CTX), |c| c.checked_mul(2))
        .take_while(|c| *c < longest)
        .chain([asked_ctx, longest])
        .collect();
    contexts.sort_unstable();
    contexts.dedup();
    let own = (problem.wish.type_k, problem.wish.type_v);
    let mut types: Vec<(GgmlType, GgmlType)> = vec![own];
    types.extend(CACHE_TYPES.iter().filter_map(|name| {
        let t = GgmlType::by_name(name)?;
        Some((t, t)).filter(|pair| *pair != own)
    }));
    let mut table = empty(problem)?;
    for ctx in contexts {
        for (type_k, type_v) in &types {
            let mut at = problem.clone();
            at.wish.ctx = ctx;
            (at.wish.type_k, at.wish.type_v) = (*type_k, *type_v);
            // What llama.cpp refuses (a quantised cache that does not divide) is no row.
            let own_type = (*type_k, *type_v) == own;
            let asked = own_type && ctx == asked_ctx;
            match at.with_footprint(|footprint| rows(&at, footprint, asked, &mut table)) {
                Ok(()) => {}
                Err(_) if !own_type => {}
                Err(e) => return Err(e),
            }
        }
    }
    Ok(table)
}

/// The part of the table at the problem's own context and cache type: how decode and memory move
/// with the layers in RAM.
pub fn curve(problem: &Problem<'_>) -> Result<Frontier, PlanError> {
    let mut table = empty(problem)?;
    problem.with_footprint(|footprint| rows(problem, footprint, true, &mut table))?;
    Ok(table)
}

fn empty(problem: &Problem<'_>) -> Result<Frontier, PlanError> {
    let ram = problem.rig.ram.clone()?;
    Ok(Frontier {
        model: problem.wish.name.clone(),
        footprint_source: String::new(),
        vram_budget_mib: problem.rig.vram_mib.map(|m| round_to(m, 1)),
        ram_budget_mib: ram.map(|b| round_to(as_mib(b), 1)),
        rows: Vec::new(),
    })
}

fn rows(
    problem: &Problem<'_>,
    footprint: &dyn Footprint,
    own: bool,
    table: &mut Frontier,
) -> Result<(), PlanError> {
    table.footprint_source = footprint.source().into();
    let request = problem.request(footprint)?;
    let budget = request.vram_mib.map(|mib| mib * MIB as f64);
    let chosen = budget.filter(|_| own).map(|bytes| choose(&request, bytes));
    let ctx = problem.ctx()?;
    let ram = request.ram.clone()?;
    let moe = footprint.moe_layers();
    let last = if moe > 0 {
        moe
    } else {
        footprint.blocks().unwrap_or(0) + 1
    };
    let step = last.div_ceil(MOST_STEPS).max(1);
    let cache = |t: GgmlType| t.name().to_lowercase();
    let (k, v) = (cache(problem.wish.type_k), cache(problem.wish.type_v));
    let cache_type = if k == v { k } else { format!("{k}/{v}") };
    let mut n = 0;
    loop {
        let placement = if moe > 0 {
            footprint.placement(n)
        } else {
            Placement {
                gpu_layers: Some(last - n).filter(|_| n > 0),
                ..Placement::default()
            }
        };
        let candidate = Candidate::new(&request, placement);
        let ceiling = request.ceiling(&candidate).tok_s;
        let forecast = request.forecast(&candidate);
        let rate = |share: f64| round_to(ceiling * share, 2);
        let fits_vram = budget.is_some_and(|bytes| candidate.fits(bytes));
        let enough_ram = ram.is_none_or(|bytes| candidate.usage.host_bytes <= bytes);
        table.rows.push(FrontierRow {
            ctx,
            cache_type: cache_type.clone(),
            n_cpu_moe: (moe > 0).then_some(candidate.placement.n_cpu_moe),
            n_gpu_layers: candidate.placement.gpu_layers,
            layers_in_ram: n,
            vram_mib: round_to(as_mib(candidate.needed), 1),
            ram_mib: round_to(as_mib(candidate.usage.host_bytes), 1),
            fits: fits_vram && enough_ram,
            chosen: chosen
                .as_ref()
                .is_some_and(|c| c.placement == candidate.placement),
            ceiling_decode_tok_s: round_to(ceiling, 2),
            predicted_decode_tok_s: rate(forecast.as_ref().map_or(1.0, |e| e.centre)),
            predicted_band_low_tok_s: forecast.as_ref().map(|e| rate(e.low)),
            predicted_band_high_tok_s: forecast.as_ref().map(|e| rate(e.high)),
        });
        if n >= last {
            return Ok(());
        }
        n = (n + step).min(last);
    }
}
