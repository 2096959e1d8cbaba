//! What holds for every picture, and each of them with the worst that a document can say.

use gpuc_core::document::{DeviceMemory, Plan};
use gpuc_core::plan::{Frontier, FrontierRow};
use proptest::prelude::*;

use super::Picture;

/// Parses a picture or a page and checks what any of them keeps to.
pub(crate) fn well_formed(text: &str) {
    let options = roxmltree::ParsingOptions {
        allow_dtd: true,
        ..roxmltree::ParsingOptions::default()
    };
    let tree = roxmltree::Document::parse_with_options(text, options)
        .unwrap_or_else(|e| panic!("{e}\n{text}"));
    let hidden = |c: char| (c.is_control() && c != '\n') || matches!(c, '\u{202a}'..='\u{202e}');
    assert!(!text.contains(hidden), "{text}");
    let mut ids = std::collections::BTreeSet::new();
    for node in tree.descendants().filter(roxmltree::Node::is_element) {
        let tag = node.tag_name().name();
        assert!(
            !["script", "image", "foreignObject", "link", "iframe"].contains(&tag),
            "{tag}"
        );
        for attribute in node.attributes() {
            let (name, value) = (attribute.name(), attribute.value());
            assert!(!name.starts_with("on") && !name.contains("href"), "{name}");
            assert!(
                !value.contains("NaN") && !value.contains("inf"),
                "{name}={value}"
            );
        }
        if let Some(id) = node.attribute("id") {
            assert!(ids.insert(id.to_owned()), "{id} twice");
        }
        if matches!(tag, "rect" | "line" | "text" | "circle") {
            for key in [
                "x", "y", "width", "height", "x1", "x2", "y1", "y2", "cx", "cy",
            ] {
                if let Some(value) = node.attribute(key) {
                    let value: f64 = value.parse().unwrap();
                    assert!((-20.0..30_000.0).contains(&value), "{tag} {key}={value}");
                }
            }
        }
    }
    for node in tree.descendants() {
        let fill = node.attribute("fill").unwrap_or_default();
        if let Some(id) = fill.strip_prefix("url(#").and_then(|f| f.strip_suffix(')')) {
            assert!(ids.contains(id), "{id} is not defined");
        }
    }
}

pub(crate) fn checked(picture: &Picture) -> String {
    let svg = picture.svg();
    well_formed(&svg);
    svg
}

/// The classes are the same in every picture.
pub(crate) fn without_style(svg: &str) -> String {
    let (head, rest) = svg.split_once("<style>").unwrap();
    let (_, tail) = rest.split_once("</style>\n").unwrap();
    format!("{head}{tail}")
}

/// Text with everything in it that markup, terminals and eyes stumble over.
pub(crate) fn hostile() -> impl Strategy<Value = String> {
    let odd = prop::sample::select(vec![
        "<",
        ">",
        "&",
        "\"",
        "'",
        "]]>",
        "<!--",
        "<script>",
        "\u{0}",
        "\u{1b}[31m",
        "\u{202e}",
        "\u{feff}",
        "\u{ffff}",
        "\n",
        "\t",
        "é",
        "模型",
        "𝕏",
        " ",
        "-->",
        "&amp;",
        "url(#x)",
    ]);
    let odd = prop_oneof![
        odd.prop_map(str::to_owned),
        any::<char>().prop_map(String::from)
    ];
    prop_oneof![
        prop::collection::vec(odd, 0..30).prop_map(|parts| parts.concat()),
        Just("W".repeat(3_000)),
        Just("a b ".repeat(1_000)),
    ]
}

/// Any number that a document can hold.
pub(crate) fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => 0.0..1e5f64,
        1 => prop::sample::select(vec![0.0, 1e-300, 1e100, 1.0, 0.1 + 0.2]),
    ]
}

pub(crate) fn maybe() -> impl Strategy<Value = Option<f64>> {
    prop::option::weighted(0.8, number())
}

prop_compose! {
    fn device()(
        device in prop_oneof![hostile(), Just("host".to_owned())],
        bytes in prop::array::uniform4(prop_oneof![Just(0), Just(u64::MAX), 0..1u64 << 40]),
    ) -> DeviceMemory {
        let [weights_bytes, context_bytes, compute_bytes, margin_bytes] = bytes;
        DeviceMemory { device, weights_bytes, context_bytes, compute_bytes, margin_bytes }
    }
}

prop_compose! {
    pub(crate) fn plan()(
        ships in any::<bool>(),
        texts in prop::array::uniform3(hostile()),
        model_name in prop::option::of(hostile()),
        numbers in prop::array::uniform6(maybe()),
        ram_budget_mib in maybe(),
        n in prop::option::of(0..100u64),
        layers in prop::option::of(0..100u64),
        memory_map in prop::collection::vec(device(), 0..4),
    ) -> Plan {
        let verdict = if ships { "ship" } else { "refuse" };
        let text = format!(r#"{{"fits": {ships}, "verdict": "{verdict}"}}"#);
        let blank: Plan = gpuc_core::json::read(text.as_bytes()).unwrap();
        let [message, flags, basis] = texts;
        let [budget, floor, forecast, ceiling, low, high] = numbers;
        Plan {
            message: Some(message),
            model_name,
            llama_flags: Some(flags),
            throughput_basis: Some(basis),
            vram_budget_mib: budget,
            ram_budget_mib,
            floor_tok_s: floor,
            predicted_decode_tok_s: forecast,
            ceiling_decode_tok_s: ceiling,
            predicted_band_low_tok_s: low,
            predicted_band_high_tok_s: high,
            n_cpu_moe: n,
            n_gpu_layers: layers,
            memory_map,
            ..blank
        }
    }
}

prop_compose! {
    fn row()(
        moe in any::<bool>(),
        n in 0..100u64,
        layers_in_ram in prop_oneof![0..100u64, Just(u64::MAX)],
        (fits, chosen) in any::<(bool, bool)>(),
        numbers in prop::array::uniform4(number()),
        band in prop::option::of((number(), number())),
    ) -> FrontierRow {
        let [vram_mib, ram_mib, ceiling_decode_tok_s, predicted_decode_tok_s] = numbers;
        FrontierRow {
            ctx: 4096,
            cache_type: "f16".into(),
            n_cpu_moe: moe.then_some(n),
            n_gpu_layers: (!moe).then_some(n),
            layers_in_ram,
            vram_mib,
            ram_mib,
            fits,
            chosen,
            ceiling_decode_tok_s,
            predicted_decode_tok_s,
            predicted_band_low_tok_s: band.map(|b| b.0),
            predicted_band_high_tok_s: band.map(|b| b.1),
        }
    }
}

prop_compose! {
    pub(crate) fn curve()(
        model in hostile(),
        vram_budget_mib in maybe(),
        ram_budget_mib in maybe(),
        rows in prop::collection::vec(row(), 0..30),
    ) -> Frontier {
        Frontier { model, footprint_source: String::new(), vram_budget_mib, ram_budget_mib, rows }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_plan_is_drawn(plan in plan(), curve in prop::option::of(curve())) {
        checked(&super::plan(&plan, curve.as_ref()));
    }
}
