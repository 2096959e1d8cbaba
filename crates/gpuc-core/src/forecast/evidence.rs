//! The shipped measurements: what others published, as rows to fit to.

use std::collections::BTreeMap;

use super::card::Card;
use super::law::Rates;
use super::ram::RamRate;
use super::work::{DecodeSetting, Work, decode_weights};
use crate::document::{BlockRun, Expert, KvGroup, Model};
use crate::model::quant;

/// The measurements, `data/receipts.csv`.
pub const RECEIPTS: &str = include_str!("../../data/receipts.csv");
/// The shapes of the models that were measured, `data/shapes.csv`.
pub const SHAPES: &str = include_str!("../../data/shapes.csv");

/// A measurement that the law is fitted to.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    /// The model.
    pub model: String,
    /// Quantisation tag.
    pub quant: String,
    /// The card's name.
    pub gpu: String,
    /// Its backend and generation.
    pub card: Card,
    /// The work of a token.
    pub work: Work,
    /// The rates that the memories could deliver, bytes a second.
    pub rates: Rates,
    /// `--n-cpu-moe`.
    pub n_cpu_moe: u64,
    /// Tokens in the cache.
    pub depth: u64,
    /// What was measured, seconds a token.
    pub seconds: f64,
    /// The closed form's ceiling at the full context and with the fastest consumer card's VRAM,
    /// tokens a second: what the reference's estimator takes a share of.
    pub closed_form_ceiling: f64,
    /// Layers with experts.
    pub moe_layers: u64,
}

/// VRAM of the fastest consumer card, bytes a second: the reference plans every card with it.
const FASTEST_CARD: f64 = 1790e9;

fn closed_form_ceiling(model: &Model, bpw: (f64, f64), on_host: u64, depth: u64, ram: f64) -> f64 {
    let count = |n: Option<u64>| n.unwrap_or(0) as f64;
    let active =
        count(model.expert.experts_per_token) * count(model.expert.expert_params_each) * bpw.0;
    let ctx = depth.saturating_add(1024).max(4096);
    let cache = model.kv_read_bytes(ctx, 1).unwrap_or(0) as f64;
    let device = count(model.non_expert_params) * bpw.1
        + active * (count(model.n_moe_layers) - on_host as f64)
        + cache;
    1.0 / (device / FASTEST_CARD + active * on_host as f64 / ram)
}

/// The rows of a table with a heading, by column.
pub(super) fn table(text: &str) -> Vec<BTreeMap<String, String>> {
    let mut lines = text.lines().map(cells);
    let Some(heading) = lines.next() else {
        return Vec::new();
    };
    lines
        .map(|line| heading.iter().cloned().zip(line).collect())
        .collect()
}

/// The cells of a line; a cell in quotes may hold commas.
fn cells(line: &str) -> Vec<String> {
    let mut cells = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => cells.push(String::new()),
            c => {
                if let Some(cell) = cells.last_mut() {
                    cell.push(c);
                }
            }
        }
    }
    cells
}

pub(super) fn get<'r>(row: &'r BTreeMap<String, String>, key: &str) -> &'r str {
    row.get(key).map_or("", String::as_str)
}

fn shape(row: &BTreeMap<String, String>) -> Option<Model> {
    let n = |key: &str| get(row, key).parse::<u64>().ok();
    let blocks = n("blocks")?;
    let (moe, lead) = (n("moe_blocks")?, n("dense_lead")?);
    let (window, windowed) = (n("window")?, n("window_kv_bytes_per_token")?);
    let (state, state_blocks) = (n("state_bytes")?, n("state_blocks")?);
    let group = |layers, bytes_per_token, window, state_bytes| KvGroup {
        layers,
        bytes_per_token,
        window,
        state_bytes,
    };
    let mut groups = vec![group(
        blocks - state_blocks,
        n("kv_bytes_per_token")?,
        None,
        0,
    )];
    if window > 0 {
        groups.push(group(0, windowed, Some(window), 0));
    }
    if state > 0 {
        groups.push(group(state_blocks, 0, None, state));
    }
    Some(Model {
        name: get(row, "model").into(),
        architecture: Some(if moe > 0 { "moe" } else { "dense" }.into()),
        family: Some(get(row, "family").into()),
        n_layers: Some(blocks),
        n_moe_layers: Some(moe),
        non_expert_params: n("other_params"),
        expert_params_total: n("routed_params"),
        vocab_size: n("embedding_params"),
        hidden_size: Some(1),
        tied_embeddings: Some(false),
        expert: Expert {
            is_moe: moe > 0,
            experts_per_token: n("top_k"),
            expert_params_each: n("expert_params"),
            ..Expert::default()
        },
        moe_blocks: Some(vec![BlockRun {
            first: lead,
            every: 1,
            count: moe,
        }]),
        kv_groups: Some(groups),
        ..Model::default()
    })
}

/// The models in the table `shapes`, by name.
pub fn models(shapes: &str) -> BTreeMap<String, Model> {
    let named = |row: &BTreeMap<String, String>| Some((get(row, "model").to_owned(), shape(row)?));
    table(shapes).iter().filter_map(named).collect()
}

/// The measurements that are marked as used, of the tables in `receipts` and `shapes`.
pub fn evidence(receipts: &str, shapes: &str) -> Vec<Evidence> {
    let models = models(shapes);
    table(receipts)
        .iter()
        .filter(|row| get(row, "used") == "yes")
        .filter_map(|row| {
            let number = |key: &str| get(row, key).parse::<f64>().ok();
            let model = models.get(get(row, "model"))?;
            let tag = get(row, "quant");
            let by_tag = quant::weights(Some(tag), 2.0, None).ok()?;
            let (expert_bpw, rest_bpw) = decode_weights(
                model.family.as_deref(),
                Some(tag),
                (by_tag.expert, by_tag.rest),
            );
            let n_cpu_moe = get(row, "n_cpu_moe").parse().ok()?;
            let depth = get(row, "depth").parse().ok()?;
            let setting = DecodeSetting {
                expert_bpw,
                rest_bpw,
                on_host: model.moe_on_host(n_cpu_moe),
                cache_read_bytes: model.kv_read_bytes(depth, 1)? as f64,
                sequences: 1,
            };
            let gpu = get(row, "gpu");
            // Only rows whose RAM is known have work on the host.
            let ram = number("ram_gbps").unwrap_or(80.0);
            let kind = match get(row, "ram_kind") {
                "measured" => RamRate::Unstated,
                _ => RamRate::Modules,
            };
            Some(Evidence {
                model: model.name.clone(),
                quant: tag.into(),
                gpu: gpu.into(),
                card: Card::of(gpu, None)?,
                work: Work::of_model(model, &setting)?,
                rates: Rates {
                    vram: number("vram_gbps")? * 1e9,
                    ram: kind.modules_gbps(ram) * 1e9,
                },
                n_cpu_moe,
                depth,
                seconds: 1.0 / number("decode_tok_s")?,
                closed_form_ceiling: closed_form_ceiling(
                    model,
                    (by_tag.expert, by_tag.rest),
                    setting.on_host,
                    depth,
                    ram * 1e9,
                ),
                moe_layers: model.n_moe_layers.unwrap_or(0),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_used_or_says_why_not() {
        let rows = table(RECEIPTS);
        assert!(rows.len() > 300);
        for row in &rows {
            let why = get(row, "remark");
            match get(row, "used") {
                "yes" => {}
                "no" => assert!(!why.is_empty(), "{row:?}"),
                other => panic!("{other}: {row:?}"),
            }
            assert!(!get(row, "source").is_empty(), "{row:?}");
        }
        let used = rows.iter().filter(|r| get(r, "used") == "yes").count();
        assert_eq!(evidence(RECEIPTS, SHAPES).len(), used);
    }

    #[test]
    fn no_measurement_beats_the_best_that_the_rig_could_do() {
        for row in evidence(RECEIPTS, SHAPES) {
            let least = row.work.least_seconds(row.rates.vram, 2.0 * row.rates.ram);
            assert!(row.seconds > least, "{row:?}");
        }
    }

    #[test]
    fn cells_may_hold_commas_in_quotes() {
        assert_eq!(cells("a,\"b, c\",,d"), ["a", "b, c", "", "d"]);
    }
}
