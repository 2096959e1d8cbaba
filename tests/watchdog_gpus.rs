//! gpu-container-watchdog beside GPUs in trouble: one of many hangs, clocks are held down, the
//! job's own VRAM.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says why it is skipped"
)]

mod support;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use support::watchdog::{IDLE, LONG, monitor, over, peaks, reports};
use support::{Tool, nvml};

/// The settings of a stand-in NVML, which a job may add to.
fn conf(library: &Path) -> PathBuf {
    let mut conf = library.as_os_str().to_owned();
    conf.push(".conf");
    conf.into()
}

/// A watchdog over a script in which `$CONF` is the stand-in's settings.
fn job(library: &Path, options: &[&str], script: &str) -> Tool {
    over(&[IDLE], options, script)
        .env("GPUC_NVML_LIB", library)
        .env("CONF", conf(library))
}

#[test]
fn of_eight_gpus_one_that_hangs_hides_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let readings = "GPUS=8\n3_HANG_POWER_MW=1\n5_TEMP_C=88\n";
    let Some(library) = nvml::stand_in(dir.path(), &[], readings) else {
        return;
    };
    // Waiting for the one would take as long as a test may.
    let run = monitor(&[IDLE])
        .env("GPUC_NVML_LIB", library)
        .args(["--json", "--gpu-timeout", LONG])
        .run()
        .expect_status(7);
    let report = run.json();
    assert_eq!(report["sample"]["gpu_temp_c"], 88.0);
    assert_eq!(report["sample"]["gpu_count"], 8);
    assert_eq!(report["breaches"].as_array().unwrap().len(), 1);
    assert_eq!(
        report["sample"]["notes"],
        json!(["GPU 3: it has not answered yet"])
    );
}

#[test]
fn a_gpu_that_begins_to_hang_is_lost_while_the_others_are_watched() {
    let dir = tempfile::tempdir().unwrap();
    let Some(library) = nvml::stand_in(dir.path(), &[], "GPUS=8\n") else {
        return;
    };
    let options = [
        "--interval",
        "0.1",
        "--gpu-timeout",
        "0.5",
        "--json-out",
        "r.jsonl",
    ];
    let script = "echo 2_HANG_TEMP_C=1 >> \"$CONF\"; exec sleep 100";
    let run = job(&library, &options, script).run().expect_status(7);
    assert!(
        run.stderr.contains("GPUs that answered before"),
        "{}",
        run.stderr
    );
    let text = std::fs::read_to_string(run.path("r.jsonl")).unwrap();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&last["verdict"], &last["sample"]["gpu_temp_c"]),
        (&json!("abort"), &json!(61.0))
    );
    assert!(
        last["sample"]["notes"]
            .to_string()
            .contains("GPU 2: no temperature"),
        "{last}"
    );
}

#[test]
fn a_job_that_takes_more_vram_than_it_may_is_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let Some(library) = nvml::stand_in(dir.path(), &[], "GPUS=2\n") else {
        return;
    };
    // By its processes where they can be told from others', else by what VRAM has grown by.
    let grow = |mib: u32| {
        format!(
            "printf '1_PROCESSES=%s:{mib}\\n1_USED_MIB={}\\n' $$ >> \"$CONF\"",
            mib + 1000
        )
    };
    let script = format!("sleep 0.3; {}; exec sleep 100", grow(5000));
    let options = [
        "--job-vram",
        "4500",
        "--interval",
        "0.1",
        "--peaks-out",
        "p.json",
    ];
    let run = job(&library, &options, &script).run().expect_status(7);
    assert!(run.stderr.contains("job_vram_mib 5000"), "{}", run.stderr);
    let p = peaks(&run);
    assert_eq!(
        (&p["aborted"], &p["peak_job_vram_mib"]),
        (&json!(true), &json!(5000.0))
    );
}

#[test]
fn a_gpu_that_heats_up_while_its_job_is_stopped_gives_it_no_more_time() {
    let dir = tempfile::tempdir().unwrap();
    let Some(library) = nvml::stand_in(dir.path(), &[], "") else {
        return;
    };
    // It does not listen, and works on harder.
    let script = "trap 'echo 0_TEMP_C=95 >> \"$CONF\"' TERM; sleep 0.3; echo TEMP_C=88 >> \"$CONF\"; \
                  while :; do sleep 0.05; done";
    let options = [
        "--interval",
        "0.1",
        "--grace",
        LONG,
        "--peaks-out",
        "p.json",
        "--log",
        "l.jsonl",
    ];
    let run = job(&library, &options, script).run().expect_status(7);
    let p = peaks(&run);
    assert_eq!(p["peak_gpu_temp_c"], 95.0);
    assert!(p["action_taken"].to_string().contains("signal 9"), "{p}");
    // What was seen then is in the log and is no look of its own.
    let log = std::fs::read_to_string(run.path("l.jsonl")).unwrap();
    assert!(
        log.lines().count() as u64 > p["samples"].as_u64().unwrap(),
        "{log}"
    );
}

#[test]
fn a_plan_holds_a_job_to_its_vram() {
    let dir = tempfile::tempdir().unwrap();
    let Some(library) = nvml::stand_in(dir.path(), &[], "") else {
        return;
    };
    let plan = r#"{"fits": true, "verdict": "ship", "vram_used_mib": 4000, "ram_used_mib": 0}"#;
    let script =
        "sleep 0.3; printf 'PROCESSES=%s:5000\nUSED_MIB=6000\n' $$ >> \"$CONF\"; exec sleep 100";
    let options = ["--plan", "plan.json", "--interval", "0.1"];
    let run = job(&library, &options, script)
        .file("plan.json", plan)
        .run();
    let run = run.expect_status(7);
    assert!(run.stderr.contains("past its limit 4600"), "{}", run.stderr);
}

#[test]
fn the_vram_of_a_process_that_runs_already_is_what_the_driver_says_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut sleeper = std::process::Command::new("sleep")
        .arg(LONG)
        .spawn()
        .unwrap();
    let pid = sleeper.id();
    let readings = format!("PROCESSES={pid}:5000\nUSED_MIB=9000\n");
    if let Some(library) = nvml::stand_in(dir.path(), &[], &readings) {
        let look = |limit| {
            monitor(&[])
                .env("GPUC_NVML_LIB", &library)
                .args(["--json", "--pid", &pid.to_string(), "--job-vram", limit])
                .run()
        };
        let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap();
        if namespace.as_os_str() == "pid:[4026531836]" {
            let run = look("4500").expect_status(7);
            assert_eq!(run.json()["breaches"][0]["value"], 5000.0);
            look("6000").expect_status(0);
        } else {
            // The driver counts otherwise than we do, and what it held before is not known.
            let sample = &look("4500").expect_status(0).json()["sample"];
            assert!(
                sample["notes"]
                    .to_string()
                    .contains("no reading of the job's VRAM")
            );
        }
    }
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
}

#[test]
fn why_it_is_slow_and_what_went_wrong_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let readings = "GPUS=2\n0_THROTTLE=1\n1_THROTTLE=64\nECC=1\n1_ECC_ERRORS=2\n1_XID=79\n";
    let Some(library) = nvml::stand_in(dir.path(), &[], readings) else {
        return;
    };
    let options = ["--interval", "0.1", "--json", "--peaks-out", "p.json"];
    let run = job(&library, &options, "sleep 0.5").run().expect_status(0);
    let s = &reports(&run)[0]["sample"];
    // An idle card is not slow.
    assert_eq!(s["gpu_throttle_reasons"], json!(["hw-thermal-slowdown"]));
    assert_eq!(
        (&s["gpu_ecc_errors"], &s["gpu_xids"]),
        (&json!(2), &json!([79]))
    );
    assert_eq!(s["notes"], json!(["GPU 1: Xid 79"]));
    let p = peaks(&run);
    assert_eq!(p["throttle_reasons"], json!(["hw-thermal-slowdown"]));
    assert_eq!(p["xids"], json!([79]));
}

#[test]
fn nvidia_smi_tells_it_too_where_it_knows_the_columns() {
    // A build before R535, and one that knows none of them.
    for (known, reasons) in [
        ("clocks_throttle_reasons.active", json!(["sw-power-cap"])),
        ("no-such-column", Value::Null),
    ] {
        let smi = format!(
            "#!/bin/sh\ncase $1 in\n\
             --query-compute-apps=*) echo \"GPU-1f, $(cat job 2>/dev/null || echo 1), 700\";;\n\
             *{known}*) echo '{IDLE}, 0x0000000000000004, 0';;\n\
             *ecc.errors*) echo 'Field \"x\" is not a valid field to query.'; exit 2;;\n\
             *) echo '{IDLE}';;\nesac\n"
        );
        let options = [
            "--interval",
            "0.1",
            "--json-out",
            "r.jsonl",
            "--job-vram",
            "1000",
        ];
        let script = "echo $$ > job; sleep 0.5";
        let run = over(&[IDLE], &options, script)
            .on_path("nvidia-smi", &smi)
            .run();
        let run = run.expect_status(0);
        let text = std::fs::read_to_string(run.path("r.jsonl")).unwrap();
        let samples: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["sample"].take())
            .collect();
        for s in &samples {
            let told = s.get("gpu_throttle_reasons").unwrap_or(&Value::Null);
            assert_eq!(told, &reasons);
        }
        // In a container the driver's numbers are not ours: VRAM has not grown there.
        let first = std::fs::read_link("/proc/self/ns/pid")
            .unwrap()
            .ends_with("pid:[4026531836]");
        // The last look may come when the job is over.
        let most = samples.iter().filter_map(|s| s["job_vram_mib"].as_f64());
        let most = most.reduce(f64::max);
        assert_eq!(most, Some(if first { 700.0 } else { 0.0 }), "{text}");
    }
}
