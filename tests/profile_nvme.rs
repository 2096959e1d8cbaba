//! gpu-container-profile measuring a drive: by fio where it is installed, else by stand-ins of it.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests only"
)]

mod support;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use support::Tool;

const REPORT: &str = r#"{"jobs": [{"read": {"bw_bytes": 3210987654, "iops": 12249.04,
 "lat_ns": {"mean": 81234.5}}}]}"#;

/// Folders of ours are made below this one, which is on a drive; what is below /tmp may not be.
fn on_a_drive() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn profile(folder: &Path) -> Tool {
    Tool::new("profile").arg("--bench-dir").arg(folder).args([
        "--bench-seconds",
        "1",
        "--bench-size",
        "64MiB",
    ])
}

/// A stand-in fio, which finds its own arguments in `$@`.
fn fio(folder: &Path, script: &str) -> Tool {
    profile(folder).on_path("fio", &format!("#!/bin/sh\n{script}\n"))
}

fn nothing_is_left(folder: &Path) -> bool {
    std::fs::read_dir(folder).unwrap().next().is_none()
}

#[test]
fn both_passes_with_the_arguments_agreed_on() {
    let folder = on_a_drive();
    let script = format!("echo \"$@\" >> args\ncat <<'J'\n{REPORT}\nJ");
    let run = fio(folder.path(), &script).run().expect_status(0);
    let args = std::fs::read_to_string(run.path("args")).unwrap();
    let passes: Vec<&str> = args.lines().collect();
    assert_eq!(passes.len(), 2, "{args}");
    for pass in &passes {
        for arg in [
            "--direct=1",
            "--ioengine=libaio",
            "--numjobs=1",
            "--size=64M",
            "--time_based",
            "--runtime=1",
            "--group_reporting",
            "--output-format=json",
        ] {
            assert!(pass.contains(arg), "{arg}: {pass}");
        }
    }
    assert!(
        passes[0].contains("--rw=read --bs=256k --iodepth=64"),
        "{args}"
    );
    assert!(
        passes[1].contains("--rw=randread --bs=4k --iodepth=1"),
        "{args}"
    );
    let document = run.json();
    let bandwidth = &document["hardware"]["bandwidth"];
    assert_eq!(bandwidth["nvme_seq_read_gbps"], 3.211);
    assert_eq!(bandwidth["nvme_rand_qd1_read_iops"], 12249);
    assert_eq!(bandwidth["nvme_rand_qd1_read_mbps"], 3210.99);
    let details = &bandwidth["details"]["nvme"];
    assert_eq!(details["rand_qd1_lat_us"], 81.23);
    assert_eq!(details["bench_dir"], json!(folder.path()));
    assert_eq!(
        (&details["direct"], &details["ioengine"]),
        (&json!(true), &json!("libaio"))
    );
    assert!(nothing_is_left(folder.path()));
    // Without fio's two flags of ours it is the whole measurement.
    let run = Tool::new("profile")
        .env("GPU_CONTAINER_BENCH_DIR", folder.path())
        .on_path("fio", &format!("#!/bin/sh\n{script}\n"))
        .run()
        .expect_status(0);
    let args = std::fs::read_to_string(run.path("args")).unwrap();
    assert!(
        args.contains("--size=4G --runtime=8 --ramp_time=2"),
        "{args}"
    );
}

#[test]
fn a_rate_that_would_not_be_the_drives_is_refused() {
    let inside = on_a_drive();
    let link = inside.path().join("link");
    std::os::unix::fs::symlink("/dev/shm", &link).unwrap();
    let cases = [
        (Path::new("/mnt/c/bench"), "Windows drive"),
        (Path::new("/mnt/c"), "Windows drive"),
        (Path::new("/dev/shm"), "tmpfs"),
        (&link, "tmpfs"),
    ];
    for (folder, why) in cases {
        let document = fio(folder, &format!("echo '{REPORT}'"))
            .run()
            .expect_status(0)
            .json();
        let bandwidth = &document["hardware"]["bandwidth"];
        assert_eq!(bandwidth["nvme_seq_read_gbps"], Value::Null);
        let said = bandwidth["details"]["nvme"]["error"].as_str().unwrap();
        assert!(said.contains(why), "{folder:?}: {said}");
        assert!(document["notes"].to_string().contains(why), "{document}");
    }
    assert!(!Path::new("/mnt/c/bench").exists());
}

#[test]
fn a_containers_own_layers_are_refused() {
    let folder = on_a_drive();
    let script = "cd \"$1\" && mkdir lower upper work merged && \
                  mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work merged && \
                  exec \"$2\" --bench-dir \"$1/merged/bench\"";
    let run = Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(folder.path())
        .arg(env!("CARGO_BIN_EXE_gpu-container-profile"))
        .env("GPUC_NVML_LIB", "/nonexistent")
        .env("GPUC_CUDA_LIB", "/nonexistent")
        .output();
    let output = match run {
        Ok(output) if output.status.success() => output,
        other => {
            println!("skipped: no overlay can be mounted here ({other:?})");
            return;
        }
    };
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let error = document["hardware"]["bandwidth"]["details"]["nvme"]["error"]
        .as_str()
        .unwrap();
    assert!(error.contains("overlay"), "{error}");
}

#[test]
fn a_pass_that_fails_is_null_and_said() {
    let folder = on_a_drive();
    // (what fio does, why)
    let cases = [
        (
            "echo 'fio: destination does not support O_DIRECT' >&2; exit 1",
            "page cache",
        ),
        (
            "echo 'fio: file:filesetup.c: No space left' >&2; exit 1",
            "No space left",
        ),
        ("echo nonsense", "no JSON"),
        ("echo '{}'", "jobs[0].read"),
        ("kill -9 $$", "signal: 9"),
    ];
    for (script, why) in cases {
        let document = fio(folder.path(), script).run().expect_status(0).json();
        let bandwidth = &document["hardware"]["bandwidth"];
        assert_eq!(bandwidth["nvme_seq_read_gbps"], Value::Null, "{script}");
        assert_eq!(
            bandwidth["nvme_rand_qd1_read_iops"],
            Value::Null,
            "{script}"
        );
        assert!(
            bandwidth["method"].as_str().unwrap().contains(why),
            "{script}: {bandwidth}"
        );
        assert!(nothing_is_left(folder.path()), "{script}");
    }
    let none = profile(folder.path()).env("PATH", "/nonexistent");
    let document = none.run().expect_status(0).json();
    assert!(document["notes"].to_string().contains("fio is not on PATH"));
    let document = Tool::new("profile")
        .args(["--bench-size", "4096TiB", "--bench-dir"])
        .arg(folder.path())
        .on_path("fio", "#!/bin/sh\n")
        .run()
        .expect_status(0)
        .json();
    assert!(
        document["notes"].to_string().contains("--bench-size"),
        "{document}"
    );
}

#[test]
fn an_interrupt_leaves_no_file_and_no_fio_behind() {
    for (signal, status) in [
        (Signal::SIGINT, 130),
        (Signal::SIGTERM, 143),
        (Signal::SIGHUP, 129),
    ] {
        let folder = on_a_drive();
        let inner = folder.path().join("made");
        // It goes on writing its file, as fio does, and has a child of its own.
        let script = "file=$(echo \"$@\" | sed 's/.*--filename=\\([^ ]*\\).*/\\1/')\n\
                      sleep 600 &\necho $$ $! > pids.new; mv pids.new pids\n\
                      while :; do echo x >> \"$file\"; done";
        let (mut child, dir) = fio(&inner, script).spawn();
        let begun = Instant::now();
        let pids = dir.path().join("pids");
        while !pids.exists() {
            assert!(begun.elapsed() < Duration::from_mins(1));
            std::thread::yield_now();
        }
        kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
        let ended = child.wait().unwrap();
        assert_eq!(ended.code(), Some(status), "{signal}");
        assert!(!inner.exists(), "{signal}");
        for pid in std::fs::read_to_string(pids).unwrap().split_whitespace() {
            let alive = || {
                let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
                !stat.is_empty() && !stat.contains(") Z ")
            };
            while alive() {
                assert!(
                    begun.elapsed() < Duration::from_mins(1),
                    "{signal}: {pid} is still there"
                );
                std::thread::yield_now();
            }
        }
    }
}

#[test]
fn fio_itself() {
    if Command::new("fio").arg("--version").output().is_err() {
        println!("skipped: fio is not installed");
        return;
    }
    let folder = on_a_drive();
    let document = profile(folder.path()).run().expect_status(0).json();
    let bandwidth = &document["hardware"]["bandwidth"];
    let details = &bandwidth["details"]["nvme"];
    match bandwidth["nvme_seq_read_gbps"].as_f64() {
        Some(rate) => {
            assert!(rate > 0.0);
            assert!(bandwidth["nvme_rand_qd1_read_iops"].as_f64().unwrap() > 0.0);
            assert!(details["fs_type"].is_string(), "{details}");
        }
        // A build folder in a container's own layers is refused, and says so.
        None => assert!(details["error"].is_string(), "{details}"),
    }
    assert!(nothing_is_left(folder.path()));
}
