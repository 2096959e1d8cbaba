//! gpu-container-watchdog --tui: the dashboard on a terminal, and that nothing waits for it.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::Child;

use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, tcgetattr};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use support::Tool;
use support::pty::{drain, lead, read_until};
use support::watchdog::{HOT, IDLE, LONG, monitor, over_until_ready, supervisor};

const ENTERED: &str = "\x1b[?1049h";
const LEFT: &str = "\x1b[?1049l";

/// On a terminal that can be drawn on.
fn on_screen(tool: Tool) -> Tool {
    tool.env("TERM", "xterm-256color")
        .env("LC_ALL", "C.UTF-8")
        .env("NO_COLOR", "1")
        .env_remove("COLUMNS")
}

/// A job shown live.
fn shown(options: &[&str], script: &str) -> Tool {
    on_screen(supervisor(&[IDLE]))
        .args(["run", "--tui"])
        .args(options)
        .args(["--", "sh", "-c", script])
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap())
}

/// Whether the terminal shows what is typed, and hands it over line by line.
fn is_ordinary(terminal: &File) -> bool {
    let flags = tcgetattr(terminal).unwrap().local_flags;
    flags.contains(LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG)
}

/// All that comes until the end; what is drawn on the ordinary screen, and the status.
fn rest(terminal: File, child: Child) -> (String, i32) {
    let watched = terminal.try_clone().unwrap();
    let all = drain(terminal);
    let status = exit_status(child);
    assert!(is_ordinary(&watched));
    let all = String::from_utf8_lossy(&all).replace("\r\n", "\n");
    let (_, after) = all.rsplit_once(LEFT).unwrap_or_else(|| panic!("{all}"));
    (after.to_owned(), status)
}

fn exit_status(mut child: Child) -> i32 {
    child.wait().unwrap().code().unwrap_or(-1)
}

fn read(dir: &tempfile::TempDir, name: &str) -> String {
    std::fs::read_to_string(dir.path().join(name)).unwrap()
}

#[test]
fn what_a_job_prints_is_shown_and_kept_and_its_end_is_told() {
    // It is no terminal that the job prints to, it reads nothing, and has none by any other name.
    let script =
        "test -t 1 || echo piped; cat; echo told >&2; true > /dev/tty || echo alone; exit 3";
    let (terminal, child, dir) = shown(&["--job-output", "job.log"], script).lead();
    let (after, status) = rest(terminal, child);
    assert_eq!(status, 3, "{after}");
    let log = read(&dir, "job.log");
    assert!(
        log.starts_with("piped\ntold\n") && log.ends_with("alone\n"),
        "{log}"
    );
    // The last frame stays, and below it the run is summed up.
    assert!(
        after.contains(" ENDED  exit 3") && after.contains("told"),
        "{after}"
    );
    let (_, summary) = after.split_once("WITHIN LIMITS").unwrap();
    assert!(summary.contains("exit 3 after"), "{after}");
}

#[test]
fn keys_and_signals_end_a_job_as_they_do_without_a_dashboard() {
    type End = fn(&mut File, Pid);
    let ends: [(End, i32); 3] = [
        (|terminal, _| terminal.write_all(b"q").unwrap(), 130),
        (|terminal, _| terminal.write_all(b"\x03").unwrap(), 130),
        (|_, pid| kill(pid, Signal::SIGTERM).unwrap(), 143),
    ];
    for (end, want) in ends {
        let script = format!("echo under way; exec sleep {LONG}");
        let (mut terminal, child, _dir) = shown(&["--peaks-out", "p.json"], &script).lead();
        read_until(&mut terminal, "under way");
        assert!(!is_ordinary(&terminal));
        end(&mut terminal, pid(&child));
        let (after, status) = rest(terminal, child);
        assert_eq!(status, want, "{after}");
        assert!(
            after.contains(" ENDED ") && after.contains("wrote p.json"),
            "{after}"
        );
    }
}

#[test]
fn a_terminal_that_takes_nothing_holds_nobody_up() {
    // More than a terminal and a pipe take, and a GPU that runs hot when all of it is printed.
    let script = format!("yes | head -c 20000000; : > ready; exec sleep {LONG}");
    let options = ["--tui", "--job-output", "job.log", "--peaks-out", "p.json"];
    let (terminal, mut child, dir) = on_screen(over_until_ready(&options, &script)).lead();
    // Nobody reads the terminal.
    assert_eq!(child.wait().unwrap().code(), Some(7));
    assert_eq!(read(&dir, "job.log").len(), 20_000_000);
    let peaks: serde_json::Value = serde_json::from_str(&read(&dir, "p.json")).unwrap();
    assert_eq!(peaks["aborted"], true);
    assert!(is_ordinary(&terminal));
}

#[test]
fn a_watchdog_that_is_killed_leaves_the_terminal_as_it_was() {
    let script = format!("echo under way; exec sleep {LONG}");
    let (mut terminal, mut child, _dir) = shown(&[], &script).below_a_shell().lead();
    read_until(&mut terminal, "under way");
    let children = format!("/proc/{0}/task/{0}/children", child.id());
    let watchdog: i32 = std::fs::read_to_string(children)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    kill(Pid::from_raw(watchdog), Signal::SIGKILL).unwrap();
    read_until(&mut terminal, LEFT);
    assert_eq!(child.wait().unwrap().code(), Some(137));
    assert!(is_ordinary(&terminal));
}

#[test]
fn a_pause_gives_the_terminal_back_and_a_new_size_is_followed() {
    let script = format!("echo under way; exec sleep {LONG}");
    let (mut terminal, child, _dir) = shown(&[], &script).lead();
    read_until(&mut terminal, "under way");
    terminal.write_all(b"\x1a").unwrap();
    let pid = pid(&child);
    let paused = waitpid(pid, Some(WaitPidFlag::WUNTRACED)).unwrap();
    assert_eq!(paused, WaitStatus::Stopped(pid, Signal::SIGSTOP));
    assert!(is_ordinary(&terminal));
    read_until(&mut terminal, LEFT);
    kill(pid, Signal::SIGCONT).unwrap();
    read_until(&mut terminal, ENTERED);
    resize(&terminal, 133, 20);
    // The clock stands at the right edge.
    read_until(&mut terminal, "\x1b[1;126H");
    terminal.write_all(b"q").unwrap();
    assert_eq!(rest(terminal, child).1, 130);
}

#[allow(unsafe_code)]
fn resize(terminal: &File, columns: u16, rows: u16) {
    use std::os::fd::AsRawFd as _;
    let size = nix::pty::Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the call reads the record, which lives as long as it takes.
    let set =
        unsafe { nix::libc::ioctl(terminal.as_raw_fd(), nix::libc::TIOCSWINSZ, &raw const size) };
    assert_eq!(set, 0);
}

#[test]
fn a_watch_without_a_job_is_shown_too() {
    let rows = [IDLE, IDLE, IDLE, HOT];
    let watch = on_screen(monitor(&rows)).args(["--watch", "--tui", "--interval", "0.3"]);
    let (terminal, child, _dir) = watch.lead();
    let (after, status) = rest(terminal, child);
    assert_eq!(status, 7, "{after}");
    assert!(after.contains(" this machine · "), "{after}");
    assert!(
        after.contains("GPU temperature 90 °C, limit 87 °C"),
        "{after}"
    );
}

/// The watchdog on a terminal, started by a shell that redirects.
fn redirected(dir: &Path, redirection: &str, options: &str, script: &str) -> (File, Child) {
    let watchdog = env!("CARGO_BIN_EXE_gpu-container-watchdog");
    let line = format!(
        "'{watchdog}' run --host-mem-max 1000 --host-avail-min 0 --tui {options} -- sh -c '{script}' {redirection}"
    );
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &line]).current_dir(dir);
    for (key, value) in [
        ("TERM", "xterm"),
        ("LC_ALL", "C.UTF-8"),
        ("NO_COLOR", "1"),
        ("GPUC_NVML_LIB", "/none"),
    ] {
        command.env(key, value);
    }
    support::default_signals(&mut command);
    lead(command)
}

#[test]
fn what_is_redirected_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let script = "cat; echo out; echo err >&2";
    let options = "--job-output shown.log";
    std::fs::write(dir.path().join("in.txt"), "in\n").unwrap();
    let (terminal, child) = redirected(dir.path(), "> out.txt < in.txt", options, script);
    let (_, status) = rest(terminal, child);
    assert_eq!(status, 0);
    assert_eq!(read(&dir, "out.txt"), "in\nout\n");
    assert_eq!(read(&dir, "shown.log"), "err\n");
    // Where reports have standard output, the job's goes the way of its errors.
    let (terminal, child) = redirected(dir.path(), "> out.txt < in.txt", "--json", script);
    let (after, _) = rest(terminal, child);
    assert!(after.contains("\n out\n err\n"), "{after}");
    assert!(read(&dir, "out.txt").starts_with("{\"verdict\":"));
    // Where both lead elsewhere there is no terminal to draw on.
    let both = "> out.txt 2> err.txt";
    let (terminal, child) = redirected(dir.path(), both, options, script);
    let all = drain(terminal);
    assert!(all.is_empty() && exit_status(child) == 2);
    assert!(read(&dir, "err.txt").contains("neither standard error nor standard output"));
}

#[test]
fn what_cannot_be_shown_is_refused_before_the_job_starts() {
    let job = ["--", "sh", "-c", ": > started"];
    let refused = [
        supervisor(&[IDLE]).args(["run", "--tui"]),
        supervisor(&[IDLE]).args(["run", "--job-output", "job.log"]),
    ];
    for tool in refused {
        let run = tool.args(job).run().expect_error("INPUT_USAGE");
        assert!(!run.path("started").exists());
    }
    monitor(&[IDLE])
        .arg("--tui")
        .run()
        .expect_error("INPUT_USAGE");

    // (what the terminal is told to be, options, what the error says)
    let on_terminals = [
        ("dumb", &["run", "--tui"][..], "TERM is \"dumb\""),
        (
            "xterm",
            &["run", "--tui", "--json"],
            "cannot share a terminal",
        ),
    ];
    for (term, options, says) in on_terminals {
        let tool = supervisor(&[IDLE])
            .args(options)
            .args(job)
            .env("TERM", term);
        let (terminal, mut child, dir) = tool.lead();
        let all = String::from_utf8_lossy(&drain(terminal)).into_owned();
        assert_eq!(child.wait().unwrap().code(), Some(2));
        assert!(
            all.contains("ERROR [INPUT_USAGE]") && all.contains(says),
            "{all}"
        );
        assert!(!all.contains(ENTERED) && !dir.path().join("started").exists());
    }
}
