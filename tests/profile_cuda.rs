//! gpu-container-profile measuring a GPU: by a stand-in CUDA driver library whose rates are known.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests only"
)]

mod support;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{Tool, cuda, nvml};

/// Both stand-ins in `folder`; nothing where there is no compiler.
fn stand_ins(
    folder: &Path,
    readings: &str,
    defines: &[&str],
    settings: &str,
) -> Option<(PathBuf, PathBuf)> {
    Some((
        nvml::stand_in(folder, &[], readings)?,
        cuda::stand_in(folder, defines, settings)?,
    ))
}

fn profile((nvml, cuda): &(PathBuf, PathBuf)) -> Tool {
    Tool::new("profile")
        .env("GPUC_NVML_LIB", nvml)
        .env("GPUC_CUDA_LIB", cuda)
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

#[test]
fn copies_are_timed_by_the_gpu() {
    let folder = tempfile::tempdir().unwrap();
    let settings = "H2D_MBPS=26500\nD2H_MBPS=25250\nVRAM_MBPS=912000\nHOST_MAX_MIB=1000\n";
    let Some(libraries) = stand_ins(folder.path(), "", &[], settings) else {
        return;
    };
    let run = profile(&libraries).run().expect_status(0);
    // Nobody watches, so nothing is said beside the gist.
    assert!(run.stderr.starts_with("profiled: ") && run.stderr.lines().count() == 1);
    let document = run.json();
    let hardware = &document["hardware"];
    let bandwidth = &hardware["bandwidth"];
    assert_eq!(bandwidth["pcie_h2d_gbps"], 26.5, "{bandwidth}");
    assert_eq!(bandwidth["pcie_d2h_gbps"], 25.25);
    assert_eq!(bandwidth["vram_gbps"], 912.0);
    assert!(text(bandwidth, "vram_method").starts_with("measured: copies of 1024 MiB"));
    let details = &bandwidth["details"]["pcie"];
    assert_eq!(
        (&details["h2d"]["buffer_mib"], &details["h2d"]["copies"]),
        (&json!(256), &json!(11))
    );
    assert_eq!(details["h2d_below_30_gbps"], true);
    assert!(
        document["notes"].to_string().contains("less than 30"),
        "{document}"
    );
    // 1000 MiB can be had; the probe comes within its step of that.
    let memory = &hardware["memory"];
    let pinned = memory["pinnable_ceiling_gib"].as_f64().unwrap() * 1024.0;
    assert!((968.0..=1000.0).contains(&pinned), "{memory}");
    assert_eq!(memory["pinnable_capped"], false);
}

#[test]
fn pinning_stops_at_its_cap() {
    let folder = tempfile::tempdir().unwrap();
    let Some(libraries) = stand_ins(folder.path(), "", &[], "H2D_MBPS=55000\n") else {
        return;
    };
    let document = profile(&libraries).run().expect_status(0).json();
    let memory = &document["hardware"]["memory"];
    assert_eq!(memory["pinnable_capped"], true, "{memory}");
    assert!(memory["pinnable_ceiling_gib"].as_f64().unwrap() <= 24.0);
    assert!(text(memory, "pinnable_method").contains("at least"));
    let pcie = &document["hardware"]["bandwidth"]["details"]["pcie"];
    assert_eq!(pcie["h2d_below_30_gbps"], false);
}

#[test]
fn buffers_shrink_until_they_can_be_had() {
    let folder = tempfile::tempdir().unwrap();
    let settings = "HOST_MAX_MIB=100\nDEVICE_MAX_MIB=600\n";
    let Some(libraries) = stand_ins(folder.path(), "", &[], settings) else {
        return;
    };
    let document = profile(&libraries).run().expect_status(0).json();
    let details = &document["hardware"]["bandwidth"]["details"];
    assert_eq!(details["pcie"]["h2d"]["buffer_mib"], 64);
    assert_eq!(details["vram"]["buffer_mib"], 256);
    let memory = &document["hardware"]["memory"];
    assert_eq!(memory["pinnable_ceiling_gib"], Value::Null);
    assert!(
        text(memory, "pinnable_method").contains("CUDA_ERROR_OUT_OF_MEMORY"),
        "{memory}"
    );
}

#[test]
fn the_gpu_that_was_chosen_is_measured_whatever_cuda_calls_it() {
    let folder = tempfile::tempdir().unwrap();
    let Some(libraries) = stand_ins(folder.path(), "GPUS=8\n", &[], "GPUS=8\n") else {
        return;
    };
    let document = profile(&libraries)
        .args(["--gpu", "6"])
        .run()
        .expect_status(0)
        .json();
    assert_eq!(document["hardware"]["bandwidth"]["pcie_h2d_gbps"], 26.0);
    // CUDA shows fewer: it is not another card that is measured.
    let document = profile(&libraries)
        .env("GPUC_CUDA_STUB_GPUS", "2")
        .args(["--gpu", "6"])
        .run()
        .expect_status(0)
        .json();
    let bandwidth = &document["hardware"]["bandwidth"];
    assert_eq!(bandwidth["pcie_h2d_gbps"], Value::Null);
    assert!(
        text(bandwidth, "method").contains("does not see the GPU"),
        "{bandwidth}"
    );
}

#[test]
fn what_is_missing_or_in_trouble_has_a_reason_and_the_rest_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let Some(libraries) = stand_ins(folder.path(), "", &[], "HOST_MAX_MIB=300\n") else {
        return;
    };
    // (setting, value, PCIe, VRAM method, why)
    for (setting, value, link, vram, why) in [
        (
            "FAIL_INIT",
            "100",
            Value::Null,
            "derived",
            "CUDA_ERROR_NO_DEVICE",
        ),
        (
            "FAIL_CONTEXT",
            "2",
            Value::Null,
            "derived",
            "cuDevicePrimaryCtxRetain",
        ),
        ("FAIL_MEMORY", "2", Value::Null, "derived", "cuMemAlloc_v2"),
        (
            "FAIL_H2D_MBPS",
            "999",
            Value::Null,
            "measured",
            "cuMemcpyHtoDAsync_v2",
        ),
        (
            "FAIL_VRAM_MBPS",
            "999",
            json!(26.0),
            "derived",
            "cuMemcpyDtoDAsync_v2",
        ),
        (
            "H2D_MBPS",
            "0",
            Value::Null,
            "measured",
            "timed a copy at 0 s",
        ),
        (
            "HANG_VRAM_MBPS",
            "1",
            json!(26.0),
            "derived",
            "did not answer within 10 s",
        ),
    ] {
        let begun = Instant::now();
        let document = profile(&libraries)
            .env(&format!("GPUC_CUDA_STUB_{setting}"), value)
            .run()
            .expect_status(0)
            .json();
        let bandwidth = &document["hardware"]["bandwidth"];
        assert_eq!(bandwidth["pcie_h2d_gbps"], link, "{setting}: {bandwidth}");
        assert!(
            text(bandwidth, "vram_method").starts_with(vram),
            "{setting}: {bandwidth}"
        );
        assert!(document.to_string().contains(why), "{setting}: {document}");
        assert!(begun.elapsed() < Duration::from_mins(1), "{setting}");
    }

    let folder = tempfile::tempdir().unwrap();
    let Some(libraries) = stand_ins(folder.path(), "", &["-DNO_EVENTS"], "HOST_MAX_MIB=300\n")
    else {
        return;
    };
    let document = profile(&libraries).run().expect_status(0).json();
    let bandwidth = &document["hardware"]["bandwidth"];
    assert_eq!(bandwidth["pcie_h2d_gbps"], Value::Null);
    assert!(
        text(bandwidth, "method").contains("has no cuEventCreate"),
        "{bandwidth}"
    );
    assert!(document["hardware"]["memory"]["pinnable_ceiling_gib"].is_number());

    // A library that is no CUDA driver.
    let nvml = libraries.0.clone();
    let document = profile(&(nvml.clone(), nvml)).run().expect_status(0).json();
    let bandwidth = &document["hardware"]["bandwidth"];
    assert!(
        text(bandwidth, "method").contains("has no cuInit"),
        "{bandwidth}"
    );
}
