//! What the commands print when standard output is a terminal, and when it is not.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests only"
)]

mod support;

use support::Tool;
use support::pty::OnTerminal;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A tool with the variables that say what a terminal can do as on an ordinary one.
fn tool(name: &str) -> Tool {
    let mut tool = Tool::new(name);
    for gone in ["NO_COLOR", "CLICOLOR_FORCE", "COLUMNS", "LC_CTYPE", "LANG"] {
        tool = tool.env_remove(gone);
    }
    tool.env("LC_ALL", "C.UTF-8").env("TERM", "xterm-256color")
}

fn plan(model: &str) -> Tool {
    tool("plan").args([
        "--profile".to_owned(),
        format!("{ROOT}/examples/rigs/rtx-3060-12gb.json"),
        "--model-config".to_owned(),
        format!("{ROOT}/examples/models/{model}.json"),
    ])
}

fn plain(screen: &str) -> String {
    let mut out = String::new();
    let mut rest = screen;
    while let Some((before, after)) = rest.split_once('\x1b') {
        out += before;
        rest = after.split_once('m').map_or("", |(_, rest)| rest);
    }
    out + rest
}

#[test]
fn a_terminal_gets_a_screen_and_a_pipe_the_document() {
    let OnTerminal { screen, status } = plan("qwen3-30b-a3b").on_terminal(80);
    assert_eq!(status, 0, "{screen}");
    assert!(screen.contains('\x1b') && screen.contains('█'), "{screen}");
    let text = plain(&screen);
    assert!(text.trim_start().starts_with("SHIP"), "{text}");
    let launch =
        "\nllama-server -m MODEL.gguf -ngl 99 --n-cpu-moe 22 -c 4096 -fa on -np 1 -fit off\n";
    assert!(text.contains(launch), "{text}");
    // The screen says it all: nothing is said a second time on standard error.
    assert!(!text.contains("ships:") && !text.contains('{'), "{text}");

    let piped = plan("qwen3-30b-a3b").run().expect_status(0);
    assert_eq!(piped.json()["verdict"], "ship");
    assert!(piped.stderr.starts_with("ships: ") && piped.stderr.contains("\nlaunch: "));

    let refused = plan("gpt-oss-20b")
        .args(["--n-cpu-moe", "2"])
        .on_terminal(80);
    assert_eq!(refused.status, 3);
    assert!(
        plain(&refused.screen).contains("   try  --n-cpu-moe 4, which is the smallest that fits"),
        "{}",
        refused.screen
    );
}

#[test]
fn every_command_has_its_screen() {
    let rig = format!("{ROOT}/examples/rigs/rtx-3060-12gb.json");
    let document = plan("qwen3-30b-a3b").run().stdout;
    let trace = r#"{"model": "m", "num_experts": 4, "experts_per_token": 1, "n_tokens": 100, "layers": [{"layer_index": 0, "expert_counts": [97, 1, 1, 1]}]}"#;
    let receipt = || {
        tool("receipt")
            .file("plan.json", &document)
            .args(["--plan", "plan.json"])
    };
    // (what is run, its status, what its screen starts with and holds)
    let cases = [
        (
            tool("profile").args(["--from-profile", &rig]),
            0,
            "PROFILED",
            "11600 of 12288 MiB free",
        ),
        (
            receipt().args(["--decode-tok-s", "31.4"]),
            0,
            "CLEARED",
            "◆ measured 31.40",
        ),
        (
            receipt().args(["--decode-tok-s", "0.1"]),
            3,
            "BELOW THE FLOOR",
            "0.10 tok/s",
        ),
        (
            receipt().args(["--decode-tok-s", "99"]),
            4,
            "ABOVE THE CEILING",
            "99.0 tok/s",
        ),
        (tool("receipt").args(["--history", "."]), 0, "NO RUNS", ""),
        (
            tool("concentration")
                .file("t.json", trace)
                .args(["--trace", "t.json"]),
            5,
            "CACHE COULD HELP",
            "25 %",
        ),
        (
            plan("qwen3-30b-a3b").arg("--frontier"),
            0,
            "FITS",
            "▸     4096  f16    -ncmoe 22",
        ),
    ];
    for (tool, status, word, within) in cases {
        let shown = tool.env("NO_COLOR", "1").on_terminal(80);
        let text = &shown.screen;
        assert_eq!(shown.status, status, "{text}");
        assert!(
            text.trim_start().starts_with(word) && text.contains(within),
            "{word}: {text}"
        );
        assert!(text.lines().all(|l| l.chars().count() <= 80), "{text}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_look_and_a_run_under_the_watchdog_have_theirs() {
    let look = tool("watchdog")
        .env("NO_COLOR", "1")
        .args(["--host-mem-max", "0.1"])
        .on_terminal(80);
    assert_eq!(look.status, 7, "{}", look.screen);
    assert!(
        look.screen.starts_with("ABORT  Host memory used"),
        "{}",
        look.screen
    );
    let piped = tool("watchdog")
        .args(["--host-mem-max", "0.1"])
        .run()
        .expect_status(7);
    assert_eq!(piped.stdout, "");
    assert!(
        piped.stderr.starts_with("verdict: abort\n"),
        "{}",
        piped.stderr
    );
    let asked = tool("watchdog")
        .args(["--host-mem-max", "0.1", "--format", "text"])
        .run();
    assert!(asked.stdout.starts_with("ABORT") && asked.stderr.is_empty());
    let json = tool("watchdog").args(["--format", "json"]).on_terminal(80);
    assert!(json.screen.starts_with("{\n"), "{}", json.screen);

    let run = ["run", "--", "sh", "-c", "echo from the job; exit 3"];
    let run = tool("watchdog")
        .env("NO_COLOR", "1")
        .args(run)
        .on_terminal(80);
    assert_eq!(run.status, 3);
    let text = &run.screen;
    assert!(
        text.contains("from the job\n") && text.contains("\nWITHIN LIMITS  exit 3"),
        "{text}"
    );
    let run = tool("watchdog")
        .args(["run", "--", "true"])
        .run()
        .expect_status(0);
    assert!(!run.stderr.contains("WITHIN"), "{}", run.stderr);
}

#[test]
fn the_terminal_says_how_it_can_be_written_to() {
    let width = |screen: &str| plain(screen).lines().map(|l| l.chars().count()).max();
    let wide = plan("qwen3-30b-a3b").on_terminal(200).screen;
    assert_eq!(width(&wide), Some(120), "{wide}");
    let narrow = plan("qwen3-30b-a3b")
        .env("COLUMNS", "60")
        .on_terminal(200)
        .screen;
    // The launch line alone stays in one piece.
    assert_eq!(width(&narrow), Some(79), "{narrow}");

    for (key, value) in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let screen = plan("qwen3-30b-a3b").env(key, value).on_terminal(80).screen;
        assert!(
            !screen.contains('\x1b') && screen.contains('█'),
            "{key}: {screen}"
        );
    }
    let ascii = plan("qwen3-30b-a3b")
        .env("LC_ALL", "C")
        .on_terminal(80)
        .screen;
    assert!(ascii.is_ascii() && ascii.contains('#'), "{ascii}");
}

#[test]
fn format_decides_whatever_standard_output_is() {
    let json = plan("qwen3-30b-a3b")
        .args(["--format", "json"])
        .on_terminal(80);
    assert!(json.screen.starts_with("{\n"), "{}", json.screen);
    let text = plan("qwen3-30b-a3b")
        .args(["--format", "text"])
        .run()
        .expect_status(0);
    assert!(
        text.stdout.starts_with("SHIP  Qwen3-30B-A3B"),
        "{}",
        text.stdout
    );
    assert_eq!(text.stderr, "");
    let coloured = plan("qwen3-30b-a3b")
        .args(["--format", "text"])
        .env("CLICOLOR_FORCE", "1");
    assert!(coloured.run().stdout.contains('\x1b'));
}

#[test]
fn a_file_gets_the_document_and_standard_output_a_screen_only_when_asked() {
    let quiet = plan("qwen3-30b-a3b")
        .args(["-o", "plan.json"])
        .on_terminal(80);
    assert!(!quiet.screen.contains("SHIP"), "{}", quiet.screen);
    assert!(quiet.screen.contains("wrote plan.json") && quiet.screen.contains("ships: "));
    let both = plan("qwen3-30b-a3b")
        .args(["-o", "plan.json", "--format", "text"])
        .run();
    assert!(both.stdout.starts_with("SHIP"), "{}", both.stdout);
    assert!(
        std::fs::read_to_string(both.path("plan.json"))
            .unwrap()
            .starts_with('{')
    );
}

#[test]
fn a_name_does_not_steer_the_terminal() {
    let name = "evil\u{1b}]0;owned\u{7}\u{1b}[2J\u{202e}";
    for args in [
        &["--model-name", name][..],
        &["--model-name", name, "-o", "plan.json"],
    ] {
        let screen = plan("qwen3-30b-a3b")
            .env("NO_COLOR", "1")
            .args(args)
            .on_terminal(80)
            .screen;
        assert!(screen.contains("evil"), "{screen:?}");
        let steers = screen
            .chars()
            .find(|c| (c.is_control() && *c != '\n') || *c == '\u{202e}');
        assert_eq!(steers, None, "{screen:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_plan_from_elsewhere_does_not_steer_the_terminal() {
    let mut plan = plan("qwen3-30b-a3b").run().json();
    plan["model_repo"] = "owner/\u{1b}[2Jname".into();
    let run = ["run", "--plan", "plan.json", "--cgroup", "off"];
    let shown = tool("watchdog")
        .file("plan.json", plan.to_string())
        .env("NO_COLOR", "1")
        .env("PATH", "/nonexistent")
        .args(run)
        .on_terminal(80);
    assert!(shown.screen.contains("[2Jname"), "{}", shown.screen);
    assert!(!shown.screen.contains('\x1b'), "{:?}", shown.screen);
}
