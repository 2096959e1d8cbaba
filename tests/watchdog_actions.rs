//! gpu-container-watchdog as a monitor: what it does about a breach, and about GPUs that fall silent.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says why it is skipped"
)]

mod support;

use support::Tool;
use support::watchdog::{HOT, IDLE, monitor, reports};

#[test]
fn an_action_that_cannot_be_carried_out_is_refused_at_the_start() {
    let bad = [
        "frobnicate",
        "kill-job",
        "kill:-1",
        "kill:0",
        "kill:1",
        "kill:",
        "docker-stop:",
        "docker-stop:--all",
        "command:",
        "Alert",
    ];
    for action in bad {
        let run = monitor(&[HOT])
            .args(["--json", "--watch", "--on-breach", action])
            .run();
        run.expect_error("INPUT_BAD_ACTION");
    }
    // Alone, one look carries nothing out, so it does not pretend to.
    let run = monitor(&[HOT])
        .args(["--on-breach", "command:touch fired.txt"])
        .run();
    let run = run.expect_error("INPUT_BAD_ACTION");
    assert!(!run.path("fired.txt").exists());
    monitor(&[HOT])
        .args(["--on-breach", "alert"])
        .run()
        .expect_status(7);
    monitor(&[HOT])
        .args(["--watch", "--on-breach", ""])
        .run()
        .expect_status(7);
}

#[test]
fn a_process_that_is_not_there_cannot_be_guarded() {
    // Beyond what the kernel gives out.
    let run = monitor(&[HOT])
        .args(["--watch", "--on-breach", "kill:4194305"])
        .run();
    run.expect_error("INPUT_BAD_ACTION");
}

#[test]
fn a_missing_tool_is_found_out_before_the_breach() {
    let run = monitor(&[HOT]).env("PATH", "/nonexistent");
    run.args(["--watch", "--on-breach", "docker-stop:llama"])
        .run()
        .expect_error("DEP_MISSING");
}

#[test]
fn a_tool_that_may_not_be_executed_is_no_tool() {
    use std::os::unix::fs::PermissionsExt as _;
    let tool = |name: &str, mode| {
        let tool = monitor(&[HOT]).on_path(name, "#!/bin/sh\ntouch called\n");
        let path = tool.dir().join(".bin").join(name);
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        // Nothing of the machine's own.
        let path = tool.dir().join(".bin");
        tool.env("PATH", path)
    };
    for (name, action) in [
        ("docker", "docker-stop:llama"),
        ("wsl.exe", "wsl-shutdown"),
        ("wsl", "wsl-shutdown"),
    ] {
        let with = |mode| tool(name, mode).args(["--watch", "--dry-run", "--on-breach", action]);
        let run = with(0o644).run().expect_error("DEP_MISSING");
        assert!(run.stderr.contains("make it executable"), "{}", run.stderr);
        with(0o755).run().expect_status(0);
    }
}

#[test]
fn a_process_of_somebody_else_cannot_be_guarded() {
    use std::os::unix::process::CommandExt as _;
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: only root can become somebody else");
        return;
    }
    let mut theirs = std::process::Command::new("sleep")
        .arg("100")
        .spawn()
        .unwrap();
    // Where nobody may come by its path, it is reached by its descriptor.
    let watchdog = std::fs::File::open(env!("CARGO_BIN_EXE_gpu-container-watchdog")).unwrap();
    let mut nobody = std::process::Command::new("/proc/self/fd/0");
    let out = nobody
        .stdin(watchdog)
        .uid(65534)
        .current_dir("/")
        .args(["--watch", "--dry-run", "--on-breach"])
        .arg(format!("kill:{}", theirs.id()))
        .output();
    theirs.kill().unwrap();
    theirs.wait().unwrap();
    let out = match out {
        Ok(out) => out,
        Err(e) => {
            println!("skipped: the watchdog cannot be run as nobody: {e}");
            return;
        }
    };
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(2), "{said}");
    assert!(
        said.contains("INPUT_BAD_ACTION") && said.contains("not permitted"),
        "{said}"
    );
}

#[test]
fn a_breach_carries_the_action_out() {
    let run = monitor(&[HOT]).args([
        "--watch",
        "--json",
        "--on-breach",
        "command:echo x; touch f",
    ]);
    let run = run.run().expect_status(7);
    assert!(run.path("f").exists());
    assert_eq!(
        reports(&run).len(),
        1,
        "the action's output stays out of the report stream"
    );
}

#[test]
fn an_action_that_failed_is_not_reported_as_done() {
    let run = monitor(&[HOT]).on_path("docker", "#!/bin/sh\nexit 1\n");
    let run = run
        .args(["--watch", "--on-breach", "docker-stop:llama"])
        .run()
        .expect_status(7);
    assert!(
        run.stderr.contains("docker-stop:llama FAILED"),
        "{}",
        run.stderr
    );
    let run = monitor(&[HOT])
        .args(["--watch", "--on-breach", "command:exit 3"])
        .run();
    let run = run.expect_status(7);
    assert!(run.stderr.contains("FAILED"), "{}", run.stderr);
    let run = monitor(&[HOT]).on_path("docker", "#!/bin/sh\necho \"$@\" > called\n");
    let run = run
        .args(["--watch", "--on-breach", "docker-stop:llama"])
        .run()
        .expect_status(7);
    assert_eq!(
        std::fs::read_to_string(run.path("called")).unwrap(),
        "stop llama\n"
    );
    assert!(
        run.stderr.contains("docker-stop:llama: done"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_named_process_is_stopped() {
    // One that ends when asked, and one that does not; both unreaped while the watchdog looks.
    for (script, word) in [
        ("exec sleep 100", "ended"),
        ("trap '' TERM; echo; read x", "killed"),
    ] {
        let mut victim = std::process::Command::new("sh")
            .args(["-c", &format!("echo; {script}")])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        if word == "killed" {
            // The second line comes when the trap is set.
            use std::io::Read as _;
            victim
                .stdout
                .as_mut()
                .unwrap()
                .read_exact(&mut [0; 2])
                .unwrap();
        }
        let action = format!("kill:{}", victim.id());
        let run = monitor(&[HOT])
            .args(["--watch", "--on-breach", &action])
            .run();
        let run = run.expect_status(7);
        assert!(run.stderr.contains(word), "{}", run.stderr);
        assert!(!victim.wait().unwrap().success());
    }
}

#[test]
fn gpus_that_never_answered_are_a_note() {
    let silent = [
        Tool::new("watchdog").env("PATH", "/nonexistent"),
        monitor(&["exit"]),
        monitor(&[""]),
        monitor(&["[N/A], [N/A], [N/A], [N/A], [N/A], [N/A]"]),
    ];
    for tool in silent {
        let polls = ["--watch", "--max-polls", "2", "--interval", "0.5", "--json"];
        let limits = [
            "--host-mem-max",
            "1000",
            "--host-avail-min",
            "0",
            "--blind-polls",
            "1",
        ];
        let run = tool.args(polls).args(limits).run().expect_status(0);
        for report in reports(&run) {
            assert_eq!(report["verdict"], "ok");
            assert!(
                !report["sample"]["notes"].as_array().unwrap().is_empty(),
                "{report}"
            );
        }
    }
}

#[test]
fn gpus_that_answered_and_then_fail_are_a_warning() {
    for gone in ["exit", "", "[N/A], [N/A], [N/A], [N/A], [N/A], [N/A]"] {
        let run = monitor(&[IDLE, gone])
            .args(["--watch", "--max-polls", "5", "--interval", "0.5", "--json"])
            .run()
            .expect_status(5);
        let all = reports(&run);
        assert_eq!(all.len(), 5, "alone, an alert has nothing to abort");
        assert_eq!(all[1]["breaches"][0]["metric"], "gpu_blind_polls");
        assert_eq!(all[4]["breaches"][0]["value"], 4.0);
    }
}

#[test]
fn a_watch_that_guards_something_aborts_when_blind() {
    let run = monitor(&[IDLE, "exit"])
        .args([
            "--watch",
            "--interval",
            "0.5",
            "--json",
            "--blind-polls",
            "2",
        ])
        .args(["--on-breach", "command:touch fired.txt"])
        .run()
        .expect_status(7);
    assert!(run.path("fired.txt").exists());
    assert_eq!(reports(&run).len(), 3);
}

#[test]
fn gpus_that_hang_are_a_note_after_their_time() {
    let run = monitor(&[IDLE])
        .on_path("nvidia-smi", "#!/bin/sh\nexec sleep 100\n")
        .args(["--json", "--gpu-timeout", "0.2"])
        .run()
        .expect_status(0);
    let notes = run.json()["sample"]["notes"].to_string();
    assert!(notes.contains("no GPU reading"), "{notes}");
}

#[test]
fn each_of_several_actions_is_carried_out() {
    let actions = "command:touch a,b,docker-stop:llama,command:exit 3,alert";
    let run = monitor(&[HOT])
        .on_path("docker", "#!/bin/sh\necho \"$@\" > called\n")
        .args(["--watch", "--on-breach", actions])
        .run()
        .expect_status(7);
    assert!(run.path("a,b").exists(), "a comma of the command's own");
    assert!(run.path("called").exists());
    for said in [
        "command:touch a,b: done",
        "command:exit 3 FAILED: exit status 3",
    ] {
        assert!(run.stderr.contains(said), "{}", run.stderr);
    }
    monitor(&[HOT])
        .args(["--watch", "--on-breach", "command:touch a,kill:1"])
        .run()
        .expect_error("INPUT_BAD_ACTION");
}

#[test]
fn a_command_learns_what_was_breached() {
    let run = monitor(&[HOT])
        .args(["--watch", "--on-breach"])
        .arg("command:echo $GPUC_METRIC $GPUC_VALUE $GPUC_LIMIT ${GPUC_PID-none} > f")
        .run()
        .expect_status(7);
    let facts = std::fs::read_to_string(run.path("f")).unwrap();
    assert_eq!(facts, "gpu_temp_c 90 87 none\n");
}

#[test]
fn a_command_that_takes_too_long_is_killed_with_all_it_started() {
    // The last word of each is its own process, out of the command's group and session.
    let script = "command:(setsid sh -c 'echo $$ > away; exec sleep 100' &) ; \
                  while ! test -s away; do sleep 0.01; done; sleep 100";
    let run = monitor(&[HOT])
        .args(["--watch", "--action-timeout", "2", "--on-breach", script])
        .run()
        .expect_status(7);
    assert!(
        run.stderr.contains("FAILED: not done after 2 s"),
        "{}",
        run.stderr
    );
    let away = std::fs::read_to_string(run.path("away")).unwrap();
    assert!(!std::path::Path::new(&format!("/proc/{}", away.trim())).exists());
}

#[test]
fn what_a_command_that_was_done_leaves_running_is_let_be() {
    let script = "command:(setsid sh -c 'echo $$ > away; while ! test -e go; do sleep 0.01; \
                  done; echo done > end' > /dev/null 2>&1 &) ; while ! test -s away; do sleep 0.01; done";
    let run = monitor(&[HOT])
        .args(["--watch", "--on-breach", script])
        .run()
        .expect_status(7);
    std::fs::write(run.path("go"), "").unwrap();
    while !run.path("end").exists() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn a_process_that_has_ended_cannot_be_guarded() {
    let mut gone = std::process::Command::new("true").spawn().unwrap();
    let stat = format!("/proc/{}/stat", gone.id());
    // Unreaped: its number is still taken.
    while !std::fs::read_to_string(&stat).unwrap().contains(") Z ") {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    monitor(&[HOT])
        .args(["--watch", "--on-breach", &format!("kill:{}", gone.id())])
        .run()
        .expect_error("INPUT_BAD_ACTION");
    gone.wait().unwrap();
}

#[test]
fn a_dry_run_checks_and_says_and_starts_nothing() {
    let tool = || monitor(&[HOT]).on_path("docker", "#!/bin/sh\ntouch called\n");
    let actions = "command:touch f,docker-stop:llama";
    let run = tool()
        .args(["--dry-run", "--on-breach", actions])
        .args(["run", "--grace", "3", "--", "touch", "ran"])
        .run()
        .expect_status(0);
    for said in [
        "docker\" \"stop\" \"llama\"",
        "touch f",
        "(touch)",
        "after 3 s",
    ] {
        let text = run.stdout.replace("docker \"", "docker\" \"");
        assert!(text.contains(said), "{said}: {text}");
    }
    for made in ["called", "f", "ran"] {
        assert!(!run.path(made).exists(), "{made}");
    }
    tool()
        .args(["--dry-run", "--watch", "--log", "no/folder/log"])
        .run()
        .expect_error("IO_WRITE_FAILED");
    monitor(&[HOT])
        .env("PATH", "/nonexistent")
        .args(["--dry-run", "--watch", "--on-breach", "docker-stop:x"])
        .run()
        .expect_error("DEP_MISSING");
}
