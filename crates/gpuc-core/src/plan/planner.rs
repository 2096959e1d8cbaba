//! One plan: a placement, its ceiling and forecast, ship or refuse.

use super::explain;
use super::flags::{FlagSetting, flags};
use super::footprint::Footprint;
use super::rig::{Bandwidths, RigError};
use super::search::{Candidate, Search, choose};
use crate::calibration::{Estimate, Regime, estimate};
use crate::document::{Assumptions, DeviceMemory, Plan, Point, Verdict};
use crate::forecast::{Forecast, Outlook, PrefillSetting, Work};
use crate::units::{MIB, as_mib, floor_bytes, round_to};

/// What a footprint from a configuration alone calls itself.
const CLOSED_FORM: &str = "closed-form";

/// Decode that no run can exceed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Ceiling {
    /// Tokens a second.
    pub(super) tok_s: f64,
    /// Whether it is over the best that each tier could give, rather than the rates of the profile.
    pub(super) at_best: bool,
}

/// Everything a plan is made from.
pub(super) struct PlanRequest<'a> {
    /// The model's name, for messages.
    pub(super) model: &'a str,
    /// What each placement costs.
    pub(super) footprint: &'a dyn Footprint,
    /// The GPU's name.
    pub(super) gpu: &'a str,
    /// VRAM that may be used, MiB.
    pub(super) vram_mib: Option<f64>,
    /// RAM that may be used, bytes; asked for only once VRAM is judged.
    pub(super) ram: Result<Option<f64>, RigError>,
    /// The rig's bandwidths.
    pub(super) bandwidths: &'a Bandwidths,
    /// VRAM kept free, bytes.
    pub(super) margin: f64,
    /// Decode must reach this, tokens a second.
    pub(super) floor: f64,
    /// How finely experts are placed.
    pub(super) search: Search,
    /// Leave the GPU alone.
    pub(super) cpu_only: bool,
    /// `--n-cpu-moe` as the user wants it, instead of the smallest that fits.
    pub(super) forced_n: Option<u64>,
    /// `-ngl` as the user wants it, instead of as much as fits.
    pub(super) forced_layers: Option<u64>,
    /// Tokens evaluated at a time.
    pub(super) ubatch: u64,
    /// The forecast, where the card is known.
    pub(super) outlook: Option<Outlook<'a>>,
    /// Points to calibrate by; none leaves the forecast at the ceiling.
    pub(super) points: Option<&'a [Point]>,
    /// What the flags say beside the placement.
    pub(super) flags: FlagSetting,
    /// The numbers that the footprint was made with, for the record.
    pub(super) assumptions: Assumptions,
}

impl PlanRequest<'_> {
    /// Decode that a candidate cannot exceed.
    ///
    /// What must be read over the best that each tier could give; but at the full context the
    /// closed form keeps its own bound (all that is no routed expert is read, at the rates of the
    /// profile), unless the forecast exceeds it: then it is none.
    pub(super) fn ceiling(&self, candidate: &Candidate) -> Ceiling {
        let Bandwidths { ram, vram, .. } = self.bandwidths;
        let stated = candidate
            .usage
            .ceiling_tok_s(vram.gbps * 1e9, ram.gbps * 1e9);
        let exceeded = || {
            let forecast = self
                .outlook(candidate)
                .and_then(|(outlook, work)| outlook.forecast(&work, stated));
            forecast.is_some_and(|f| f.centre > stated)
        };
        let at_best = self.assumptions.depth.is_some()
            || self.footprint.source() != CLOSED_FORM
            || exceeded();
        if !at_best {
            return Ceiling {
                tok_s: stated,
                at_best,
            };
        }
        let (vram, ram) = (vram.best.gbps * 1e9, ram.best.gbps * 1e9);
        let tok_s = match self.work(candidate) {
            Some(work) => 1.0 / work.least_seconds(vram, ram),
            None => candidate.usage.ceiling_tok_s(vram, ram),
        };
        Ceiling { tok_s, at_best }
    }

    /// The work of a token.
    fn work(&self, candidate: &Candidate) -> Option<Work> {
        if self.cpu_only {
            return Some(Work::of_processor(candidate.usage.host_read));
        }
        self.footprint.work(&candidate.placement)
    }

    /// The forecast on a known card, or on the processor alone, and what it is asked about.
    pub(super) fn outlook(&self, candidate: &Candidate) -> Option<(&Outlook<'_>, Work)> {
        Some((self.outlook.as_ref()?, self.work(candidate)?))
    }

    /// The share of the ceiling to expect: by the law of decode where the card is known, else by
    /// the points of the same regime.
    pub(super) fn forecast(&self, candidate: &Candidate) -> Option<Estimate> {
        let points = self.points?;
        let ceiling = self.ceiling(candidate).tok_s;
        let by_law = self
            .outlook(candidate)
            .and_then(|(outlook, work)| outlook.forecast(&work, ceiling));
        match by_law {
            Some(f) if ceiling.is_finite() && ceiling > 0.0 => Some(Estimate {
                low: (f.low / ceiling).min(1.0),
                centre: (f.centre / ceiling).min(1.0),
                high: (f.high / ceiling).min(1.0),
                samples: f.samples,
                basis: f.basis,
            }),
            _ => estimate(points, self.regime(candidate)),
        }
    }

    /// Prefill of one micro-batch at the depth asked for, else at an empty cache; or why nothing is
    /// said of it.
    fn prefill(&self, candidate: &Candidate) -> Result<Forecast, &'static str> {
        if self.points.is_none() {
            return Err("uncalibrated as asked");
        }
        if self.cpu_only {
            return Err("a profile does not tell the processor's arithmetic");
        }
        let (outlook, work) = self
            .outlook(candidate)
            .ok_or("the card or its bandwidth is not known")?;
        if !work.in_vram() || work.host_blocks > 0.0 {
            return Err(
                "with weights in RAM it hangs on how they cross PCIe, and too few machines were \
                 measured",
            );
        }
        let work = self.footprint.prefill_work();
        let ubatch = self.ubatch as f64;
        let setting = PrefillSetting {
            ubatch,
            before: self.assumptions.depth.unwrap_or(0) as f64 + ubatch / 2.0,
        };
        outlook.prefill(&work.ok_or("the model's shape is not known")?, setting)
    }

    /// How much of the model is in RAM: layers' experts, or whole blocks.
    fn regime(&self, candidate: &Candidate) -> Regime {
        match (candidate.placement.gpu_layers, self.footprint.blocks()) {
            (Some(on_gpu), Some(blocks)) if on_gpu <= blocks => {
                Regime::of(blocks + 1 - on_gpu, blocks + 1)
            }
            _ => Regime::of(candidate.on_host, self.footprint.moe_layers()),
        }
    }
}

/// A refusal before any placement was looked at. No rate was judged, so the floor in the document
/// keeps its default.
pub fn refuse(message: String) -> Plan {
    Plan {
        message: Some(message),
        ..blank(1.0)
    }
}

fn blank(floor: f64) -> Plan {
    Plan {
        fits: false,
        verdict: Verdict::Refuse,
        runtime: "llama.cpp".into(),
        n_cpu_moe: None,
        n_moe_layers: None,
        moe_layers_on_host: None,
        n_gpu_layers: None,
        offload_fraction: None,
        llama_flags: None,
        vram_budget_mib: None,
        vram_used_mib: None,
        ram_budget_mib: None,
        ram_used_mib: None,
        predicted_decode_tok_s: None,
        predicted_prefill_tok_s: None,
        predicted_prefill_band_low_tok_s: None,
        predicted_prefill_band_high_tok_s: None,
        prefill_basis: None,
        decode_work: None,
        cache_growth: None,
        ceiling_decode_tok_s: None,
        predicted_band_low_tok_s: None,
        predicted_band_high_tok_s: None,
        throughput_basis: None,
        calibration_basis: None,
        calibration_n_samples: None,
        floor_tok_s: Some(floor),
        message: None,
        assumptions: None,
        memory_map: Vec::new(),
        footprint_source: None,
        remedies: Vec::new(),
        model_name: None,
        quant: None,
        model_file: None,
        model_repo: None,
    }
}

/// Plans `request`.
pub(super) fn plan(request: &PlanRequest<'_>) -> Result<Plan, RigError> {
    let budget_mib = match request.vram_mib {
        Some(mib) => mib,
        None if request.cpu_only => 0.0,
        None => return Ok(refuse(explain::unknown_vram(request.gpu))),
    };
    let budget = budget_mib * MIB as f64;
    let chosen = choose(request, budget);
    let fits = chosen.fits(budget) || request.cpu_only;
    let moe = request.footprint.moe_layers() > 0;
    let n_cpu_moe = moe.then_some(chosen.placement.n_cpu_moe);
    let mut base = Plan {
        fits,
        n_cpu_moe,
        n_moe_layers: moe.then(|| request.footprint.moe_layers()),
        moe_layers_on_host: Some(chosen.on_host).filter(|m| moe && Some(*m) != n_cpu_moe),
        n_gpu_layers: chosen.placement.gpu_layers,
        offload_fraction: match (chosen.placement.gpu_layers, request.regime(&chosen)) {
            (None, _) => None,
            (Some(_), Regime::InVram) => Some(0.0),
            (Some(_), Regime::Offload { fraction }) => Some(round_to(fraction, 4)),
        },
        vram_budget_mib: Some(round_to(budget_mib, 1)),
        vram_used_mib: Some(round_to(as_mib(chosen.needed), 1)),
        ram_budget_mib: ram_budget(request),
        assumptions: Some(request.assumptions.clone()),
        memory_map: memory_map(request, &chosen),
        footprint_source: Some(request.footprint.source().into()),
        ..blank(request.floor)
    };
    if !fits {
        let message = explain::vram_short(request, &chosen, budget);
        return Ok(Plan {
            message: Some(message),
            ..base
        });
    }

    let Ceiling {
        tok_s: ceiling,
        at_best,
    } = request.ceiling(&chosen);
    let forecast = request.forecast(&chosen);
    let ram_needed = chosen.usage.host_bytes;
    let ram_short = request.ram.clone()?.filter(|budget| ram_needed > *budget);
    let too_slow = ceiling < request.floor;
    let refused = ram_short.is_some() || too_slow;
    let message = if refused {
        explain::refused(request, &chosen, ceiling, too_slow, ram_short)
    } else {
        explain::ships(request, &chosen, budget, ceiling, forecast.as_ref())
    };
    // Receipts that measured nothing forecast nothing, which is no number.
    let share = |f: fn(&Estimate) -> f64| {
        let x = forecast.as_ref().map(|e| ceiling * f(e));
        x.filter(|x| *x > 0.0).map(|x| round_to(x, 2))
    };
    let predicted = match forecast {
        Some(_) => share(|e| e.centre),
        None => Some(round_to(ceiling, 2)),
    };
    let blocks = request.footprint.blocks();
    if let Some(assumed) = base.assumptions.as_mut().filter(|_| at_best) {
        let Bandwidths { ram, vram, .. } = request.bandwidths;
        assumed.ceiling_vram_bw_gbps = Some(round_to(vram.best.gbps, 1));
        assumed.ceiling_cpu_bw_gbps = Some(round_to(ram.best.gbps, 1));
    }
    let prefill = request.prefill(&chosen);
    let of_prefill = |f: fn(&Forecast) -> f64| prefill.as_ref().ok().map(|p| round_to(f(p), 1));
    let work = request.outlook(&chosen).map(|(_, work)| work.rounded());
    Ok(Plan {
        verdict: if refused {
            Verdict::Refuse
        } else {
            Verdict::Ship
        },
        llama_flags: Some(flags(&chosen.placement, &request.flags, blocks, moe)),
        ram_used_mib: Some(round_to(as_mib(ram_needed), 1)),
        ceiling_decode_tok_s: Some(round_to(ceiling, 2)),
        predicted_decode_tok_s: predicted,
        predicted_prefill_tok_s: of_prefill(|p| p.centre),
        predicted_prefill_band_low_tok_s: of_prefill(|p| p.low),
        predicted_prefill_band_high_tok_s: of_prefill(|p| p.high),
        prefill_basis: Some(match &prefill {
            Ok(forecast) => forecast.basis.clone(),
            Err(why) => format!("no forecast: {why}"),
        }),
        decode_work: work,
        cache_growth: work.map(|_| request.footprint.cache_growth(&chosen.placement)),
        predicted_band_low_tok_s: share(|e| e.low),
        predicted_band_high_tok_s: share(|e| e.high),
        calibration_n_samples: Some(forecast.as_ref().map_or(0, |e| e.samples)),
        throughput_basis: Some(explain::throughput_basis(request, &chosen, at_best)),
        calibration_basis: Some(explain::calibration_basis(request, forecast.as_ref())),
        message: Some(message),
        ..base
    })
}

/// RAM that may be used, where the profile says so.
fn ram_budget(request: &PlanRequest<'_>) -> Option<f64> {
    let bytes = request.ram.as_ref().ok().copied().flatten();
    bytes.map(|bytes| round_to(as_mib(bytes), 1))
}

fn memory_map(request: &PlanRequest<'_>, chosen: &Candidate) -> Vec<DeviceMemory> {
    let bytes = |n: u128| u64::try_from(n).unwrap_or(u64::MAX);
    let device = |name: &str, tier: super::footprint::Tier, margin: f64| DeviceMemory {
        device: name.into(),
        weights_bytes: bytes(tier.weights),
        context_bytes: bytes(tier.context),
        compute_bytes: bytes(tier.compute),
        margin_bytes: floor_bytes(margin),
    };
    let margin = chosen.needed - chosen.usage.device_bytes;
    // "host" is the host's alone, whatever a card calls itself.
    let gpu = if request.gpu.is_empty() || request.gpu == "host" {
        "GPU"
    } else {
        request.gpu
    };
    vec![
        device(gpu, chosen.usage.device, margin),
        device("host", chosen.usage.host, 0.0),
    ]
}
