//! gpu-container-watchdog: whoever reads what it writes, and stops reading, does not hold it up.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::fs::File;
use std::io::{PipeReader, PipeWriter};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::Stdio;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::Mode;
use support::watchdog::{HOT, IDLE, LONG, over, peaks};

/// Writes until nothing more fits in; who writes after that waits until somebody reads.
fn fill(pipe: &(impl AsFd + ?Sized), mut writer: impl std::io::Write) {
    fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    while writer.write(&[b'\n'; 512]).is_ok() {}
    while writer.write(b"\n").is_ok() {}
    fcntl(pipe, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
}

/// A pipe that nobody reads, and that is full.
fn stalled() -> (PipeReader, PipeWriter) {
    let (reader, writer) = std::io::pipe().unwrap();
    fill(&writer, &writer);
    (reader, writer)
}

#[test]
fn a_breach_is_acted_upon_when_nobody_reads_the_reports() {
    let (_reader, writer) = stalled();
    let options = ["--json", "--peaks-out", "p.json"];
    let run = over(&[IDLE, HOT], &options, &format!("sleep {LONG}"))
        .run_into(writer)
        .expect_status(7);
    assert_eq!(peaks(&run)["aborted"], true);
}

#[test]
fn a_breach_is_acted_upon_when_nobody_reads_the_words() {
    let (_reader, writer) = stalled();
    let options = ["--peaks-out", "p.json"];
    let run = over(&[IDLE, HOT], &options, &format!("sleep {LONG}"))
        .run_with(Stdio::piped(), writer)
        .expect_status(7);
    assert_eq!(peaks(&run)["aborted"], true);
}

#[test]
fn a_breach_is_acted_upon_when_the_log_takes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    nix::unistd::mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    let mut how = File::options();
    let _reader = how
        .read(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(&path)
        .unwrap();
    let writer = File::options().write(true).open(&path).unwrap();
    fill(&writer, &writer);
    let log = path.to_str().unwrap();
    for option in ["--log", "--events"] {
        over(&[IDLE, HOT], &[option, log], &format!("sleep {LONG}"))
            .run()
            .expect_status(7);
    }
}

#[test]
fn reports_that_nobody_read_are_missing_and_that_is_said() {
    let (_reader, writer) = stalled();
    let run = over(&[IDLE], &["--json"], "true").run_into(writer);
    assert_eq!((run.status, run.code()), (2, Some("IO_WRITE_FAILED")));
    assert!(
        run.stderr
            .contains("standard output could not be written to its end")
    );
}

#[test]
fn reports_that_are_read_late_are_all_there() {
    let (mut reader, writer) = stalled();
    let late = std::thread::spawn(move || {
        let mut all = String::new();
        std::io::Read::read_to_string(&mut reader, &mut all).unwrap();
        all
    });
    over(&[IDLE], &["--json"], "true")
        .run_into(writer)
        .expect_status(0);
    let all = late.join().unwrap();
    assert!(all.trim_start().starts_with('{'), "{all}");
}
