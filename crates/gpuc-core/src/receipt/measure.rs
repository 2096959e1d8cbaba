//! What a benchmark measured of the plan's run, and where it differs from the plan.

use super::bench::Bench;
use super::choose::{BenchError, average, placed, settle};
use super::depths::{AtDepth, curve};
use super::row::{Form, Kind, Row};
use super::server::Served;
use super::wanted::Wanted;

/// What was measured, and how.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Measured {
    /// Decode, tokens a second.
    pub decode: Option<f64>,
    /// Prefill, tokens a second.
    pub prefill: Option<f64>,
    /// VRAM used, MiB.
    pub vram_mib: Option<f64>,
    /// Standard deviation of decode.
    pub stddev: Option<f64>,
    /// Repetitions behind decode.
    pub samples: Option<u64>,
    /// Context already filled when it ran.
    pub depth: Option<u64>,
    /// The build that was measured.
    pub build: Option<String>,
    /// The model that was measured.
    pub model: Option<String>,
    /// Parameters of the model that was measured.
    pub n_params: Option<u64>,
    /// Bytes of its weights.
    pub model_bytes: Option<u64>,
    /// The cards that it ran on.
    pub gpu: Option<String>,
    /// Types of its K and V cache.
    pub caches: [Option<String>; 2],
    /// Tokens that it evaluated at a time.
    pub ubatch: Option<u64>,
    /// Whether flash attention was on, where the row says.
    pub flash_attn: Option<bool>,
    /// Whether it put another number of layers on the GPU than the plan.
    pub other_layers: bool,
    /// The same run at each depth, where it was measured at several; the shallowest first.
    pub curve: Vec<AtDepth>,
    /// How it was measured, in words.
    pub method: String,
    /// What the reader should know about the choice.
    pub notes: Vec<String>,
}

impl Measured {
    /// The measurement at one point of the curve.
    #[must_use]
    pub fn at(&self, point: &AtDepth) -> Self {
        Self {
            decode: Some(point.decode),
            stddev: point.stddev,
            samples: point.samples,
            depth: Some(point.depth),
            prefill: point.prefill,
            curve: Vec::new(),
            ..self.clone()
        }
    }

    /// What the mean may be off by, tokens a second: twice its standard error, where repeats tell;
    /// where the spread is known and the repeats are not, twice the spread.
    pub fn noise(&self) -> f64 {
        match (self.stddev, self.samples) {
            (Some(stddev), None) => 2.0 * stddev,
            (Some(stddev), Some(n)) if n > 1 => 2.0 * stddev / (n as f64).sqrt(),
            _ => 0.0,
        }
    }

    /// The same with a decode rate that was given by hand: what the rows said of theirs is void.
    #[must_use]
    pub fn given(self, decode: Option<f64>) -> Self {
        Self {
            decode,
            prefill: self.prefill,
            vram_mib: self.vram_mib,
            method: "given by hand".into(),
            ..Self::default()
        }
    }
}

/// The measurement of the wanted run in `bench`; decode may be missing, a contradiction is refused.
pub fn measure(bench: &Bench, wanted: &Wanted) -> Result<Measured, BenchError> {
    if bench.is_empty() {
        return Err(BenchError::NoRows);
    }
    if let Some(served) = &bench.served {
        return Ok(of_server(served, wanted));
    }
    let usable = |kind, form| {
        bench
            .rows
            .iter()
            .filter(move |r| r.kind == kind && r.form == form && r.rate.is_some())
            .collect::<Vec<_>>()
    };
    let decode = usable(Kind::Decode, Form::Native);
    let mut prefill = usable(Kind::Prefill, Form::Native);
    if decode.is_empty() && (prefill.is_empty() || !usable(Kind::Decode, Form::Test).is_empty()) {
        let decode = usable(Kind::Decode, Form::Test);
        return Ok(of_named(
            &decode,
            &usable(Kind::Prefill, Form::Test),
            wanted,
        ));
    }
    let mut out = Measured {
        method: "llama-bench".into(),
        ..Measured::default()
    };
    let rows = placed(&decode, wanted)?;
    let chosen = settle(&rows, wanted, 128, &mut out.notes);
    describe(&chosen, &rows, wanted, &mut out);
    if let Some(first) = chosen.first() {
        // Prefill of the same run, not of another model or build in the same file.
        prefill.retain(|r| {
            r.setting.model == first.setting.model && r.setting.build == first.setting.build
        });
    }
    out.curve = curve(&rows, &prefill, &chosen, wanted);
    match placed(&prefill, wanted) {
        Ok(rows) => {
            let chosen = settle(&rows, wanted, 512, &mut Vec::new());
            out.prefill = average(&chosen).map(|a| a.rate);
        }
        // The decode rate is what a receipt stands on; a prefill of another run is left out.
        Err(e) => out.notes.push(format!("prefill is left out: {e}")),
    }
    Ok(out)
}

fn of_server(served: &Served, wanted: &Wanted) -> Measured {
    let mut notes = Vec::new();
    if served.drafted {
        notes.push(
            "drafted tokens took part (speculative decoding): the ceiling does not know them"
                .into(),
        );
    }
    if wanted.n_cpu_moe.is_some() {
        notes.push(
            "a server's timings do not say how it was placed: taken as the plan's placement".into(),
        );
    }
    let over = match (served.answers, served.tokens) {
        (0 | 1, 0) => String::new(),
        (0 | 1, t) => format!(", {t} tokens"),
        (n, t) => format!(", {n} answers, {t} tokens"),
    };
    Measured {
        decode: served.decode,
        prefill: served.prefill,
        depth: served.depth,
        method: format!("llama-server timings{over}"),
        notes,
        ..Measured::default()
    }
}

/// Rows that go by their `test` name, taken as other tools take them: the first one counts.
fn of_named(decode: &[&Row], prefill: &[&Row], wanted: &Wanted) -> Measured {
    let first = |rows: &[&Row]| {
        rows.iter()
            .find(|r| wanted.depth.is_some() && r.depth == wanted.depth)
            .or_else(|| rows.first())
            .map(|r| (*r).clone())
    };
    let row = first(decode);
    let mut out = Measured {
        decode: row.as_ref().and_then(|r| r.rate),
        prefill: first(prefill).and_then(|r| r.rate),
        method: "llama-bench".into(),
        ..Measured::default()
    };
    if let Some(row) = row {
        out.depth = row.depth;
        out.stddev = row.stddev;
        out.build = row.setting.build;
        out.model = row.setting.model;
        out.samples = row.samples;
        note_depth(row.depth, wanted, &mut out.notes);
    }
    if decode.len() > 1 {
        out.method = format!("llama-bench, the first of {} decode rows", decode.len());
    }
    out
}

/// Fills in the decode side and says where the rows differ from the plan.
fn describe(chosen: &[&Row], rows: &[&Row], wanted: &Wanted, out: &mut Measured) {
    let (Some(first), Some(average)) = (chosen.first(), average(chosen)) else {
        return;
    };
    out.decode = Some(average.rate);
    out.stddev = average.stddev;
    out.samples = average.samples;
    out.depth = first.depth;
    out.build.clone_from(&first.setting.build);
    out.model.clone_from(&first.setting.model);
    out.n_params = first.setting.n_params;
    out.model_bytes = first.setting.model_bytes;
    out.gpu.clone_from(&first.setting.gpu);
    out.caches = [first.setting.type_k.clone(), first.setting.type_v.clone()];
    out.ubatch = first.setting.n_ubatch;
    out.flash_attn = first.setting.flash_attn;
    let tokens = first.tokens.map_or_else(String::new, |n| format!(" tg{n}"));
    let depth = first
        .depth
        .filter(|d| *d > 0)
        .map_or_else(String::new, |d| format!(" at depth {d}"));
    let samples = match average.samples {
        None => String::new(),
        Some(1) => ", 1 sample".into(),
        Some(n) => format!(", {n} samples"),
    };
    let rows_used = match chosen.len() {
        0 | 1 => String::new(),
        n => format!(" in {n} rows"),
    };
    out.method = format!("llama-bench{tokens}{depth}{samples}{rows_used}");
    if let Some(plan) = wanted.n_cpu_moe.filter(|n| *n > 0)
        && first.setting.n_cpu_moe.is_none()
    {
        out.notes.push(format!(
            "the benchmark does not say its --n-cpu-moe: taken as the plan's {plan}"
        ));
    }
    out.other_layers = wanted.layers_off(first) > 1;
    if out.other_layers {
        let ran = if first.setting.is_cpu_build() {
            "in a build of llama.cpp for the CPU alone".into()
        } else {
            let ran = first.setting.n_gpu_layers.unwrap_or_default();
            format!("with -ngl {ran}")
        };
        let plan = wanted
            .gpu_layers
            .map_or_else(|| "all".into(), |n| n.to_string());
        out.notes.push(format!(
            "the benchmark ran {ran}, the plan says -ngl {plan}"
        ));
    }
    if wanted.caches_off(first) > 0 {
        let [k, v] = &wanted.caches;
        let or = |ran: &Option<String>, planned: &String| ran.clone().unwrap_or(planned.clone());
        out.notes.push(format!(
            "the benchmark kept its KV cache as {}/{}, the plan says {k}/{v}",
            or(&first.setting.type_k, k),
            or(&first.setting.type_v, v),
        ));
    }
    note_depth(first.depth, wanted, &mut out.notes);
    let depths = rows.iter().filter(|r| r.depth != first.depth).count();
    if depths > 0 && wanted.depth.is_none() {
        out.notes.push(format!(
            "the verdict is by the shallowest run; {depths} decode rows at other depths stand in \
             the curve, --depth N judges by one of them"
        ));
    }
}

fn note_depth(ran: Option<u64>, wanted: &Wanted, notes: &mut Vec<String>) {
    let at = ran.unwrap_or(0);
    match (wanted.depth, wanted.plan_depth) {
        (Some(asked), _) if asked != at => notes.push(format!(
            "no decode row at depth {asked}; the nearest one ran at depth {at}"
        )),
        (None, Some(plan)) if ran.is_some() && plan > at => notes.push(format!(
            "measured at depth {at} while the plan's ceiling counts {plan} tokens of context: run \
             llama-bench with -d {plan} to compare like with like"
        )),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Coded as _;

    const PLAN: &str = r#"{"fits": true, "verdict": "ship", "n_cpu_moe": 12, "n_moe_layers": 48,
        "llama_flags": "-ngl 99 --n-cpu-moe 12 -c 4096 -fa on"}"#;

    fn wanted(depth: Option<u64>) -> Wanted {
        Wanted::of(&serde_json::from_str(PLAN).unwrap(), depth)
    }

    /// A row of llama-bench's own form; `more` is added to it.
    fn tg(rate: f64, more: &str) -> String {
        format!(r#"{{"n_prompt": 0, "n_gen": 128, "avg_ts": {rate}{more}}}"#)
    }

    fn run(rows: &[String], depth: Option<u64>) -> Result<Measured, BenchError> {
        let text = format!("[{}]", rows.join(",\n"));
        measure(&Bench::read(text.as_bytes()), &wanted(depth))
    }

    #[test]
    fn the_plans_placement_is_preferred_then_a_silent_row() {
        let of = |n: u64| format!(r#", "n_cpu_moe": {n}"#);
        let rows = [
            tg(1.0, &of(0)),
            tg(2.0, &of(12)),
            tg(3.0, ""),
            tg(4.0, &of(24)),
        ];
        assert_eq!(run(&rows, None).unwrap().decode, Some(2.0));
        let rows = [tg(1.0, &of(0)), tg(3.0, ""), tg(4.0, &of(24))];
        let m = run(&rows, None).unwrap();
        assert_eq!(m.decode, Some(3.0));
        assert!(
            m.notes.iter().any(|n| n.contains("does not say")),
            "{:?}",
            m.notes
        );
    }

    #[test]
    fn a_contradiction_is_refused_with_both_values() {
        let e = run(
            &[
                tg(1.0, r#", "n_cpu_moe": 24"#),
                tg(1.0, r#", "n_cpu_moe": 0"#),
            ],
            None,
        )
        .unwrap_err();
        assert_eq!(
            e,
            BenchError::Mismatch {
                plan: 12,
                bench: vec![0, 24]
            }
        );
        let hint = e.hint().unwrap();
        assert!(hint.contains("12") && hint.contains("0, 24"), "{hint}");
    }

    #[test]
    fn layers_caches_and_depth_narrow_it_down() {
        let rows = [
            tg(1.0, r#", "n_cpu_moe": 12, "n_gpu_layers": 18"#),
            tg(
                2.0,
                r#", "n_cpu_moe": 12, "n_gpu_layers": 99, "type_k": "q8_0", "type_v": "q8_0""#,
            ),
            tg(
                3.0,
                r#", "n_cpu_moe": 12, "n_gpu_layers": -1, "type_k": "f16", "n_depth": 4096"#,
            ),
            tg(
                4.0,
                r#", "n_cpu_moe": 12, "n_gpu_layers": 99, "type_k": "f16", "n_depth": 512"#,
            ),
        ];
        assert_eq!(run(&rows, None).unwrap().decode, Some(4.0));
        let deep = run(&rows, Some(4096)).unwrap();
        assert_eq!((deep.decode, deep.depth), (Some(3.0), Some(4096)));
        let near = run(&rows, Some(3000)).unwrap();
        assert_eq!(near.depth, Some(4096));
        assert!(
            near.notes.iter().any(|n| n.contains("3000")),
            "{:?}",
            near.notes
        );
        let only = run(&rows[..1], None).unwrap();
        assert_eq!(only.decode, Some(1.0));
        assert!(
            only.notes.iter().any(|n| n.contains("-ngl 18")),
            "{:?}",
            only.notes
        );
    }

    #[test]
    fn repeats_weigh_by_their_samples() {
        let rows = [
            tg(10.0, r#", "samples_ts": [9, 10, 11]"#),
            tg(30.0, r#", "samples_ts": [30]"#),
        ];
        let m = run(&rows, None).unwrap();
        assert_eq!((m.decode, m.samples), (Some(15.0), Some(4)));
        let unsampled = run(&[tg(10.0, ""), tg(30.0, "")], None).unwrap();
        assert_eq!(unsampled.decode, Some(20.0));
    }

    #[test]
    fn other_models_and_builds_are_left_out_and_named() {
        let rows = [
            tg(10.0, r#", "model_filename": "a.gguf", "build_number": 7"#),
            tg(30.0, r#", "model_filename": "b.gguf", "build_number": 8"#),
        ];
        let m = run(&rows, None).unwrap();
        assert_eq!(m.decode, Some(10.0));
        assert_eq!(
            (m.model.as_deref(), m.build.as_deref()),
            (Some("a"), Some("7"))
        );
        assert!(
            m.notes.iter().any(|n| n.contains("2 models and 2 builds")),
            "{:?}",
            m.notes
        );
    }

    #[test]
    fn rows_by_test_name_are_taken_in_order_whatever_their_setting() {
        let rows: Vec<String> = [("pp512", 500), ("tg128", 30), ("tg256", 99)]
            .iter()
            .map(|(t, r)| format!(r#"{{"test": "{t}", "avg_ts": {r}, "n_cpu_moe": 0}}"#))
            .collect();
        let m = run(&rows, None).unwrap();
        assert_eq!((m.decode, m.prefill), (Some(30.0), Some(500.0)));
    }

    #[test]
    fn a_zero_is_a_rate_and_a_missing_rate_is_none() {
        assert_eq!(run(&[tg(0.0, "")], None).unwrap().decode, Some(0.0));
        let none = r#"{"n_prompt": 0, "n_gen": 128, "avg_ts": null}"#.to_owned();
        assert_eq!(run(&[none], None).unwrap().decode, None);
        assert_eq!(run(&[], None), Err(BenchError::NoRows));
    }
}
