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
    let launch = "\nllama-server -m MODEL.gguf -ngl 99 --n-cpu-moe 22 -c 4096 -fa on\n";
    assert!(text.contains(launch), "{text}");
    // The screen says it all: nothing is said a second time on standard error.
    assert!(!text.contains("ships:") && !text.contains('{'), "{text}");

    let piped = plan("qwen3-30b-a3b").run().expect_status(0);
    assert_eq!(piped.json()["verdict"], "ship");
    assert!(piped.stderr.starts_with("ships: ") && piped.stderr.contains("\nlaunch: "));

    let refused = plan("gpt-oss-120b").on_terminal(80);
    assert_eq!(refused.status, 3);
    assert!(
        plain(&refused.screen).contains("--quant iq2_xxs"),
        "{}",
        refused.screen
    );
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
    assert_eq!(width(&narrow), Some(64), "{narrow}");

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
