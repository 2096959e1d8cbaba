//! A model, a rig and what is asked of them: what can be planned, and planned again with one thing
//! changed.

use super::closed_form::{ClosedForm, ClosedFormSetting};
use super::error::PlanError;
use super::exact::Exact;
use super::explain;
use super::flags::{ExactFlags, FlagSetting};
use super::footprint::Footprint;
use super::planner::{self, PlanRequest, refuse};
use super::remedies::remedies;
use super::rig::{Bandwidths, RigError};
use super::search::Search;
use crate::document::{Assumptions, Model, Plan, Point, Verdict};
use crate::footprint::{Facts, Setting};
use crate::forecast::{Outlook, decode_weights};
use crate::header::GgmlType;
use crate::units::{MIB, round_to};

/// The model to place.
#[derive(Debug, Clone, Copy)]
pub enum Subject<'a> {
    /// From its configuration: parameters times bytes a weight.
    Config {
        /// Its facts.
        model: &'a Model,
        /// Bytes of an expert weight.
        expert_bpw: f64,
        /// Bytes of any other weight.
        non_expert_bpw: f64,
        /// Where the widths come from: "closed-form" or "safetensors".
        source: &'static str,
    },
    /// From its weights file: tensor by tensor.
    File {
        /// Its facts.
        facts: &'a Facts,
        /// "gguf" or "safetensors".
        source: &'static str,
        /// 1, or the share of their bytes that all weights are taken to have.
        weight_ratio: f64,
    },
}

impl Subject<'_> {
    /// The tag of its quantisation, where one is known.
    fn quant(&self) -> Option<String> {
        match self {
            Self::Config { model, .. } => model.quant.clone(),
            Self::File { facts, .. } => facts.quant_tag(),
        }
    }
}

/// The rig's budgets and rates.
#[derive(Debug, Clone)]
pub struct Rig {
    /// The GPU's name.
    pub gpu: String,
    /// Its compute capability, where known.
    pub compute_capability: Option<String>,
    /// VRAM that may be used, MiB, where known.
    pub vram_mib: Option<f64>,
    /// RAM that may be used, bytes, where known.
    pub ram: Result<Option<f64>, RigError>,
    /// Bandwidths.
    pub bandwidths: Bandwidths,
}

/// What is asked.
#[derive(Debug, Clone)]
pub struct Wish {
    /// The model's name, for messages.
    pub name: String,
    /// Context to keep room for, tokens; 0 is the model's own.
    pub ctx: u64,
    /// Context filled when decode is judged; none is the whole context.
    pub depth: Option<u64>,
    /// Sequences that each keep a context of their own.
    pub batch: u64,
    /// Sequences that share one context, as llama.cpp's `-np` counts them.
    pub parallel: Option<u64>,
    /// Tokens evaluated at a time.
    pub ubatch: u64,
    /// Type of the K cache.
    pub type_k: GgmlType,
    /// Type of the V cache.
    pub type_v: GgmlType,
    /// Flash attention.
    pub flash_attn: bool,
    /// Whether the flags name the cache types and so on although no file was read.
    pub full_flags: bool,
    /// VRAM kept free, MiB.
    pub margin_mib: f64,
    /// Decode must reach this, tokens a second.
    pub floor: f64,
    /// How finely experts are placed.
    pub search: Search,
    /// Leave the GPU alone.
    pub cpu_only: bool,
    /// `--n-cpu-moe` as the user wants it.
    pub n_cpu_moe: Option<u64>,
    /// `--n-gpu-layers` as the user wants it.
    pub gpu_layers: Option<u64>,
    /// What the analysis of the model takes for granted.
    pub notes: Vec<String>,
}

/// All of it together.
#[derive(Debug, Clone)]
pub struct Problem<'a> {
    /// The model.
    pub subject: Subject<'a>,
    /// The rig.
    pub rig: Rig,
    /// What is asked.
    pub wish: Wish,
    /// Points to calibrate by; none leaves the forecast at the ceiling.
    pub points: Option<&'a [Point]>,
}

impl Problem<'_> {
    /// The plan, and when it is a refusal, what would make it ship.
    pub fn plan(&self) -> Result<Plan, PlanError> {
        let mut plan = self.attempt()?;
        if plan.verdict == Verdict::Refuse && plan.assumptions.is_some() {
            plan.remedies = remedies(self);
            plan.message = plan
                .message
                .map(|message| explain::with_help(&message, &plan.remedies));
        }
        plan.model_name = Some(self.wish.name.clone()).filter(|name| !name.is_empty());
        plan.quant = self.subject.quant();
        Ok(plan)
    }

    /// The plan alone.
    pub(super) fn attempt(&self) -> Result<Plan, PlanError> {
        match self.with_footprint(|footprint| self.attempt_with(footprint)) {
            Err(PlanError::Unplaceable(why)) => Ok(refuse(why)),
            other => other,
        }
    }

    /// The plan alone, over this footprint of the model.
    pub(super) fn attempt_with(&self, footprint: &dyn Footprint) -> Result<Plan, PlanError> {
        Ok(planner::plan(&self.request(footprint)?)?)
    }

    /// Hands the model's footprint at this setting to `use_it`.
    pub(super) fn with_footprint<T>(
        &self,
        use_it: impl FnOnce(&dyn Footprint) -> Result<T, PlanError>,
    ) -> Result<T, PlanError> {
        let footprint = match self.subject {
            Subject::File {
                facts,
                source,
                weight_ratio,
            } => return use_it(&self.exact(facts, source)?.scaled(weight_ratio)),
            Subject::Config {
                model,
                expert_bpw,
                non_expert_bpw,
                source,
            } => self
                .closed_form(model, (expert_bpw, non_expert_bpw), source)?
                .ok_or_else(|| PlanError::Unplaceable(unplaceable(model)))?,
        };
        if self.wish.gpu_layers.is_some() && !footprint.by_blocks() {
            return Err(PlanError::BlocksUnknown);
        }
        if self.wish.search == Search::Tensors {
            return Err(PlanError::TensorsUnknown);
        }
        use_it(&footprint)
    }

    /// The longest context that the model was made for.
    pub(super) fn max_context(&self) -> Option<u64> {
        match self.subject {
            Subject::Config { model, .. } => model.max_context,
            Subject::File { facts, .. } => facts.max_context(),
        }
    }

    /// The context in tokens, 0 resolved.
    pub(super) fn ctx(&self) -> Result<u64, PlanError> {
        match (self.wish.ctx, self.max_context()) {
            (0, own) => own.filter(|c| *c > 0).ok_or(PlanError::UnknownContext),
            (ctx, _) => Ok(ctx),
        }
    }

    /// Tokens of context for all sequences together, as llama.cpp's `-c` counts them.
    fn cells(&self, ctx: u64) -> u64 {
        ctx.saturating_mul(self.wish.batch)
    }

    /// Sequences served at once.
    fn sequences(&self) -> u64 {
        self.wish.parallel.unwrap_or(self.wish.batch)
    }

    fn closed_form<'m>(
        &self,
        model: &'m Model,
        (expert_bpw, non_expert_bpw): (f64, f64),
        source: &'static str,
    ) -> Result<Option<ClosedForm<'m>>, PlanError> {
        let wish = &self.wish;
        let ctx = self.ctx()?;
        let depth = wish.depth.unwrap_or(ctx).min(ctx);
        let cache = cache_share(wish.type_k, wish.type_v);
        let share = |(part, whole)| part as f64 / whole as f64;
        let scaled = |bytes: Option<u128>| match cache {
            None => bytes.unwrap_or(0),
            Some((part, whole)) => bytes.unwrap_or(0).saturating_mul(part) / whole,
        };
        Ok(ClosedForm::new(
            model,
            ClosedFormSetting {
                expert_bpw,
                non_expert_bpw,
                kv_bytes: scaled(model.kv_bytes(ctx, wish.batch, wish.ubatch)),
                kv_read_bytes: scaled(model.kv_read_bytes(depth, wish.batch)),
                cache_share: cache.map_or(1.0, share),
                source,
                decode_bpw: decode_weights(
                    model.family.as_deref(),
                    model.quant.as_deref(),
                    (expert_bpw, non_expert_bpw),
                ),
                sequences: wish.batch,
            },
        ))
    }

    fn exact<'f>(&self, facts: &'f Facts, source: &'static str) -> Result<Exact<'f>, PlanError> {
        let ctx = self.ctx()?;
        let setting = Setting {
            ctx: self.cells(ctx),
            type_k: self.wish.type_k,
            type_v: self.wish.type_v,
            ubatch: self.wish.ubatch,
            flash_attn: self.wish.flash_attn,
            n_seq: self.sequences(),
        };
        facts.check(&setting)?;
        let depth = self.wish.depth.unwrap_or(ctx).min(ctx);
        Ok(Exact::new(facts, setting, depth, source))
    }

    pub(super) fn request<'r>(
        &'r self,
        footprint: &'r dyn Footprint,
    ) -> Result<PlanRequest<'r>, PlanError> {
        let (wish, rig) = (&self.wish, &self.rig);
        let ctx = self.ctx()?;
        let name = |t: GgmlType| t.name().to_lowercase();
        let exact = wish.full_flags || matches!(self.subject, Subject::File { .. });
        Ok(PlanRequest {
            model: &wish.name,
            footprint,
            gpu: &rig.gpu,
            vram_mib: rig.vram_mib,
            ram: rig.ram.clone(),
            bandwidths: &rig.bandwidths,
            margin: wish.margin_mib * MIB as f64,
            floor: wish.floor,
            search: wish.search,
            cpu_only: wish.cpu_only,
            forced_n: wish.n_cpu_moe,
            forced_layers: wish.gpu_layers,
            ubatch: wish.ubatch,
            outlook: self.outlook(),
            points: self.points,
            flags: FlagSetting {
                // The contract's short flags name the context of one sequence.
                ctx: if exact { self.cells(ctx) } else { ctx },
                flash_attn: wish.flash_attn,
                exact: exact.then(|| ExactFlags {
                    ubatch: wish.ubatch,
                    cache_type_k: name(wish.type_k),
                    cache_type_v: name(wish.type_v),
                    parallel: self.sequences(),
                }),
            },
            assumptions: self.assumptions(ctx),
        })
    }

    /// The forecast by the law of decode: it needs the card's bandwidth, where a card is at work.
    fn outlook(&self) -> Option<Outlook<'_>> {
        let rig = &self.rig;
        let Bandwidths { ram, vram, .. } = &rig.bandwidths;
        let points = self.points.unwrap_or_default();
        if self.wish.cpu_only {
            return Outlook::on_processor(ram.stated(), points);
        }
        if !rig.bandwidths.card_known {
            return None;
        }
        Outlook::new(
            &rig.gpu,
            rig.compute_capability.as_deref(),
            vram.stated(),
            ram.stated(),
            points,
        )
    }

    fn assumptions(&self, ctx: u64) -> Assumptions {
        let (wish, b) = (&self.wish, &self.rig.bandwidths);
        let (bpw, rest, total) = match self.subject {
            Subject::Config {
                model,
                expert_bpw,
                non_expert_bpw,
                ..
            } => (Some(expert_bpw), Some(non_expert_bpw), model.total_params),
            Subject::File { facts, .. } => (None, None, Some(facts.total_params())),
        };
        let (k, v) = (wish.type_k.name(), wish.type_v.name());
        let cache = if k == v { k } else { format!("k {k}, v {v}") };
        Assumptions {
            cpu_mem_bw_gbps: Some(round_to(b.ram.gbps, 1)),
            cpu_bw_measured: Some(b.ram.known),
            vram_bw_gbps: Some(round_to(b.vram.gbps, 1)),
            vram_bw_source: Some(b.vram.source.clone()),
            ceiling_vram_bw_gbps: None,
            ceiling_cpu_bw_gbps: None,
            bytes_per_weight: bpw.map(|x| round_to(x, 3)),
            non_expert_bpw: rest.map(|x| round_to(x, 3)),
            ctx_len: Some(ctx),
            depth: wish.depth,
            batch: Some(wish.batch),
            overhead_mib: Some(wish.margin_mib),
            kv_dtype: Some(cache.to_lowercase()),
            model_total_b: total,
            forced_n: wish.n_cpu_moe,
            notes: wish.notes.clone(),
        }
    }
}

/// What a cache of these types takes of one at 16 bits, as a fraction; none when it is that one.
/// K and V are taken to be of equal width.
fn cache_share(k: GgmlType, v: GgmlType) -> Option<(u128, u128)> {
    if k == GgmlType::F16 && v == GgmlType::F16 {
        return None;
    }
    let bytes = |t: GgmlType| {
        let (elements, bytes) = t.block().unwrap_or((1, 2));
        (u128::from(bytes), u128::from(elements.max(1)))
    };
    let ((kb, ke), (vb, ve)) = (bytes(k), bytes(v));
    // (kb/ke + vb/ve) / 2 of 2 bytes an element.
    Some((kb * ve + vb * ke, ke * ve * 4))
}

/// Why a model is not placed: nothing is known that could be.
fn unplaceable(model: &Model) -> String {
    let name = match model.name.as_str() {
        "unknown" => "this model",
        name => name,
    };
    match model.architecture.as_deref() {
        Some("moe" | "dense") => format!(
            "refused: placing {name} needs its number of layers, its expert parameters and its \
             other parameters, and not all of them are known. What would help: the model's own \
             config.json with --model-config, or its weights file with --model"
        ),
        _ => format!(
            "refused: the shape of {name} is not known: its configuration has no key that says how \
             many layers or experts there are. What would help: the config.json as it is published \
             on HuggingFace, or the weights file with --model"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::cache_share;
    use crate::header::GgmlType;

    #[test]
    fn a_quantised_cache_takes_its_share() {
        let q8 = GgmlType(8);
        assert_eq!(cache_share(GgmlType::F16, GgmlType::F16), None);
        let share = |k, v| {
            let (part, whole) = cache_share(k, v).unwrap();
            part as f64 / whole as f64
        };
        assert_eq!(share(q8, q8), 34.0 / 64.0);
        assert_eq!(share(GgmlType::F16, q8), f64::midpoint(1.0, 34.0 / 64.0));
        assert_eq!(share(GgmlType::F32, GgmlType::F32), 2.0);
    }
}
