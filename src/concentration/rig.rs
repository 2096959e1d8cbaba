//! The rig that a cache would be built on, and the model whose experts it would hold.

use std::collections::BTreeMap;

use gpuc_core::document::{Model, Profile};
use gpuc_core::error::{Code, Fault};
use gpuc_core::footprint::{Facts, Setting};
use gpuc_core::forecast::{DecodeSetting, Outlook, Work, decode_weights};
use gpuc_core::model::{self, quant};
use gpuc_core::plan::{Bandwidths, Exact, Footprint as _, Placement};
use gpuc_core::routing::{ExpertLayer, OnRig};

use super::ConcentrationArgs;
use crate::deliver::{read_document, read_model_config};
use crate::model_file::{OnDisk, read_model};

/// Layers that a model may have: far more than any, few enough to list.
const MOST_LAYERS: u64 = 1 << 12;

/// A profile and a model.
pub(super) struct Read {
    profile: Profile,
    bandwidths: Bandwidths,
    model: Weights,
}

/// What the experts weigh.
enum Weights {
    /// By parameters times bytes a weight, of experts and of the rest.
    Widths(Box<Model>, (f64, f64)),
    /// Tensor by tensor.
    File(Box<Facts>),
}

pub(super) fn read(args: &ConcentrationArgs) -> Result<Option<Read>, Fault> {
    let Some(profile) = &args.profile else {
        return Ok(None);
    };
    let profile: Profile = read_document(profile, "profile", Code::InputBadProfile)?;
    let model = match (&args.model, &args.model_config) {
        (Some(path), _) => match read_model(path, None)? {
            OnDisk::Weighed(read) => {
                let widths = (read.expert_bpw, read.non_expert_bpw);
                Weights::Widths(Box::new(read.model), widths)
            }
            OnDisk::File(file) => Weights::File(Box::new(file.facts)),
        },
        (None, Some(path)) => {
            let config = read_model_config(path)?;
            let model = model::analyze(&config, None, Some(&args.quant))?.model;
            let tag = Some(args.quant.as_str());
            let by_tag = quant::weights(tag, 2.0, model.quantization.as_ref())?;
            let by_tag = (by_tag.expert, by_tag.rest);
            let widths = decode_weights(model.family.as_deref(), tag, by_tag);
            Weights::Widths(Box::new(model), widths)
        }
        (None, None) => return Ok(None),
    };
    Ok(Some(Read {
        bandwidths: Bandwidths::resolve(&profile.hardware, None, None)?,
        profile,
        model,
    }))
}

impl Read {
    /// Experts of a layer.
    pub(super) fn experts(&self) -> Option<u64> {
        match &self.model {
            Weights::Widths(model, _) => model.expert.num_experts,
            Weights::File(facts) => Some(facts.expert_count()),
        }
        .filter(|e| *e > 0)
    }

    /// The model on the rig with all experts in RAM, or why nothing can be said of it.
    pub(super) fn on_rig(&self) -> Result<OnRig<'_>, &'static str> {
        let gpu = &self.profile.hardware.gpu;
        let Bandwidths {
            ram,
            vram,
            card_known,
        } = &self.bandwidths;
        let outlook = Outlook::new(
            &gpu.name,
            gpu.compute_capability.as_deref(),
            vram.stated(),
            ram.stated(),
            &[],
        )
        .filter(|_| *card_known)
        .ok_or("it takes the card's kind and bandwidth, which the profile does not tell")?;
        let (work, layers) = match &self.model {
            Weights::Widths(model, widths) => by_widths(model, *widths),
            Weights::File(facts) => by_tensors(facts),
        }
        .ok_or("the model has no routed experts, or does not say how large they are")?;
        Ok(OnRig {
            outlook,
            work,
            layers,
            experts: self.experts().unwrap_or(0),
            copies: self
                .profile
                .hardware
                .bandwidth
                .pcie_h2d_gbps
                .filter(|gbps| *gbps > 0.0)
                .map(|gbps| gbps * 1e9),
        })
    }
}

fn by_widths(
    model: &Model,
    (expert_bpw, rest_bpw): (f64, f64),
) -> Option<(Work, Vec<ExpertLayer>)> {
    let layers = model
        .n_moe_layers
        .filter(|l| (1..=MOST_LAYERS).contains(l))?;
    let setting = DecodeSetting {
        expert_bpw,
        rest_bpw,
        on_host: layers,
        cache_read_bytes: 0.0,
        sequences: 1,
    };
    let each = model.expert.expert_params_each? as f64 * expert_bpw;
    let layer = ExpertLayer {
        read: each * model.expert.experts_per_token.unwrap_or(0) as f64,
        bytes: each * model.expert.num_experts.unwrap_or(0) as f64,
    };
    let work = Work::of_model(model, &setting)?;
    let layers = usize::try_from(layers).ok()?;
    Some((work, vec![layer; layers]))
}

fn by_tensors(facts: &Facts) -> Option<(Work, Vec<ExpertLayer>)> {
    let mut layers: BTreeMap<u64, ExpertLayer> = BTreeMap::new();
    for tensor in facts.experts() {
        let layer = layers.entry(tensor.block).or_insert(ExpertLayer {
            read: 0.0,
            bytes: 0.0,
        });
        layer.read += tensor.read;
        layer.bytes += tensor.bytes as f64;
    }
    let work = Exact::new(facts, Setting::default(), 0, "gguf").work(&Placement {
        n_cpu_moe: facts.blocks(),
        ..Placement::default()
    })?;
    (!layers.is_empty()).then(|| (work, layers.into_values().collect()))
}
