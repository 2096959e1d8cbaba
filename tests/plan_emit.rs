//! `gpu-container-plan --emit`: what is written is read back, as its readers read it, to the same
//! arguments.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use support::{Run, Tool, headers, plans};
use yaml_rust2::{Yaml, YamlLoader};

/// Names that a reader could take apart, or for something else.
const NAMES: [&str; 6] = [
    "plain",
    "two words",
    r#"it's "so""#,
    "$HOME and $(reboot) `x` 100% %h",
    r"back\slash; a:b #c & {d} [e] * !",
    "größe, 模型",
];

fn model(dir: &Path, name: &str) -> PathBuf {
    let file = headers::model(dir, "qwen3-30b-a3b.Q4_K_M");
    let folder = dir.join(name);
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(format!("{name}.gguf"));
    std::fs::rename(file, &path).unwrap();
    path
}

fn emit(how: &str, model: &Path, flags: &[&str]) -> Run {
    Tool::new("plan")
        .file("p.json", plans::profile().to_string())
        .args(["--profile", "p.json", "--no-calibration", "--emit", how])
        .arg("--model")
        .arg(model)
        .args(flags)
        .run()
}

/// A line as a real shell takes it apart.
fn shell(line: &str) -> Vec<String> {
    let script = format!("set -f; printf '%s\\0' {line}");
    let out = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert!(out.status.success(), "{line}");
    let text = String::from_utf8(out.stdout).unwrap();
    text.split_terminator('\0').map(str::to_owned).collect()
}

/// A command line as systemd.service(5) and systemd.syntax(7) say it is taken apart.
fn systemd(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut chars = line.chars().peekable();
    while let Some(&c) = chars.peek() {
        if c == ' ' {
            chars.next();
            continue;
        }
        let quote = (c == '"' || c == '\'').then_some(c);
        if quote.is_some() {
            chars.next();
        }
        let mut word = String::new();
        while let Some(c) = chars.next() {
            match c {
                c if Some(c) == quote => break,
                ' ' if quote.is_none() => break,
                '\\' => match chars.next().unwrap() {
                    c @ ('\\' | '"' | '\'') => word.push(c),
                    other => panic!("\\{other} is another character in {line}"),
                },
                // A specifier and a variable, unless doubled.
                '%' | '$' => {
                    assert_eq!(chars.next(), Some(c), "{line}");
                    word.push(c);
                }
                '"' | '\'' if quote.is_none() => panic!("a quote in the middle of {line}"),
                c => word.push(c),
            }
        }
        assert_ne!(word, ";", "a second command in {line}");
        words.push(word);
    }
    words
}

fn texts(list: &Yaml) -> Vec<String> {
    let words = list.as_vec().unwrap().iter();
    words.map(|w| w.as_str().unwrap().to_owned()).collect()
}

/// What Compose puts in place of `$$`; anything else would be a variable.
fn interpolated(words: Vec<String>) -> Vec<String> {
    let one = |word: String| {
        let parts: Vec<&str> = word.split("$$").collect();
        assert!(parts.iter().all(|p| !p.contains('$')), "{word}");
        parts.join("$")
    };
    words.into_iter().map(one).collect()
}

const PLACED: [&str; 18] = [
    "-ngl",
    "99",
    "--n-cpu-moe",
    "27",
    "-c",
    "4096",
    "-fa",
    "on",
    "-ub",
    "512",
    "-ctk",
    "f16",
    "-ctv",
    "f16",
    "-np",
    "1",
    "-fit",
    "off",
];

fn server(path: &Path) -> Vec<String> {
    let model = ["-m", path.to_str().unwrap()];
    model
        .iter()
        .chain(&PLACED)
        .map(|s| (*s).to_owned())
        .collect()
}

fn words(all: &[&str]) -> Vec<String> {
    all.iter().map(|s| (*s).to_owned()).collect()
}

#[test]
fn shell_lines_are_read_back() {
    for name in NAMES {
        let dir = tempfile::tempdir().unwrap();
        let path = model(dir.path(), name);
        let flags = ["--n-cpu-moe", "27"];
        let run = emit("server", &path, &flags).expect_status(0);
        let want = [
            words(&["gpu-container-watchdog", "run", "--", "llama-server"]),
            server(&path),
        ];
        assert_eq!(shell(&run.stdout), want.concat(), "{}", run.stdout);
        assert!(run.stderr.starts_with("ships: "), "{}", run.stderr);

        let run = emit("cli", &path, &flags).expect_status(0);
        let mut want = [words(&["llama-cli"]), server(&path)].concat();
        let np = want.iter().position(|w| w == "-np").unwrap();
        want.drain(np..np + 2);
        assert_eq!(shell(&run.stdout), want);

        let run = emit("bench", &path, &flags);
        if name.contains(',') {
            let run = run.expect_status(2);
            assert!(
                run.stdout.is_empty() && run.stderr.contains("a comma"),
                "{}",
                run.stderr
            );
            continue;
        }
        let watchdog = [
            "gpu-container-watchdog",
            "run",
            "--peaks-out",
            "peaks.json",
            "--",
        ];
        let bench = [
            "llama-bench",
            "-m",
            path.to_str().unwrap(),
            "-ngl",
            "99",
            "-ncmoe",
            "27",
            "-fa",
            "on",
            "-ub",
            "512",
            "-ctk",
            "f16",
            "-ctv",
            "f16",
            "-p",
            "512",
            "-n",
            "128",
            "-d",
            "3584",
            "-o",
            "json",
        ];
        assert_eq!(shell(&run.stdout), words(&[&watchdog[..], &bench].concat()));
    }
}

#[test]
fn unit_files_are_read_back() {
    for name in NAMES {
        let dir = tempfile::tempdir().unwrap();
        let path = model(dir.path(), name);
        let run = emit("systemd", &path, &["--n-cpu-moe", "27"]).expect_status(0);
        let line = run
            .stdout
            .lines()
            .find_map(|l| l.strip_prefix("ExecStart="));
        let command = systemd(line.unwrap());
        assert!(Path::new(&command[0]).is_absolute(), "{}", run.stdout);
        assert!(command[0].ends_with("/gpu-container-watchdog"));
        assert_eq!(command[1..3], ["run", "--"]);
        assert!(command[3].ends_with("llama-server"));
        assert_eq!(command[4..], server(&path));
    }
}

#[test]
fn containers_are_read_back() {
    for name in NAMES {
        let dir = tempfile::tempdir().unwrap();
        let path = model(dir.path(), name).canonicalize().unwrap();
        let folder = path.parent().unwrap().to_str().unwrap();
        let inside = server(&Path::new("/models").join(path.file_name().unwrap()));

        let run = emit("docker", &path, &["--n-cpu-moe", "27"]).expect_status(0);
        let line = shell(&run.stdout);
        let (docker, llama) = line.split_at(line.len() - inside.len());
        assert_eq!(llama, inside);
        let mount = docker.iter().position(|w| w == "--mount").unwrap();
        assert_eq!(csv(&docker[mount + 1])[1], format!("source={folder}"));
        assert_eq!(
            docker[..4],
            [
                "gpu-container-watchdog",
                "run",
                "--on-breach",
                "docker-stop:llama"
            ]
        );
        assert!(docker.last().unwrap().starts_with("ghcr.io/"));

        let run = emit("compose", &path, &["--n-cpu-moe", "27"]).expect_status(0);
        let file = &YamlLoader::load_from_str(&run.stdout).unwrap()[0];
        let service = &file["services"]["llama"];
        assert_eq!(interpolated(texts(&service["command"])), inside);
        let watchdog = [
            "/usr/local/bin/gpu-container-watchdog",
            "run",
            "--",
            "/app/llama-server",
        ];
        assert_eq!(texts(&service["entrypoint"]), watchdog);
        let weights = service["volumes"][1]["source"].as_str().unwrap().to_owned();
        assert_eq!(interpolated(vec![weights]), [folder]);
        assert!(!service["deploy"]["resources"]["reservations"]["devices"][0].is_badvalue());
    }
}

/// The fields of a line of CSV, as `docker run --mount` reads it.
fn csv(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                fields.last_mut().unwrap().push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            c => fields.last_mut().unwrap().push(c),
        }
    }
    fields
}

#[test]
fn a_link_to_the_weights_is_followed_into_a_container() {
    let dir = tempfile::tempdir().unwrap();
    let path = model(dir.path(), "blob").canonicalize().unwrap();
    let link = dir.path().join("link.gguf");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let run = emit("docker", &link, &[]).expect_status(0);
    assert!(
        run.stdout
            .contains(path.parent().unwrap().to_str().unwrap()),
        "{}",
        run.stdout
    );
    let run = emit("server", &link, &[]).expect_status(0);
    assert!(run.stdout.contains("/link.gguf"), "{}", run.stdout);
}

#[test]
fn llama_swap_and_the_environment_are_read_back() {
    for name in NAMES {
        let dir = tempfile::tempdir().unwrap();
        let path = model(dir.path(), name);
        let flags = ["--n-cpu-moe", "27", "--model-name", name];
        let run = emit("llama-swap", &path, &flags).expect_status(0);
        let file = &YamlLoader::load_from_str(&run.stdout).unwrap()[0];
        let command = file["models"][name]["cmd"].as_str().unwrap();
        let command = shell(&command.replace("${PORT}", "5800"));
        let start = [
            "gpu-container-watchdog",
            "run",
            "--",
            "llama-server",
            "--port",
            "5800",
        ];
        assert_eq!(command, [words(&start), server(&path)].concat());

        let run = emit("env", &path, &["--n-cpu-moe", "27"]).expect_status(0);
        let values: Vec<_> = run
            .stdout
            .lines()
            .filter(|l| !l.starts_with('#'))
            .map(|l| l.split_once('=').unwrap())
            .collect();
        assert_eq!(values[0], ("LLAMA_ARG_MODEL", path.to_str().unwrap()));
        let placed = values[1..].iter().map(|(_, v)| *v);
        let flags = PLACED.iter().skip(1).step_by(2).copied();
        assert!(placed.eq(flags), "{values:?}");
    }
}

#[test]
fn a_refused_plan_starts_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = model(dir.path(), "m");
    for how in [
        "server",
        "bench",
        "cli",
        "docker",
        "compose",
        "systemd",
        "llama-swap",
        "env",
    ] {
        let run = emit(
            how,
            &path,
            &["--floor", "100000", "-o", "plan.json", "--emit-to", "x"],
        );
        let run = run.expect_status(3);
        assert_eq!(run.stdout, "");
        assert!(!run.dir.path().join("x").exists());
        assert!(run.dir.path().join("plan.json").exists());
    }
}

#[test]
fn the_plan_and_what_starts_it_go_to_their_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = model(dir.path(), "m");
    let run = emit(
        "server",
        &path,
        &["-o", "plan.json", "--emit-to", "serve.sh"],
    )
    .expect_status(0);
    assert_eq!(run.stdout, "");
    let plan = std::fs::read(run.dir.path().join("plan.json")).unwrap();
    let plan: serde_json::Value = serde_json::from_slice(&plan).unwrap();
    assert_eq!(plan["model_file"], path.to_str().unwrap());
    let line = std::fs::read_to_string(run.dir.path().join("serve.sh")).unwrap();
    assert!(line.starts_with("gpu-container-watchdog run "));
    let usage = emit("server", &path, &["--frontier"]).expect_status(2);
    assert_eq!(usage.code(), Some("INPUT_USAGE"));
}

#[test]
fn a_name_that_no_file_can_hold_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = model(dir.path(), "two\nlines");
    for how in ["server", "systemd", "compose", "env"] {
        let run = emit(how, &path, &["--n-cpu-moe", "27"]).expect_status(2);
        assert_eq!((run.code(), run.stdout.as_str()), (Some("INPUT_USAGE"), ""));
    }
}
