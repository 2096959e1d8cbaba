//! gpu-container-watchdog run --memory-max, within a control group that was handed over to it.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says why it is skipped"
)]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// A group whose children can have limits of memory, taken away in the end.
struct Unit(PathBuf);

impl Unit {
    fn make(name: &str) -> io::Result<Self> {
        let top = Path::new("/sys/fs/cgroup");
        let control = top.join("cgroup.subtree_control");
        let mut control = fs::File::options().write(true).open(control)?;
        io::Write::write_all(&mut control, b"+memory")?;
        let path = top.join(format!("gpuc-test-{}-{name}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }

    /// A watchdog that is the only process in it, over a shell script that starts with `$GROUP`.
    fn watch(&self, options: &[&str], script: &str) -> Output {
        let find = "GROUP=/sys/fs/cgroup$(sed s/0::// /proc/self/cgroup); ";
        Command::new("sh")
            .args(["-c", "echo $$ > \"$0\"/cgroup.procs && exec \"$@\""])
            .arg(&self.0)
            .arg(env!("CARGO_BIN_EXE_gpu-container-watchdog"))
            .args(["--host-mem-max", "1000", "--host-avail-min", "0", "run"])
            .args(options)
            .args(["--", "sh", "-c", &format!("{find}{script}")])
            .env("GPUC_NVML_LIB", "/nonexistent/libnvidia-ml.so.1")
            .output()
            .unwrap()
    }

    /// What is below it.
    fn groups(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap().map(Result::unwrap);
        entries
            .filter(|e| e.file_type().unwrap().is_dir())
            .map(|e| e.file_name().into_string().unwrap())
            .collect()
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// The group, unless the system gives none.
macro_rules! unit {
    ($name:literal) => {
        match Unit::make($name) {
            Ok(unit) => unit,
            Err(e) => {
                println!("skipped: no group with limits of memory can be made: {e}");
                return;
            }
        }
    };
}

#[test]
fn a_limit_of_memory_holds_where_the_watchdog_is_alone_in_its_group() {
    let unit = unit!("alone");
    let out = unit.watch(&["--memory-max", "64"], "cat $GROUP/memory.max; exit 3");
    let (stdout, stderr) = (
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr),
    );
    assert_eq!(
        (out.status.code(), stdout.trim()),
        (Some(3), "67108864"),
        "{stderr}"
    );
    assert!(unit.groups().is_empty(), "{:?}", unit.groups());
    // It can be handed over once more: nothing stayed switched on.
    let control = fs::read_to_string(unit.0.join("cgroup.subtree_control")).unwrap();
    assert_eq!(control.trim(), "");
}

#[test]
fn a_job_that_fills_its_group_is_stopped() {
    let unit = unit!("full");
    let dir = tempfile::tempdir().unwrap();
    let peaks = dir.path().join("p.json");
    let options = [
        "--memory-max",
        "64",
        "--interval",
        "0.1",
        "--peaks-out",
        peaks.to_str().unwrap(),
    ];
    // A shell cannot give memory back that its variable holds.
    let out = unit.watch(&options, "x=x; while :; do x=$x$x; done");
    let stderr = String::from_utf8_lossy(&out.stderr);
    // The kernel may be faster than we are.
    assert!(matches!(out.status.code(), Some(7 | 137)), "{out:?}");
    let peaks: Value = serde_json::from_slice(&fs::read(peaks).unwrap()).unwrap();
    assert!(peaks["peak_cgroup_mem_pct"].is_number(), "{peaks} {stderr}");
    assert!(unit.groups().is_empty(), "{:?}", unit.groups());
}

#[test]
fn a_group_with_others_in_it_is_refused_before_the_job_starts() {
    let unit = unit!("shared");
    let mut other = Command::new("sleep").arg("1000").spawn().unwrap();
    fs::write(unit.0.join("cgroup.procs"), other.id().to_string()).unwrap();
    let out = unit.watch(&["--memory-max", "64"], "echo started");
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(2), "{stderr}");
    assert!(
        out.stdout.is_empty() && stderr.contains("DEP_MISSING"),
        "{stderr}"
    );
    assert!(
        stderr.contains("nothing but the watchdog in it"),
        "{stderr}"
    );
    assert!(unit.groups().is_empty(), "{:?}", unit.groups());
    other.kill().unwrap();
    other.wait().unwrap();
}
