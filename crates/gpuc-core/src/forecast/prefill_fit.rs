//! Fitting the law of prefill to what others measured, and judging it on cards it has not seen.

use std::collections::{BTreeMap, BTreeSet};

use super::card::Card;
use super::evidence::{get, models, table};
use super::fit::{LeaveOut, RegimeErrors, blunted, regime, rounded};
use super::law::Law;
use super::prefill::{
    PARAMETERS, PrefillLaw, PrefillRates, PrefillSetting, PrefillWork, arithmetic_rate,
};
use super::shipped::{BackendFit, PrefillFit};
use super::solve::least_squares;
use super::work::decode_weights;
use crate::model::quant;

/// The measurements, `data/prefill.csv`.
pub const PREFILL: &str = include_str!("../../data/prefill.csv");

/// Standard deviation between rigs.
const RIG: f64 = 0.25;
/// Standard deviation of a run on one rig.
const RUN: f64 = 0.15;

/// A measurement of prefill.
#[derive(Debug, Clone, PartialEq)]
pub struct PrefillEvidence {
    /// The model.
    pub model: String,
    /// The card's name.
    pub gpu: String,
    /// Its backend and generation.
    pub card: Card,
    /// The work.
    pub work: PrefillWork,
    /// How the prompt was evaluated.
    pub setting: PrefillSetting,
    /// Operations a second.
    pub arithmetic: f64,
    /// VRAM, bytes a second.
    pub vram: f64,
    /// What was measured, seconds a token.
    pub seconds: f64,
}

/// The measurements that are marked as used, of the tables in `prefill` and `shapes`; `vram` gives a
/// card's bandwidth in GB/s.
pub fn prefill_evidence(
    prefill: &str,
    shapes: &str,
    vram: impl Fn(&str) -> Option<f64>,
) -> Vec<PrefillEvidence> {
    let models = models(shapes);
    let shapes: BTreeMap<String, BTreeMap<String, String>> = table(shapes)
        .into_iter()
        .map(|row| (get(&row, "model").to_owned(), row))
        .collect();
    let rows = table(prefill);
    let used = rows.iter().filter(|row| get(row, "used") == "yes");
    used.filter_map(|row| {
        let number = |key: &str| get(row, key).parse::<f64>().ok();
        let model = models.get(get(row, "model"))?;
        let shape = shapes.get(get(row, "model"))?;
        let of = |key: &str| get(shape, key).parse::<f64>().ok();
        let tag = Some(get(row, "quant"));
        let by_tag = quant::weights(tag, 2.0, None).ok()?;
        let (expert_bpw, rest_bpw) =
            decode_weights(model.family.as_deref(), tag, (by_tag.expert, by_tag.rest));
        let always = of("other_params")? - of("embedding_params")? - of("output_params")?;
        let (blocks, moe) = (of("blocks")?, of("moe_blocks")?);
        let experts = of("experts")?;
        let gpu = get(row, "gpu");
        Some(PrefillEvidence {
            model: model.name.clone(),
            gpu: gpu.into(),
            card: Card::of(gpu, None)?,
            work: PrefillWork {
                always,
                routed: of("top_k")? * of("expert_params")? * moe,
                share: if experts > 0.0 {
                    of("top_k")? / experts
                } else {
                    0.0
                },
                always_bytes: always * rest_bpw,
                routed_bytes: of("routed_params")? * expert_bpw,
                blocks: (moe, blocks - moe, super::work::state_blocks(model)),
                stream: blocks * of("hidden_size")?,
                attention: of("attention_width")?,
                windowed: of("window_attention_width")?,
                window: of("window")?,
            },
            setting: PrefillSetting {
                ubatch: number("ubatch")?.min(number("prompt")?),
                before: number("depth")? + number("prompt")? / 2.0,
            },
            arithmetic: arithmetic_rate(gpu)?,
            vram: vram(gpu)? * 1e9,
            seconds: 1.0 / number("prefill_tok_s")?,
        })
    })
    .collect()
}

/// The law of prefill as it was fitted, beside decode's.
#[derive(Debug, Clone, PartialEq)]
pub struct FittedPrefill {
    /// The law.
    pub law: PrefillLaw,
    decode: Law,
    generations: BTreeMap<String, f64>,
}

impl FittedPrefill {
    /// Fits the law to `rows`, all of `decode`'s backend.
    pub fn of(rows: &[&PrefillEvidence], decode: &BackendFit) -> Self {
        let rigs: BTreeSet<&str> = rows.iter().map(|r| r.gpu.as_str()).collect();
        let generations = decode.generations.iter();
        let generations: BTreeMap<String, f64> =
            generations.map(|(k, g)| (k.clone(), g.factor)).collect();
        let unpack = |x: &[f64]| {
            let mut values = x.iter().copied();
            let logs = std::array::from_fn(|_| values.next().unwrap_or(0.0));
            let fit = Self {
                law: PrefillLaw::from_logs(logs),
                decode: decode.law,
                generations: generations.clone(),
            };
            let offsets: BTreeMap<&str, f64> = rigs.iter().copied().zip(values).collect();
            (fit, offsets)
        };
        let prior = PrefillLaw::PRIOR.iter().map(|(at, sd)| (at.ln(), *sd));
        let mut start: Vec<f64> = prior.clone().map(|(at, _)| at).collect();
        start.resize(PARAMETERS + rigs.len(), 0.0);
        let residuals = |x: &[f64]| -> Vec<f64> {
            let (fit, offsets) = unpack(x);
            let mut out: Vec<f64> = prior
                .clone()
                .zip(x)
                .map(|((at, sd), v)| (v - at) / sd)
                .collect();
            out.extend(offsets.values().map(|u| u / RIG));
            out.extend(rows.iter().map(|row| {
                let rig = offsets.get(row.gpu.as_str()).copied();
                blunted(fit.error(row) + rig.unwrap_or(0.0)) / RUN
            }));
            out
        };
        unpack(&least_squares(&start, residuals)).0
    }

    /// The logarithm of what the law gives over what was measured.
    pub fn error(&self, row: &PrefillEvidence) -> f64 {
        let generation = self.generations.get(row.card.generation).copied();
        let rates = PrefillRates {
            arithmetic: row.arithmetic,
            vram: row.vram,
            generation: generation.unwrap_or(1.0),
        };
        let seconds = self
            .law
            .seconds(&row.work, row.setting, rates, &self.decode);
        (seconds / row.seconds).ln()
    }
}

/// Each row's error under a law that was fitted without its group.
pub fn prefill_out_of_sample(
    rows: &[&PrefillEvidence],
    decode: &BackendFit,
    group: LeaveOut,
) -> Vec<f64> {
    let mut fits: BTreeMap<(&str, &str), FittedPrefill> = BTreeMap::new();
    rows.iter()
        .map(|row| {
            let model = match group {
                LeaveOut::Card => "",
                LeaveOut::CardAndModel => row.model.as_str(),
            };
            let fit = fits.entry((&row.gpu, model)).or_insert_with(|| {
                let others = rows.iter().copied();
                let others: Vec<&PrefillEvidence> = others
                    .filter(|r| r.gpu != row.gpu && r.model != model)
                    .collect();
                FittedPrefill::of(&others, decode)
            });
            fit.error(row)
        })
        .collect()
}

/// Fits prefill and judges it.
pub fn prefill(rows: &[&PrefillEvidence], decode: &BackendFit) -> Option<PrefillFit> {
    let fit = FittedPrefill::of(rows, decode);
    let out_of_sample = prefill_out_of_sample(rows, decode, LeaveOut::Card);
    let errors = rows
        .iter()
        .zip(out_of_sample)
        .map(|(row, out)| RegimeErrors {
            card: &row.gpu,
            out_of_sample: out,
            fitted: fit.error(row),
        });
    let known = regime(&errors.collect::<Vec<_>>())?;
    let generations: BTreeSet<String> = rows.iter().map(|r| r.card.generation.to_owned()).collect();
    let law = fit.law;
    Some(PrefillFit {
        law: PrefillLaw {
            tensor_share: rounded(law.tensor_share),
            extra_columns: rounded(law.extra_columns),
            extra_expert_columns: rounded(law.extra_expert_columns),
            stream_passes: rounded(law.stream_passes),
            attention_share: rounded(law.attention_share),
        },
        generations: generations.into_iter().collect(),
        known,
    })
}

/// The bandwidth of a card of the maker's table, GB/s.
pub fn table_bandwidth(gpu: &str) -> Option<f64> {
    let card = crate::gpus::cards().find(|card| card.name == gpu)?;
    Some(card.bandwidth_gbps)
}

#[cfg(test)]
mod tests {
    use super::super::evidence::SHAPES;
    use super::super::{Backend, Shipped};
    use super::*;

    #[test]
    fn the_shipped_law_of_prefill_is_what_the_shipped_measurements_give() {
        let all = prefill_evidence(PREFILL, SHAPES, table_bandwidth);
        let used = table(PREFILL)
            .iter()
            .filter(|r| get(r, "used") == "yes")
            .count();
        assert_eq!(all.len(), used, "every row that is used is understood");
        let shipped = Shipped::load().unwrap();
        let cuda = shipped.of(Backend::Cuda).unwrap();
        let rows: Vec<&PrefillEvidence> = all.iter().collect();
        let fit = FittedPrefill::of(&rows, cuda);
        let want = cuda.prefill.as_ref().unwrap();
        let close = |a: f64, b: f64| (a / b - 1.0).abs() < 5e-3;
        assert!(
            close(fit.law.tensor_share, want.law.tensor_share),
            "{fit:?}"
        );
        assert!(close(fit.law.attention_share, want.law.attention_share));
        assert_eq!(usize::try_from(want.known.rows), Ok(used));
    }

    #[test]
    fn every_measurement_of_prefill_is_used_or_says_why_not() {
        for row in table(PREFILL) {
            let why = get(&row, "remark");
            assert!(get(&row, "used") == "yes" || !why.is_empty(), "{row:?}");
            assert!(!get(&row, "source").is_empty(), "{row:?}");
        }
    }
}
