//! gpu-container-profile without a rig: the table of GPUs, and rigs imagined from it.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests only"
)]

mod support;

use serde_json::json;
use support::Tool;

fn what_if(gpu: &str) -> Tool {
    Tool::new("profile").args(["--what-if", gpu, "--ram", "64GiB"])
}

#[test]
fn the_table_is_printed() {
    let run = Tool::new("profile")
        .arg("--list-gpus")
        .run()
        .expect_status(0);
    for name in [
        "NVIDIA GeForce RTX 4090 Laptop GPU",
        "Tesla T4",
        "B200",
        "Jetson Orin Nano 8 GB",
    ] {
        assert!(run.stdout.contains(name), "{name}");
    }
    assert!(run.stdout.lines().count() > 140);
}

#[test]
fn an_imagined_rig_says_that_it_is_one() {
    let run = what_if("RTX 4090")
        .args(["--ram-bw", "80"])
        .run()
        .expect_status(0);
    let document = run.json();
    let hardware = &document["hardware"];
    let gpu = &hardware["gpu"];
    assert_eq!(gpu["name"], "NVIDIA GeForce RTX 4090");
    assert_eq!(gpu["vram_total_mib"], 24564);
    assert_eq!(gpu["vram_free_mib"], 24052);
    assert_eq!(gpu["compute_capability"], "8.9");
    assert!(gpu["vram_source"].as_str().unwrap().starts_with("assumed"));
    let bandwidth = &hardware["bandwidth"];
    assert_eq!(bandwidth["vram_gbps"], 1010.0);
    assert!(
        bandwidth["vram_method"]
            .as_str()
            .unwrap()
            .starts_with("assumed")
    );
    assert_eq!(bandwidth["pcie_h2d_gbps"], json!(null));
    let memory = &hardware["memory"];
    assert_eq!(memory["ram_total_gib"], 64.0);
    assert_eq!(memory["cpu_mem_bw_gbps"], 80.0);
    assert!(
        memory["cpu_mem_bw_method"]
            .as_str()
            .unwrap()
            .starts_with("assumed")
    );
    assert!(document["notes"][0].as_str().unwrap().contains("assumed"));

    // Without a rate for RAM there is none.
    let document = what_if("RTX 4090").run().expect_status(0).json();
    assert_eq!(
        document["hardware"]["memory"]["cpu_mem_bw_gbps"],
        json!(null)
    );
}

#[test]
fn a_plan_for_an_imagined_rig_keeps_the_label() {
    let config = r#"{"model_type": "qwen3_moe", "hidden_size": 2048, "num_hidden_layers": 48,
      "num_attention_heads": 32, "num_key_value_heads": 4, "head_dim": 128, "vocab_size": 151936,
      "num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 768}"#;
    let profile = what_if("RTX 4090")
        .args(["--ram-bw", "80"])
        .run()
        .expect_status(0);
    let plan = Tool::new("plan")
        .file("p.json", &profile.stdout)
        .file("config.json", config)
        .args(["--profile", "p.json", "--model-config", "config.json"])
        .run()
        .expect_status(0)
        .json();
    assert_eq!(plan["assumptions"]["cpu_bw_measured"], false, "{plan}");
    assert!(
        plan.to_string().contains("assumed: table of GPUs"),
        "{plan}"
    );
}

#[test]
fn a_name_of_two_cards_is_said_to_be_one() {
    let document = what_if("RTX 3080").run().expect_status(0).json();
    assert_eq!(document["hardware"]["gpu"]["vram_total_mib"], 10240);
    assert!(
        document["notes"].to_string().contains("3080 12 GB"),
        "{document}"
    );
    let document = what_if("RTX 3080 12GB").run().expect_status(0).json();
    assert_eq!(document["hardware"]["gpu"]["vram_total_mib"], 12288);
}

#[test]
fn what_cannot_be_imagined() {
    what_if("Voodoo 2").run().expect_error("INPUT_UNKNOWN_GPU");
    let run = what_if("H100").run().expect_error("INPUT_UNKNOWN_GPU");
    assert!(run.stderr.contains("H100 NVL"), "{}", run.stderr);
    for args in [
        &["--what-if", "RTX 4090"][..],
        &["--what-if", "RTX 4090", "--ram", "0"],
        &["--what-if", "RTX 4090", "--ram", "64GiB", "--ram-bw", "nan"],
        &["--ram", "64GiB"],
        &["--ram-bw", "80"],
    ] {
        Tool::new("profile")
            .args(args)
            .run()
            .expect_error("INPUT_USAGE");
    }
}
