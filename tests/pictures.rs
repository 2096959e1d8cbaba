//! Pictures and pages end to end: well-formed files beside a document that does not change.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use serde_json::json;
use support::{Run, Tool};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The file, which must be well-formed and stand alone.
fn picture(run: &Run, name: &str) -> String {
    let text = std::fs::read_to_string(run.path(name)).unwrap();
    let options = roxmltree::ParsingOptions {
        allow_dtd: true,
        ..roxmltree::ParsingOptions::default()
    };
    let tree = roxmltree::Document::parse_with_options(&text, options).unwrap();
    for node in tree.descendants().filter(roxmltree::Node::is_element) {
        assert!(!node.has_tag_name("script") && !node.has_tag_name("image"));
        assert!(node.attributes().all(|a| !a.name().ends_with("href")));
    }
    let left: Vec<_> = std::fs::read_dir(run.dir.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .filter(|n| n.to_string_lossy().ends_with(".tmp"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    text
}

fn example_plan() -> Tool {
    Tool::new("plan")
        .arg("--profile")
        .arg(format!("{ROOT}/examples/rigs/rtx-3060-12gb.json"))
        .arg("--model-config")
        .arg(format!("{ROOT}/examples/models/qwen3-30b-a3b.json"))
        .args(["--quant", "gguf-q4_k_m"])
}

fn trace() -> String {
    let layer = |i: u64| json!({"layer_index": i, "expert_counts": [90 + i, 5, 3, 0]});
    json!({
        "model": "a <b> & \"c\"", "num_experts": 4, "experts_per_token": 2, "n_tokens": 50,
        "layers": [layer(0), layer(1)],
    })
    .to_string()
}

fn look(at: f64, temp: f64) -> String {
    let (verdict, breaches) = if temp >= 87.0 {
        let breach = json!({"metric": "gpu_temp_c", "value": temp, "threshold": 87.0,
                            "level": "abort"});
        ("abort", vec![breach])
    } else {
        ("ok", vec![])
    };
    let line = json!({
        "t": "2026-11-21T10:00:00Z", "elapsed_s": at, "verdict": verdict, "breaches": breaches,
        "sample": {"gpu_temp_c": temp, "host_mem_pct": 40.0, "notes": []},
    });
    format!("{line}\n")
}

fn log() -> String {
    let looks = [(0.0, 50.0), (1.0, 70.0), (2.0, 88.0)];
    looks.map(|(at, temp)| look(at, temp)).concat()
}

#[test]
fn a_picture_changes_nothing_else() {
    let plain = example_plan().run().expect_status(0);
    let drawn = example_plan()
        .file("p.svg", "an older picture, much longer than nothing")
        .args(["--svg", "p.svg", "--html", "p.html"])
        .run()
        .expect_status(0);
    assert_eq!(plain.stdout, drawn.stdout);
    assert_eq!(
        drawn.stderr,
        format!("wrote p.svg\nwrote p.html\n{}", plain.stderr)
    );
    let svg = picture(&drawn, "p.svg");
    for words in [
        "Qwen3-30B-A3B: ships",
        "--n-cpu-moe 22",
        "KV cache",
        "VRAM budget",
        "prefers-color-scheme",
    ] {
        assert!(svg.contains(words), "{words}");
    }
    let html = picture(&drawn, "p.html");
    assert!(html.contains("The plan ships.") && html.contains("<summary>plan.json</summary>"));
}

#[test]
fn refused_plans_are_drawn_as_well() {
    let refused = example_plan()
        .args(["--vram-mib", "600", "--svg", "p.svg", "--html", "p.html"])
        .run()
        .expect_status(3);
    assert!(picture(&refused, "p.svg").contains("too much"));
    assert!(picture(&refused, "p.html").contains("The plan is refused."));
    let alone = example_plan()
        .args(["--cpu-only", "--svg", "p.svg"])
        .run()
        .expect_status(0);
    assert!(!picture(&alone, "p.svg").contains("VRAM budget"));
    let nothing = Tool::new("plan")
        .arg("--profile")
        .arg(format!("{ROOT}/examples/rigs/rtx-3060-12gb.json"))
        .args(["--svg", "p.svg"])
        .run()
        .expect_status(3);
    assert!(picture(&nothing, "p.svg").contains("there is no model to place"));
}

/// A placement between whole layers, and one that no number of layers gives, have their own mark.
#[test]
fn placements_off_the_curve_are_marked() {
    let rig = |vram: u64| {
        json!({"schema_version": "0.1.0", "created": "2026-10-01", "hardware": {
            "platform": {"os": "linux"},
            "gpu": {"name": "card", "vram_total_mib": vram, "vram_free_mib": vram},
            "memory": {"ram_total_gib": 64, "ram_available_gib": 60, "cpu_mem_bw_gbps": 80.0},
            "bandwidth": {"vram_gbps": 1000.0},
        }})
        .to_string()
    };
    let cases = [
        (16_000, "tensors", ">tensor by tensor: "),
        (16_000, "layers", ">--n-cpu-moe "),
        (2_000, "layers", ">-ngl "),
    ];
    for (vram, placement, words) in cases {
        let tool = Tool::new("plan").file("p.json", rig(vram));
        let model = support::headers::model(tool.dir(), "mixtral-8x7b.Q4_K_M");
        let run = tool
            .args([
                "--profile",
                "p.json",
                "--placement",
                placement,
                "--svg",
                "p.svg",
                "--model",
            ])
            .arg(model)
            .run()
            .expect_status(0);
        let svg = picture(&run, "p.svg");
        assert!(svg.contains(words), "{vram} {placement}: {}", run.stderr);
        assert!(svg.contains("layers whose experts are in RAM"));
    }
}

#[test]
fn what_cannot_be_written_is_an_error_without_a_document() {
    let plan = example_plan().run().stdout;
    let receipt = |flag: &str| {
        Tool::new("receipt")
            .file("plan.json", &plan)
            .args([
                "--plan",
                "plan.json",
                "--decode-tok-s",
                "30",
                "--calibration-dir",
                "c",
            ])
            .args(["--model-name", "m", flag, "nowhere/p"])
    };
    let tools = [
        example_plan().args(["--svg", "nowhere/p.svg"]),
        example_plan().args(["--html", "."]),
        Tool::new("concentration").file("t.json", trace()).args([
            "--trace",
            "t.json",
            "--svg",
            "nowhere/p.svg",
        ]),
        Tool::new("watchdog").file("l.jsonl", log()).args([
            "draw",
            "l.jsonl",
            "--svg",
            "nowhere/p.svg",
        ]),
        Tool::new("watchdog").args(["run", "--svg", "nowhere/p.svg", "--", "touch", "started"]),
        receipt("--svg"),
        receipt("--html"),
    ];
    for tool in tools {
        let run = tool.run().expect_error("IO_WRITE_FAILED");
        assert!(!run.path("started").exists());
        let points = std::fs::read_dir(run.path("c")).map_or(0, Iterator::count);
        assert_eq!(points, 0, "no receipt, no point");
    }
}

#[test]
fn routing_is_drawn() {
    let run = Tool::new("concentration")
        .file("t.json", trace())
        .args(["--trace", "t.json", "--svg", "r.svg"])
        .run()
        .expect_status(5);
    assert_eq!(run.json()["n_layers"], 2);
    let svg = picture(&run, "r.svg");
    assert!(svg.contains("a &lt;b&gt; &amp; &quot;c&quot;: a per-expert cache could help"));
}

#[test]
fn a_log_is_drawn_after_the_fact() {
    // An earlier run, what an editor and a crash leave behind, and the run itself.
    let mut bytes = [look(0.0, 40.0), look(9.0, 41.0)].concat().into_bytes();
    bytes.extend(b"\xff\xfe\x00garbage\n{\"elapsed_s\": 3\n\n");
    bytes.extend(log().into_bytes());
    bytes.extend(br#"{"t": "2026-11-21T10:00:0"#);
    let draw = |args: &[&str]| {
        Tool::new("watchdog")
            .file("l.jsonl", &bytes)
            .args(["draw", "l.jsonl", "--svg", "w.svg"])
            .args(args)
            .file(
                "peaks.json",
                r#"{"samples": 3, "thresholds": {"gpu_temp_c_max": 86}}"#,
            )
            .run()
            .expect_status(0)
    };
    let run = draw(&[]);
    assert_eq!(run.stdout, "");
    let svg = picture(&run, "w.svg");
    for words in [
        "GPU temperature past its limit after 2.0 s",
        "The last of 2 runs in the log.",
        "they are no looks: 3.",
        "limit 87 °C",
        "does not name limits",
    ] {
        assert!(svg.contains(words), "{words}\n{svg}");
    }
    assert!(!svg.contains("Host memory used: at most 40.0 %, limit"));
    for (args, limit) in [
        (&["--temp-max", "95"][..], "limit 95 °C"),
        (&["--peaks", "peaks.json"][..], "limit 86 °C"),
    ] {
        let svg = picture(&draw(args), "w.svg");
        assert!(
            svg.contains(limit) && !svg.contains("does not name limits"),
            "{svg}"
        );
    }
}

#[test]
fn decisions_are_marked() {
    let event = |at: f64, what: &str| {
        json!({"t": "", "elapsed_s": at, "event": what, "reason": "of the user's"}).to_string()
    };
    let events = [
        event(0.0, "started"),
        "no event".into(),
        event(2.1, "term"),
        event(9.0, "kill"),
    ]
    .join("\n");
    let drawn = Tool::new("watchdog")
        .file("l.jsonl", log())
        .file("e.jsonl", &events)
        .args(["draw", "l.jsonl", "--events", "e.jsonl", "--svg", "w.svg"])
        .run()
        .expect_status(0);
    let words = "1: the job was asked to end after 2.1 s; 2: the job was killed after 9.0 s.";
    let svg = picture(&drawn, "w.svg");
    assert!(
        svg.contains(words) && !svg.contains("of the user's"),
        "{svg}"
    );
    let page = Tool::new("receipt")
        .file("plan.json", example_plan().run().stdout)
        .file("l.jsonl", log())
        .file("e.jsonl", &events)
        .args(["--plan", "plan.json", "--decode-tok-s", "30"])
        .args(["--html", "r.html", "--log", "l.jsonl"])
        .args(["--events", "e.jsonl"])
        .run()
        .expect_status(0);
    let page = std::fs::read_to_string(page.path("r.html")).unwrap();
    assert!(page.contains(words), "{page}");
    Tool::new("watchdog")
        .file("l.jsonl", log())
        .args(["draw", "l.jsonl", "--events", "none", "--svg", "w.svg"])
        .run()
        .expect_error("IO_READ_FAILED");
    #[cfg(unix)]
    {
        let job = ["run", "--svg", "w.svg", "--", "sleep", "600"];
        let run = Tool::new("watchdog")
            .args(["--host-mem-max", "0.1"])
            .args(job)
            .run()
            .expect_status(7);
        assert!(picture(&run, "w.svg").contains("nothing of the job is left"));
    }
}

#[test]
fn what_is_no_log_says_so() {
    for bytes in ["", "no log\n", "{}\n"] {
        Tool::new("watchdog")
            .file("l.jsonl", bytes)
            .args(["draw", "l.jsonl", "--svg", "w.svg"])
            .run()
            .expect_error("IO_READ_FAILED");
    }
    Tool::new("watchdog")
        .args(["draw", "l.jsonl", "--svg", "w.svg"])
        .run()
        .expect_error("IO_READ_FAILED");
    Tool::new("watchdog")
        .args(["draw", "l.jsonl"])
        .run()
        .expect_error("INPUT_USAGE");
}

#[cfg(unix)]
#[test]
fn a_run_is_drawn_at_its_end() {
    let run = Tool::new("watchdog")
        .args([
            "run",
            "--svg",
            "w.svg",
            "--",
            "sh",
            "-c",
            "echo out; exit 3",
        ])
        .run()
        .expect_status(3);
    assert_eq!(run.stdout, "out\n");
    let svg = picture(&run, "w.svg");
    assert!(
        svg.contains("Host memory used") && svg.contains("limit 90.0 %"),
        "{svg}"
    );
}

#[test]
fn a_run_at_several_depths_is_a_curve() {
    let row = |depth: u64, rate: f64| {
        json!({"n_gpu_layers": 99, "n_cpu_moe": 22, "n_prompt": 0, "n_gen": 128, "n_depth": depth,
               "avg_ts": rate, "stddev_ts": 0.4, "samples_ts": [rate]})
    };
    let run = Tool::new("receipt")
        .file("plan.json", example_plan().run().stdout)
        .file(
            "bench.json",
            json!([row(0, 33.0), row(8192, 29.0)]).to_string(),
        )
        .args([
            "--plan",
            "plan.json",
            "--bench",
            "bench.json",
            "--svg",
            "r.svg",
        ])
        .run()
        .expect_status(0);
    let svg = picture(&run, "r.svg");
    assert!(
        svg.contains("context filled, tokens") && svg.contains("8,000"),
        "{svg}"
    );
}

#[test]
fn a_page_holds_the_run_and_nothing_private() {
    let plan = example_plan().run();
    let mut document = plan.json();
    document["model_file"] = json!("/home/jo doe/models/secret.gguf");
    let peaks = json!({
        "samples": 3, "peak_gpu_temp_c": 88.0, "stayed_within_envelope": false,
        "on_breach": "command:curl https://jo:password@example.org",
        "action_taken": "command:curl https://jo:password@example.org: done",
        "thresholds": {"gpu_temp_c_max": 86.0},
    });
    let tool = Tool::new("receipt");
    let store = tool.dir().join("calibration");
    let folder = tool.dir().display().to_string();
    let run = tool
        .file("plan.json", document.to_string())
        .file("peaks.json", peaks.to_string())
        .file("run.jsonl", log())
        .file("trace.json", trace())
        .args([
            "--plan",
            "plan.json",
            "--decode-tok-s",
            "31.4",
            "--model-name",
            "m",
        ])
        .args([
            "--peaks",
            "peaks.json",
            "--log",
            "run.jsonl",
            "--trace",
            "trace.json",
        ])
        .args([
            "--created",
            "2026-11-21",
            "--svg",
            "r.svg",
            "--html",
            "r.html",
        ])
        .arg("--calibration-dir")
        .arg(&store)
        .run()
        .expect_status(0);
    assert_eq!(run.json()["measured_decode_tok_s"], 31.4);
    assert!(picture(&run, "r.svg").contains("measured 31.4"));
    let html = picture(&run, "r.html");
    for words in [
        "The plan ships.",
        "Receipt: decode 31.4 tok/s",
        "GPU temperature past its limit after 2.0 s",
        "a per-expert cache could help",
        "<summary>peaks.json</summary>",
        "2026-11-21_m_n22.json",
        "secret.gguf",
        "limit 86 °C",
    ] {
        assert!(html.contains(words), "{words}");
    }
    for words in [folder.as_str(), "/home", "doe", "password", "example.org"] {
        assert!(!html.contains(words), "{words}");
    }
    // What cannot be read is left out with a warning, as without a page.
    let run = Tool::new("receipt")
        .file("plan.json", plan.stdout)
        .args(["--plan", "plan.json", "--decode-tok-s", "31.4"])
        .args([
            "--html",
            "r.html",
            "--log",
            "none.jsonl",
            "--peaks",
            "none.json",
        ])
        .run()
        .expect_status(0);
    assert_eq!(run.stderr.matches("left out").count(), 2, "{}", run.stderr);
    picture(&run, "r.html");
}
