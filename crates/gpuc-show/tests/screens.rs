//! Screens as people see them, and what no document may do to one.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests only"
)]

use gpuc_core::document::Plan;
use gpuc_core::json::read;
use gpuc_core::units::GIB;
use gpuc_show::text::{self, PlanScreen, Terminal};
use proptest::prelude::*;
use unicode_width::UnicodeWidthStr;

const SHIP: &str = include_str!("data/plan-ship.json");
const REFUSE: &str = include_str!("data/plan-refuse.json");

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
            model: Some("Qwen3-30B-A3B"),
            ram: Some(26 * GIB),
            launch: launch.as_deref(),
        };
        text::plan(&screen, terminal)
    }
}

const LAUNCH: &str = "llama-server -m MODEL.gguf -ngl 99 --n-cpu-moe 22 -c 4096 -fa on";

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
fn a_launch_line_stays_in_one_piece() {
    let path = format!("'/models/{}/it'\\''s.gguf'", "deep folder ".repeat(12));
    let launch = format!("llama-server -m {path} -ngl 99");
    let screen = plan(SHIP, Some(&launch))(&Terminal::default());
    assert!(screen.lines().any(|l| l == launch), "{screen}");
    assert!(!screen.contains("--emit"));
    let hostile = plan(SHIP, Some("llama-server -m 'a\x1b[2Jb'"))(&Terminal::default());
    assert!(hostile.contains("--emit server"), "{hostile}");
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
            "vram_budget_mib": {}, "predicted_decode_tok_s": {}, "ceiling_decode_tok_s": {},
            "predicted_band_low_tok_s": {}, "predicted_band_high_tok_s": {}, "floor_tok_s": {},
            "predicted_prefill_tok_s": {}, "message": {}, "throughput_basis": {},
            "calibration_basis": {}, "assumptions": {{"ctx_len": null, "bytes_per_weight": {}, "notes": [{}]}},
            "memory_map": [{{"device": {}, "weights_bytes": {}, "context_bytes": {}}},
                {{"device": "host", "weights_bytes": {}, "margin_bytes": {}}}],
            "footprint_source": "closed-form",
            "remedies": [{{"kind": "quant", "change": {}, "flags": {}, "ceiling_decode_tok_s": {}}}]}}"#,
            if ship { "ship" } else { "refuse" }, "null", "3",
            n[0], n[1], n[2], n[3], n[4], n[5], n[6],
            quoted(&w[0]), quoted(&w[1]), quoted(&w[2]), n[7], quoted(&w[3]), quoted(&w[4]),
            bytes[0], bytes[1], bytes[2], bytes[3],
            quoted(&w[5]), quoted(&w[0]), n[8],
        );
        let plan: Plan = read(text.as_bytes()).unwrap();
        let launch = format!("llama-server -m {}", w[2]);
        let shown = PlanScreen { plan: &plan, model: Some(&w[1]), ram: Some(bytes[3]), launch: Some(&launch) };
        check(&text::plan(&shown, &terminal), &terminal, "llama-server -m");
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
