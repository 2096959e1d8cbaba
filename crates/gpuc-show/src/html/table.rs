//! The numbers of a page, as tables of words.

use gpuc_core::document::{Peaks, Plan, Receipt};
use gpuc_core::safety::Limit;
use gpuc_core::units::MIB;

use super::private;
use crate::svg::metric::{METRICS, Metric};
use crate::svg::number::{bytes, decimals, rate};
use crate::svg::xml::Xml;

/// A row: what it is, and its values.
pub(super) type Row = (&'static str, Vec<String>);

/// A table with these heads; none where there is no row.
pub(super) fn draw(xml: &mut Xml, heads: &[&str], rows: &[Row]) {
    if rows.is_empty() {
        return;
    }
    xml.begin("table", &[]);
    xml.begin("tr", &[]);
    for head in heads {
        xml.text("th", &[], head);
    }
    xml.end();
    for (name, values) in rows {
        xml.begin("tr", &[]);
        xml.text("td", &[], name);
        for value in values {
            xml.lines("td", &[], &private::without_paths(value));
        }
        xml.end();
    }
    xml.end();
}

/// Rows of what is known.
fn known(rows: Vec<(&'static str, Option<String>)>) -> Vec<Row> {
    let known = rows.into_iter();
    known
        .filter_map(|(name, value)| Some((name, vec![value?])))
        .collect()
}

fn tok_s(x: Option<f64>) -> Option<String> {
    x.map(|x| format!("{} tok/s", rate(x)))
}

fn mib(x: Option<f64>) -> Option<String> {
    x.map(|x| bytes(x * MIB as f64))
}

fn yes(x: Option<bool>) -> Option<String> {
    x.map(|x| if x { "yes" } else { "no" }.to_owned())
}

pub(super) fn plan(plan: &Plan) -> Vec<Row> {
    let band = |(low, high)| format!("{} to {} tok/s", rate(low), rate(high));
    let of_decode = plan
        .predicted_band_low_tok_s
        .zip(plan.predicted_band_high_tok_s);
    let of_prefill = plan
        .predicted_prefill_band_low_tok_s
        .zip(plan.predicted_prefill_band_high_tok_s);
    let count = |n: Option<u64>| n.map(|n| n.to_string());
    known(vec![
        ("model", plan.model_name.clone()),
        ("quantisation", plan.quant.clone()),
        ("forecast of decode", tok_s(plan.predicted_decode_tok_s)),
        ("its band", of_decode.map(band)),
        ("ceiling", tok_s(plan.ceiling_decode_tok_s)),
        ("floor", tok_s(plan.floor_tok_s)),
        ("forecast of prefill", tok_s(plan.predicted_prefill_tok_s)),
        ("its band", of_prefill.map(band)),
        ("--n-cpu-moe", count(plan.n_cpu_moe)),
        ("-ngl", count(plan.n_gpu_layers)),
        ("VRAM that may be used", mib(plan.vram_budget_mib)),
        ("VRAM with the margin", mib(plan.vram_used_mib)),
        ("RAM that may be used", mib(plan.ram_budget_mib)),
        ("RAM", mib(plan.ram_used_mib)),
        ("the ceiling rests on", plan.throughput_basis.clone()),
        ("the forecast rests on", plan.calibration_basis.clone()),
    ])
}

pub(super) fn receipt(receipt: &Receipt) -> Vec<Row> {
    let measured = receipt.measured_decode_tok_s.map(|x| {
        let spread = receipt.measured_stddev_tok_s;
        let spread = spread.map_or_else(String::new, |s| format!(" ± {}", rate(s)));
        format!("{}{spread} tok/s", rate(x))
    });
    let percent = |x: Option<f64>| x.map(|x| format!("{} %", decimals(x, 1)));
    known(vec![
        ("decode", measured),
        ("prefill", tok_s(receipt.measured_prefill_tok_s)),
        ("VRAM used", mib(receipt.measured_vram_used_mib)),
        ("off the forecast", percent(receipt.decode_error_pct)),
        ("of the ceiling", percent(receipt.realized_efficiency_pct)),
        ("within the band", yes(receipt.within_band)),
        ("cleared the floor", yes(receipt.cleared_floor)),
        (
            "stayed within the limits",
            yes(receipt.stayed_within_envelope),
        ),
        ("model measured", receipt.bench_model.clone()),
        ("build of llama.cpp", receipt.bench_build.clone()),
        ("measured by", receipt.method.clone()),
    ])
}

pub(super) fn peaks(peaks: &Peaks) -> Vec<Row> {
    let row = |metric: &Metric| {
        let limit = metric.limit?;
        let worst = worst(peaks, limit);
        let line = limit.get(&peaks.thresholds);
        let is_there = !limit.is_optional() || worst.is_some() || line.is_some();
        let words =
            |x: Option<f64>, none: &str| x.map_or(none.to_owned(), |x| metric.unit.words(x));
        is_there.then(|| {
            (
                metric.title,
                vec![words(worst, "unknown"), words(line, "none")],
            )
        })
    };
    let mut out: Vec<Row> = METRICS.iter().filter_map(row).collect();
    out.push((
        "looks",
        vec![decimals(peaks.samples as f64, 0), String::new()],
    ));
    let ended = peaks.ended.clone().unwrap_or_else(|| "unknown".to_owned());
    out.push(("the run ended", vec![ended, String::new()]));
    let xids: Vec<String> = peaks.xids.iter().take(20).map(u64::to_string).collect();
    let mut events = vec![
        ("clocks held down", peaks.throttle_reasons.join(", ")),
        ("errors of the driver (Xid)", xids.join(", ")),
    ];
    events.retain(|(_, what)| !what.is_empty());
    out.extend(
        events
            .into_iter()
            .map(|(name, what)| (name, vec![what, String::new()])),
    );
    out
}

/// The worst reading that is held against a limit.
fn worst(peaks: &Peaks, limit: Limit) -> Option<f64> {
    match limit {
        Limit::Power => peaks.peak_gpu_power_pct,
        Limit::Temperature => peaks.peak_gpu_temp_c,
        Limit::Vram => peaks.peak_gpu_vram_pct,
        Limit::HostMemory => peaks.peak_host_mem_pct,
        Limit::HostAvailable => peaks.min_host_avail_mib,
        Limit::Swap => peaks.peak_swap_pct,
        Limit::Pressure => peaks.peak_psi_full_avg10,
        Limit::Cgroup => peaks.peak_cgroup_mem_pct,
        Limit::JobVram => peaks.peak_job_vram_mib,
        Limit::JobRss => peaks.peak_job_rss_mib,
        Limit::WarnFraction => None,
    }
}
