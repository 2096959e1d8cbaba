//! gpu-container-profile on a rig: by NVML, by nvidia-smi, with parts missing or in trouble.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests only"
)]

mod support;

use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::{Value, json};
use support::{Tool, nvml};

fn profile() -> Tool {
    Tool::new("profile").arg("--no-bench")
}

/// A stand-in nvidia-smi that prints this, whatever it is asked.
fn smi(rows: &str) -> Tool {
    profile().on_path(
        "nvidia-smi",
        &format!("#!/bin/sh\ncat <<'ROWS'\n{rows}ROWS\n"),
    )
}

fn notes(document: &Value) -> String {
    document["notes"].to_string()
}

#[test]
fn a_rig_by_nvml() {
    let folder = tempfile::tempdir().unwrap();
    let readings = "GPUS=2\nNAME=Stand-in RTX 0080\nUSED_MIB=500\nCC_MAJOR=12\nCC_MINOR=0\n";
    let Some(library) = nvml::stand_in(folder.path(), &[], readings) else {
        return;
    };
    // NVML comes first, also where there is an nvidia-smi.
    let run = smi("never, asked, 1, 1, 1.0, 1, 1\n")
        .env("GPUC_NVML_LIB", library)
        .run();
    let document = run.expect_status(0).json();
    let gpu = &document["hardware"]["gpu"];
    let want = json!({
        "name": "Stand-in RTX 0080", "vram_total_mib": 12288, "vram_free_mib": 11488,
        "vram_reserved_mib": 300, "driver_version": "580.95.05", "cuda_version": "12.8",
        "compute_capability": "12.0", "pcie_gen": 4, "pcie_width": 16, "vram_source": "nvml-v2"
    });
    for (key, value) in want.as_object().unwrap() {
        assert_eq!(&gpu[key], value, "{key}");
    }
    assert!(notes(&document).contains("2 GPUs were found"));
}

#[test]
fn every_gpu_is_listed_with_all_that_is_known_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let readings = "GPUS=8\n3_USED_MIB=10\n5_NAME=Stand-in RTX 0090\n5_FAIL_ECC=3\nTHROTTLE=68\n\
                    6_FAIL_HANDLE=15\n";
    let Some(library) = nvml::stand_in(folder.path(), &[], readings) else {
        return;
    };
    let tool = || profile().env("GPUC_NVML_LIB", &library);
    let document = tool().run().expect_status(0).json();
    let gpus = document["hardware"]["gpus"].as_array().unwrap();
    assert_eq!(gpus.len(), 8);
    // Most memory is free on number 3.
    assert_eq!(gpus[3]["chosen"], true);
    assert_eq!(document["hardware"]["gpu"]["vram_free_mib"], 11978);
    let want = json!({
        "index": 5, "chosen": false, "visible": true, "name": "Stand-in RTX 0090",
        "uuid": "GPU-00000005-stand-in", "pci_bus_id": "00000000:06:00.0",
        "pcie_gen": 4, "pcie_gen_now": 1, "pcie_width": 16, "pcie_width_now": 16,
        "memory_bus_bits": 384, "memory_clock_mhz": 405, "memory_clock_max_mhz": 10501,
        "graphics_clock_mhz": 210, "graphics_clock_max_mhz": 3105, "power_w": 95.0,
        "power_limit_w": 170.0, "temp_c": 61.0, "ecc": null, "mig": false,
        "throttle_reasons": ["sw-power-cap", "hw-thermal-slowdown"]
    });
    for (key, value) in want.as_object().unwrap() {
        assert_eq!(&gpus[5][key], value, "{key}");
    }
    assert!(gpus[5]["missing"]["ecc"].is_string(), "{}", gpus[5]);
    // One that is lost stays in the list.
    assert_eq!(gpus[6]["vram_total_mib"], Value::Null);
    assert!(
        gpus[6]["missing"]["name"]
            .as_str()
            .unwrap()
            .contains("fell off the bus")
    );

    for (asked, visible, chosen) in [
        (Some("7"), None, 7),
        (Some("GPU-00000002-stand-in"), None, 2),
        (Some("rtx 0090"), None, 5),
        (None, Some("1,5"), 1),
        (None, Some("GPU-00000004"), 4),
    ] {
        let mut tool = tool();
        if let Some(asked) = asked {
            tool = tool.args(["--gpu", asked]);
        }
        if let Some(visible) = visible {
            tool = tool.env("CUDA_VISIBLE_DEVICES", visible);
        }
        let document = tool.run().expect_status(0).json();
        assert_eq!(
            document["hardware"]["gpus"][chosen]["chosen"], true,
            "{asked:?} {visible:?}"
        );
    }
    tool()
        .args(["--gpu", "8"])
        .run()
        .expect_error("INPUT_UNKNOWN_GPU");
    let document = tool()
        .env("CUDA_VISIBLE_DEVICES", "")
        .run()
        .expect_status(0)
        .json();
    assert_eq!(document["hardware"]["gpu"]["vram_total_mib"], Value::Null);
    assert!(notes(&document).contains("hides every GPU"), "{document}");
    profile()
        .args(["--gpu", "0"])
        .run()
        .expect_error("INPUT_UNKNOWN_GPU");
}

#[test]
fn of_a_card_that_is_split_one_instance_counts() {
    let folder = tempfile::tempdir().unwrap();
    let readings = "TOTAL_MIB=81920\nMIG_INSTANCES=3\n100_TOTAL_MIB=9728\n101_TOTAL_MIB=19968\n\
                    101_NAME=Stand-in MIG 2g.20gb\n102_TOTAL_MIB=9728\n";
    let Some(library) = nvml::stand_in(folder.path(), &[], readings) else {
        return;
    };
    let tool = || profile().env("GPUC_NVML_LIB", &library);
    let document = tool().run().expect_status(0).json();
    assert_eq!(document["hardware"]["gpu"]["vram_total_mib"], 19968);
    let gpu = &document["hardware"]["gpus"][0];
    assert_eq!(
        (&gpu["mig"], &gpu["vram_total_mib"]),
        (&json!(true), &json!(81920))
    );
    assert_eq!(gpu["mig_instances"].as_array().unwrap().len(), 3);
    assert!(notes(&document).contains("MIG 2g.20gb"), "{document}");
    let document = tool()
        .args(["--gpu", "MIG-00000064-stand-in"])
        .run()
        .expect_status(0)
        .json();
    assert_eq!(document["hardware"]["gpu"]["vram_total_mib"], 9728);
}

#[test]
fn a_driver_that_says_little_as_under_wsl2() {
    let folder = tempfile::tempdir().unwrap();
    let readings = "FAIL_ECC=3\nFAIL_POWER_MW=3\nFAIL_UTIL=3\nFAIL_MIG=3\nFAIL_CLOCK=3\n\
                    FAIL_BUS_BITS=3\nFAIL_THROTTLE=3\nFAIL_PCIE_GEN_NOW=3\n";
    let Some(library) = nvml::stand_in(folder.path(), &[], readings) else {
        return;
    };
    let document = profile()
        .env("GPUC_NVML_LIB", &library)
        .run()
        .expect_status(0)
        .json();
    assert_eq!(document["hardware"]["gpu"]["vram_total_mib"], 12288);
    let gpu = &document["hardware"]["gpus"][0];
    for key in [
        "ecc",
        "power_w",
        "mig",
        "memory_clock_mhz",
        "memory_bus_bits",
        "throttle_reasons",
    ] {
        assert_eq!(gpu[key], Value::Null, "{key}");
        assert!(gpu["missing"][key].is_string(), "{key}");
    }
    // Its name is in no table and its bus is unknown.
    assert_eq!(document["hardware"]["bandwidth"]["vram_gbps"], Value::Null);
    // All that is not needed to count GPUs and to read their memory is not even there.
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = nvml::stand_in(folder.path(), &["-DFEW_SYMBOLS"], "") else {
        return;
    };
    let document = profile()
        .env("GPUC_NVML_LIB", &library)
        .run()
        .expect_status(0)
        .json();
    assert_eq!(document["hardware"]["gpu"]["vram_total_mib"], 12288);
    let gpu = &document["hardware"]["gpus"][0];
    assert!(
        gpu["missing"]["uuid"].as_str().unwrap().contains("too old"),
        "{gpu}"
    );
}

#[test]
fn vram_bandwidth_that_was_not_measured_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = nvml::stand_in(folder.path(), &[], "") else {
        return;
    };
    let tool = || profile().env("GPUC_NVML_LIB", &library);
    let document = tool().run().expect_status(0).json();
    let bandwidth = &document["hardware"]["bandwidth"];
    assert_eq!(bandwidth["vram_gbps"], 1008.1);
    let method = |b: &Value| b["vram_method"].as_str().unwrap().to_owned();
    assert!(
        method(bandwidth).starts_with("derived: 384-bit bus"),
        "{bandwidth}"
    );
    let document = tool()
        .env("GPUC_STUB_FAIL_BUS_BITS", "3")
        .env("GPUC_STUB_NAME", "Tesla T4")
        .env("GPUC_STUB_TOTAL_MIB", "15360")
        .run()
        .expect_status(0)
        .json();
    let bandwidth = &document["hardware"]["bandwidth"];
    assert_eq!(bandwidth["vram_gbps"], 320.0);
    assert!(
        method(bandwidth).starts_with("assumed: table of GPUs"),
        "{bandwidth}"
    );
}

#[test]
fn nvml_in_the_environment_alone() {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = nvml::stand_in(folder.path(), &["-DNO_MEMORY_V2"], "") else {
        return;
    };
    let run = profile()
        .env("GPUC_NVML_LIB", library)
        .env("GPUC_STUB_TOTAL_MIB", "24576")
        .env("GPUC_STUB_FAIL_PCIE_GEN", "3")
        .run();
    let document = run.expect_status(0).json();
    let gpu = &document["hardware"]["gpu"];
    assert_eq!(gpu["vram_total_mib"], 24576);
    assert_eq!(
        (&gpu["vram_source"], &gpu["vram_reserved_mib"]),
        (&json!("nvml-v1"), &Value::Null)
    );
    assert_eq!(
        (&gpu["pcie_gen"], &gpu["pcie_width"]),
        (&Value::Null, &json!(16))
    );
    assert!(
        notes(&document).contains("PCIe generation is unknown (nvml-v1)"),
        "{document}"
    );
}

#[test]
fn a_gpu_that_is_lost_or_stuck_is_said_and_costs_seconds_at_most() {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = nvml::stand_in(folder.path(), &[], "") else {
        return;
    };
    for (setting, value, why) in [
        ("GPUC_STUB_FAIL_HANDLE", "15", "fell off the bus"),
        ("GPUC_STUB_FAIL_COUNT", "999", "NVML"),
        ("GPUC_STUB_HANG_MEMORY", "1", "did not answer within 5 s"),
        ("GPUC_STUB_GPUS", "0", "no GPU"),
    ] {
        let begun = Instant::now();
        let run = profile()
            .env("GPUC_NVML_LIB", &library)
            .env(setting, value)
            .run();
        let document = run.expect_status(0).json();
        assert_eq!(
            document["hardware"]["gpu"]["vram_total_mib"],
            Value::Null,
            "{setting}"
        );
        assert_eq!(
            document["hardware"]["gpu"]["vram_source"],
            Value::Null,
            "{setting}"
        );
        assert!(notes(&document).contains(why), "{setting}: {document}");
        assert!(begun.elapsed() < Duration::from_secs(30), "{setting}");
    }
}

#[test]
fn a_driver_that_never_gets_ready_is_not_asked_again_by_another_tool() {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = nvml::stand_in(folder.path(), &[], "HANG_INIT=1\n") else {
        return;
    };
    let begun = Instant::now();
    let run = smi("Card, 1, 8, 8, 8.6, 4, 16\n")
        .env("GPUC_NVML_LIB", library)
        .run();
    let document = run.expect_status(0).json();
    assert_eq!(document["hardware"]["gpu"]["name"], "unknown");
    assert!(
        notes(&document).contains("did not answer within 5 s"),
        "{document}"
    );
    assert!(begun.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_rig_by_nvidia_smi() {
    let run =
        smi("Some RTX 4070, 571.2, 12282, 11020, 8.9, 4, 16\nOther, 1, 1, 1, 1.0, 1, 1\n").run();
    let document = run.expect_status(0).json();
    let gpu = &document["hardware"]["gpu"];
    let want = json!({
        "name": "Some RTX 4070", "vram_total_mib": 12282, "vram_free_mib": 11020,
        "vram_reserved_mib": null, "driver_version": "571.2", "compute_capability": "8.9",
        "pcie_gen": 4, "pcie_width": 16, "vram_source": "nvidia-smi"
    });
    for (key, value) in want.as_object().unwrap() {
        assert_eq!(&gpu[key], value, "{key}");
    }
    assert!(notes(&document).contains("2 GPUs were found"));
}

#[test]
fn rows_that_say_less() {
    // (row, name, total, source)
    for (row, name, total, source) in [
        // Unified memory: the card has none of its own.
        (
            "NVIDIA GB10, 580.1, [N/A], [N/A], 12.1, [N/A], 1",
            "NVIDIA GB10",
            Value::Null,
            Value::Null,
        ),
        (
            "Ca, rd, 1.0, 8192, 8000, 8.6, 4, 16",
            "Ca, rd",
            json!(8192),
            json!("nvidia-smi"),
        ),
        (
            "Card, 1, inf, 8000, 8.6, 4, 16",
            "Card",
            Value::Null,
            Value::Null,
        ),
        (
            "Card, 1, nan, 8000, 8.6, 4, 16",
            "Card",
            Value::Null,
            Value::Null,
        ),
        (
            "Card, 1, 1_000, 8000, 8.6, 4, 16",
            "Card",
            Value::Null,
            Value::Null,
        ),
        ("Card, 555.1, 8192", "unknown", Value::Null, Value::Null),
        ("NVIDIA-SMI has failed", "unknown", Value::Null, Value::Null),
    ] {
        let document = smi(&format!("{row}\n")).run().expect_status(0).json();
        let gpu = &document["hardware"]["gpu"];
        assert_eq!(gpu["name"], name, "{row}");
        assert_eq!(gpu["vram_total_mib"], total, "{row}");
        assert_eq!(gpu["vram_source"], source, "{row}");
        if total.is_null() {
            assert!(notes(&document).contains("nvidia-smi"), "{row}: {document}");
        }
    }
}

#[test]
fn a_tool_that_fails_hangs_or_is_not_there() {
    let failing = "#!/bin/sh\necho 'No devices were found'\nexit 6\n";
    let document = profile()
        .on_path("nvidia-smi", failing)
        .run()
        .expect_status(0)
        .json();
    assert!(
        notes(&document).contains("No devices were found"),
        "{document}"
    );

    // It and what it started are gone afterwards.
    let hanging = "#!/bin/sh\nsleep 600 &\necho $$ $! > pids\nwait\n";
    let begun = Instant::now();
    let run = profile()
        .on_path("nvidia-smi", hanging)
        .run()
        .expect_status(0);
    assert!(notes(&run.json()).contains("did not answer within 5 s"));
    assert!(begun.elapsed() < Duration::from_secs(30));
    let pids = std::fs::read_to_string(run.path("pids")).unwrap();
    for pid in pids.split_whitespace() {
        let alive = || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            !stat.is_empty() && !stat.contains(") Z ")
        };
        // The kernel needs a moment to carry out a kill.
        while alive() {
            assert!(
                begun.elapsed() < Duration::from_mins(1),
                "{pid} is still there"
            );
            std::thread::yield_now();
        }
    }

    // Endless output is not kept.
    let spewing = "#!/bin/sh\nyes 'Card, 1, 8192, 8000, 8.6, 4, 16'\n";
    let document = profile()
        .on_path("nvidia-smi", spewing)
        .run()
        .expect_status(0)
        .json();
    assert!(document["hardware"]["gpu"]["name"].is_string());

    let none = profile();
    let nowhere = none.dir().join("nowhere");
    let document = none.env("PATH", nowhere).run().expect_status(0).json();
    assert_eq!(document["hardware"]["gpu"]["name"], "unknown");
    assert!(
        notes(&document).contains("nvidia-smi is not on PATH"),
        "{document}"
    );
}

#[test]
fn without_no_bench_ram_is_measured_and_the_rest_says_why_not() {
    let document = Tool::new("profile").run().expect_status(0).json();
    let memory = &document["hardware"]["memory"];
    let total = memory["ram_total_gib"].as_f64().unwrap();
    assert!(memory["ram_available_gib"].as_f64().unwrap() <= total);
    let method = memory["cpu_mem_bw_method"].as_str().unwrap();
    match memory["cpu_mem_bw_gbps"].as_f64() {
        Some(rate) => {
            assert!(rate > 0.0 && method.contains("median of"), "{method}");
        }
        None => assert!(method.contains("not measured"), "{method}"),
    }
    let bandwidth = &document["hardware"]["bandwidth"];
    assert_eq!(bandwidth["pcie_h2d_gbps"], Value::Null);
    let method = bandwidth["method"].as_str().unwrap();
    assert!(method.contains("PCIe: not measured: ") && method.contains("NVMe: not measured: "));
    let pinned = &document["hardware"]["memory"]["pinnable_method"];
    assert!(
        pinned.as_str().unwrap().starts_with("not measured: "),
        "{pinned}"
    );
}

#[test]
fn no_bench_is_quick_and_small() {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = nvml::stand_in(folder.path(), &[], "") else {
        return;
    };
    let quickest = (0..10)
        .map(|_| {
            let begun = Instant::now();
            profile()
                .env("GPUC_NVML_LIB", &library)
                .run()
                .expect_status(0);
            begun.elapsed()
        })
        .min()
        .unwrap();
    // The fastest of several is what the work itself takes; a busy machine only adds to it.
    assert!(quickest < Duration::from_millis(50), "{quickest:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever nvidia-smi prints, the profile is a document without NaN.
    #[test]
    fn any_rows_give_a_document(noise in proptest::collection::vec(any::<u8>(), 0..120)) {
        let run = profile()
            .file("rows", &noise)
            .on_path("nvidia-smi", "#!/bin/sh\ncat rows\n")
            .run();
        prop_assert_eq!(run.status, 0, "{}", run.stderr);
        run.json();
    }
}
