//! Screens as people see them, and what no document may do to one.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests only"
)]

use gpuc_core::document::{
    Concentration, Peaks, Plan, Point, Profile, Receipt, Report, Thresholds,
};
use gpuc_core::exit::Exit;
use gpuc_core::json::read;
use gpuc_core::plan::{Frontier, FrontierRow};
use gpuc_core::receipt::history;
use gpuc_show::text::{self, PlanScreen, Terminal};
use gpuc_show::view::Speed;
use proptest::prelude::*;
use unicode_width::UnicodeWidthStr;

const SHIP: &str = include_str!("data/plan-ship.json");
const REFUSE: &str = include_str!("data/plan-refuse.json");
const PROFILE: &str = include_str!("../../../examples/rigs/rtx-3060-12gb.json");
const RECEIPT: &str = include_str!("data/receipt.json");
const CONCENTRATION: &str = include_str!("data/concentration.json");
const PEAKS: &str = include_str!("data/peaks.json");
const LOOK: &str = include_str!("data/look.json");

/// The same screen on four terminals, one below the other.
fn everywhere(draw: impl Fn(&Terminal) -> String) -> String {
    let terminals = [
        ("80 columns", 80, false, true),
        ("80 columns, not UTF-8", 80, false, false),
        ("200 columns", 200, false, true),
        ("80 columns, coloured", 80, true, true),
    ];
    let mut out = String::new();
    for (name, width, colour, unicode) in terminals {
        let terminal = Terminal {
            width,
            colour,
            unicode,
        };
        let screen = draw(&terminal);
        assert!(unicode || screen.is_ascii(), "{screen}");
        assert_eq!(colour, screen.contains('\x1b'), "{screen}");
        out += &format!("== {name}\n{}", screen.replace('\x1b', "␛"));
    }
    out
}

/// The widest line, without what must stay in one piece.
fn widest(screen: &str, whole: &str) -> usize {
    let lines = screen
        .lines()
        .filter(|l| whole.is_empty() || !l.contains(whole));
    lines.map(UnicodeWidthStr::width).max().unwrap_or(0)
}

fn plan(text: &str, launch: Option<&str>) -> impl Fn(&Terminal) -> String {
    let plan: Plan = read(text.as_bytes()).unwrap();
    let launch = launch.map(ToOwned::to_owned);
    move |terminal| {
        let screen = PlanScreen {
            plan: &plan,
            launch: launch.as_deref(),
        };
        text::plan(&screen, terminal)
    }
}

const LAUNCH: &str =
    "llama-server -m MODEL.gguf -ngl 99 --n-cpu-moe 22 -c 4096 -fa on -np 1 -fit off";

#[test]
fn a_plan_that_ships() {
    let draw = plan(SHIP, Some(LAUNCH));
    let screen = draw(&Terminal::default());
    // With the prompt below it, all of it is to be seen on the smallest usual terminal.
    assert!(screen.lines().count() <= 23, "{screen}");
    insta::assert_snapshot!(everywhere(draw));
}

#[test]
fn a_plan_that_is_refused() {
    insta::assert_snapshot!(everywhere(plan(REFUSE, None)));
}

#[test]
fn a_refusal_fits_the_smallest_terminal_however_many_remedies_there_are() {
    let mut refused: Plan = read(REFUSE.as_bytes()).unwrap();
    let remedies = refused.remedies.clone();
    refused.remedies = remedies.iter().cycle().take(7).cloned().collect();
    let screen = text::plan(
        &PlanScreen {
            plan: &refused,
            launch: None,
        },
        &Terminal::default(),
    );
    assert!(screen.lines().count() <= 23, "{screen}");
    assert!(screen.contains("   try  --quant iq2_xxs\n"), "{screen}");
    assert!(screen.contains("and 4 more, in plan.json"), "{screen}");
    // How fast it would be where it does not fit is no answer.
    assert!(!screen.contains("forecast"), "{screen}");
    refused.remedies.drain(..1);
    let shown = PlanScreen {
        plan: &refused,
        launch: None,
    };
    let screen = text::plan(&shown, &Terminal::default());
    assert!(screen.contains("  next  31.4 GiB more RAM"), "{screen}");
}

#[test]
fn prefill_comes_with_its_band() {
    let mut ships: Plan = read(SHIP.as_bytes()).unwrap();
    ships.predicted_prefill_tok_s = Some(1593.0);
    ships.predicted_prefill_band_low_tok_s = Some(1190.0);
    ships.predicted_prefill_band_high_tok_s = Some(2133.0);
    ships.prefill_basis = Some("a law".into());
    let shown = PlanScreen {
        plan: &ships,
        launch: None,
    };
    let screen = text::plan(&shown, &Terminal::default());
    let want = "  prefill   about 1593 tok/s (1190 to 2133): a law\n";
    assert!(screen.contains(want), "{screen}");
}

/// A table of two contexts and two cache types, `n` layers in RAM and so on from 0.
fn trade() -> Frontier {
    let mut rows = Vec::new();
    for (ctx, cache_type, smallest) in [
        (4096, "f16", 1),
        (4096, "q8_0/q4_0", 0),
        (131_072, "f16", 9),
        (131_072, "q8_0/q4_0", 2),
    ] {
        for n in 0..3 {
            rows.push(FrontierRow {
                ctx,
                cache_type: cache_type.into(),
                n_cpu_moe: Some(n),
                n_gpu_layers: None,
                layers_in_ram: n,
                vram_mib: if n < smallest { 12_345.6 } else { 11_337.0 },
                ram_mib: 1024.0 * n as f64,
                fits: n >= smallest && n < 2,
                chosen: ctx == 4096 && cache_type == "f16" && n == 1,
                ceiling_decode_tok_s: 123.4 - 10.0 * n as f64,
                predicted_decode_tok_s: 57.8 - 10.0 * n as f64,
                predicted_band_low_tok_s: Some(40.0),
                predicted_band_high_tok_s: (ctx == 4096).then_some(80.0),
            });
        }
    }
    Frontier {
        model: "Qwen3-30B-A3B".into(),
        footprint_source: "gguf".into(),
        vram_budget_mib: Some(11_600.0),
        ram_budget_mib: Some(1536.0),
        rows,
    }
}

#[test]
fn the_whole_trade() {
    insta::assert_snapshot!(everywhere(|t| text::frontier(&trade(), t)));
    let mut blind = trade();
    blind.vram_budget_mib = None;
    for row in &mut blind.rows {
        row.fits = false;
    }
    let screen = text::frontier(&blind, &Terminal::default());
    assert!(
        screen.contains("the VRAM of this rig is not known"),
        "{screen}"
    );
}

#[test]
fn a_launch_line_stays_in_one_piece() {
    let path = format!("'/models/{}/it'\\''s.gguf'", "deep folder ".repeat(12));
    let launch = format!("llama-server -m {path} -ngl 99");
    let screen = plan(SHIP, Some(&launch))(&Terminal::default());
    assert!(screen.lines().any(|l| l == launch), "{screen}");
    assert!(!screen.contains("--emit"));
    let hostile = plan(SHIP, Some("llama-server -m 'a\x1b[2Jb'"))(&Terminal::default());
    assert!(hostile.contains("--emit server"), "{hostile}");
}

#[test]
fn a_rig() {
    let profile: Profile = read(PROFILE.as_bytes()).unwrap();
    insta::assert_snapshot!(everywhere(|t| text::profile(&profile, None, t)));
}

#[test]
fn a_measured_run() {
    let receipt: Receipt = read(RECEIPT.as_bytes()).unwrap();
    let plan: Plan = read(SHIP.as_bytes()).unwrap();
    let speed = Speed::of(&plan);
    insta::assert_snapshot!(everywhere(|t| text::receipt(&receipt, &speed, Exit::Ok, t)));
    for (rate, exit, word) in [
        (0.4, Exit::Refused, "BELOW THE FLOOR  0.40 tok/s"),
        (70.0, Exit::AboveCeiling, "ABOVE THE CEILING  70.0 tok/s"),
    ] {
        let other = Receipt {
            measured_decode_tok_s: Some(rate),
            ..receipt.clone()
        };
        let screen = text::receipt(&other, &speed, exit, &Terminal::default());
        assert!(screen.starts_with(word), "{screen}");
    }
}

#[test]
fn a_rig_over_time() {
    let point = |created: &str, model: &str, measured: f64| -> Point {
        let text = format!(
            r#"{{"model": "{model}", "n_cpu_moe": 22, "n_moe_layers": 48, "ceiling_tok_s": 57.85,
            "measured_tok_s": {measured}, "predicted_tok_s": 34.97, "created": "{created}"}}"#
        );
        read(text.as_bytes()).unwrap()
    };
    let history = history(&[
        point("2026-11-01", "Qwen3-30B-A3B", 31.4),
        point("2026-11-02T10:00:00Z", "中文模型中文模型中文模型", 33.0),
        point("2026-11-21", "Qwen3-30B-A3B", 12.1),
    ]);
    assert_eq!(history.drifted, 1);
    insta::assert_snapshot!(everywhere(|t| text::history(&history, t)));
}

#[test]
fn routing() {
    let report: Concentration = read(CONCENTRATION.as_bytes()).unwrap();
    insta::assert_snapshot!(everywhere(|t| text::concentration(&report, t)));
}

#[test]
fn a_look_and_a_watched_run() {
    let report: Report = read(LOOK.as_bytes()).unwrap();
    insta::assert_snapshot!(
        "look",
        everywhere(|t| text::look(&report, &Thresholds::default(), t))
    );
    let peaks: Peaks = read(PEAKS.as_bytes()).unwrap();
    insta::assert_snapshot!("peaks", everywhere(|t| text::peaks(&peaks, t)));
}

/// Numbers as documents may hold them, null included.
fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("null".to_owned()),
        Just("0".to_owned()),
        (0u32..100_000).prop_map(|n| n.to_string()),
        (0.0f64..1e15).prop_map(|x| format!("{x}")),
    ]
}

fn words() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        "\\PC{0,200}",
        any::<String>(),
        Just("\u{1b}]0;owned\u{7}\u{9b}2J\u{202e}\r\n".to_owned()),
        Just("中文模型".repeat(40)),
    ]
}

fn terminals() -> impl Strategy<Value = Terminal> {
    (0usize..300, any::<bool>(), any::<bool>()).prop_map(|(width, colour, unicode)| Terminal {
        width,
        colour,
        unicode,
    })
}

/// No line is wider than the terminal, and nothing of the document steers it.
fn check(screen: &str, terminal: &Terminal, whole: &str) {
    assert!(terminal.unicode || screen.is_ascii());
    if !terminal.colour {
        let steers = screen.chars().find(|c| c.is_control() && *c != '\n');
        assert_eq!(steers, None, "{screen:?}");
        let most = terminal.width.clamp(24, 120);
        assert!(widest(screen, whole) <= most, "{most}: {screen}");
    }
}

proptest! {
    #[test]
    fn no_plan_breaks_its_screen(
        n in prop::collection::vec(number(), 12),
        bytes in prop::collection::vec(any::<u64>(), 4),
        w in prop::collection::vec(words(), 6),
        ship in any::<bool>(),
        terminal in terminals(),
    ) {
        let text = format!(
            r#"{{"fits": true, "verdict": "{}", "n_cpu_moe": {}, "n_moe_layers": {},
            "vram_budget_mib": {}, "ram_budget_mib": {}, "predicted_decode_tok_s": {}, "ceiling_decode_tok_s": {},
            "predicted_band_low_tok_s": {}, "predicted_band_high_tok_s": {}, "floor_tok_s": {},
            "predicted_prefill_tok_s": {}, "message": {}, "throughput_basis": {},
            "calibration_basis": {}, "assumptions": {{"ctx_len": null, "bytes_per_weight": {}, "notes": [{}]}},
            "memory_map": [{{"device": {}, "weights_bytes": {}, "context_bytes": {}}},
                {{"device": "host", "weights_bytes": {}, "margin_bytes": {}}}],
            "footprint_source": "closed-form", "model_name": {},
            "remedies": [{{"kind": "quant", "change": {}, "flags": {}, "ceiling_decode_tok_s": {}}}]}}"#,
            if ship { "ship" } else { "refuse" }, "null", "3",
            n[0], n[9], n[1], n[2], n[3], n[4], n[5], n[6],
            quoted(&w[0]), quoted(&w[1]), quoted(&w[2]), n[7], quoted(&w[3]), quoted(&w[4]),
            bytes[0], bytes[1], bytes[2], bytes[3], quoted(&w[1]),
            quoted(&w[5]), quoted(&w[0]), n[8],
        );
        let plan: Plan = read(text.as_bytes()).unwrap();
        let launch = format!("llama-server -m {}", w[2]);
        let shown = PlanScreen { plan: &plan, launch: Some(&launch) };
        check(&text::plan(&shown, &terminal), &terminal, "llama-server -m");
    }
}

proptest! {
    #[test]
    fn no_number_or_name_breaks_the_other_screens(
        n in prop::collection::vec(number(), 12),
        w in prop::collection::vec(words(), 3),
        shares in prop::collection::vec(prop_oneof![Just(0.0), 0.0f64..1.0, Just(f64::NAN), Just(1e300)], 0..400),
        terminal in terminals(),
    ) {
        let q: Vec<String> = w.iter().map(|w| quoted(w)).collect();
        let profile: Profile = read(format!(
            r#"{{"schema_version": "1", "created": {}, "hardware": {{"gpu": {{"name": {}, "vram_total_mib": {},
            "vram_free_mib": {}, "driver_version": {}}}, "platform": null, "bandwidth": {{"vram_gbps": {},
            "nvme_seq_read_gbps": {}, "method": {}}}, "memory": {{"ram_total_gib": {}, "ram_available_gib": {}}}}},
            "model": {{"name": {}}}, "notes": [{}]}}"#,
            q[0], q[1], n[0], n[1], q[2], n[2], n[3], q[0], n[4], n[5], q[1], q[2]
        ).as_bytes()).unwrap();
        check(&text::profile(&profile, None, &terminal), &terminal, "");

        let mut receipt: Receipt = read(format!(
            r#"{{"measured_decode_tok_s": {}, "ceiling_decode_tok_s": {}, "decode_error_pct": {},
            "bench_model": {}, "notes": [{}]}}"#, n[6], n[7], n[8], q[0], q[1]
        ).as_bytes()).unwrap();
        receipt.decode_error_pct = shares.first().copied();
        let speed = Speed { measured: receipt.measured_decode_tok_s, ..Speed::default() };
        check(&text::receipt(&receipt, &speed, Exit::Ok, &terminal), &terminal, "");

        let mut report: Concentration = read(CONCENTRATION.as_bytes()).unwrap();
        let layer = report.per_layer[0].clone();
        report.per_layer = shares
            .iter()
            .map(|s| gpuc_core::document::LayerConcentration { hot_frac_for_coverage: *s, ..layer.clone() })
            .collect();
        report.hot_frac_for_coverage = shares.first().copied().unwrap_or(1.0);
        report.model = Some(w[0].clone());
        report.notes = w.clone();
        check(&text::concentration(&report, &terminal), &terminal, "");

        let mut table = trade();
        for (row, share) in table.rows.iter_mut().zip(&shares) {
            (row.predicted_decode_tok_s, row.vram_mib) = (*share, share * 1e9);
            row.predicted_band_low_tok_s = Some(share * 1e300);
            row.cache_type.clone_from(&w[1]);
        }
        table.model = w[0].clone();
        check(&text::frontier(&table, &terminal), &terminal, "");

        let mut peaks: Peaks = read(PEAKS.as_bytes()).unwrap();
        peaks.peak_gpu_temp_c = shares.first().copied();
        peaks.ended = Some(w[0].clone());
        peaks.action_taken = Some(w[1].clone());
        check(&text::peaks(&peaks, &terminal), &terminal, "");
        let mut look: Report = read(LOOK.as_bytes()).unwrap();
        look.sample.notes = w.clone();
        look.breaches[0].metric = w[2].clone();
        check(&text::look(&look, &Thresholds::default(), &terminal), &terminal, "");
    }
}

fn quoted(text: &str) -> String {
    let inner: String = text
        .chars()
        .map(|c| match c {
            '"' | '\\' => format!("\\{c}"),
            c if c.is_control() => format!("\\u{:04x}", c as u32),
            c => c.to_string(),
        })
        .collect();
    format!("\"{inner}\"")
}
