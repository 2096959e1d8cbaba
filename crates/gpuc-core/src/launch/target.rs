//! What a launch can be written as.

use super::quote::{compose, shell_line, systemd, yaml};
use super::{Job, LaunchError, NO_WEIGHTS, Weights, no_control};

/// Images of llama.cpp's server; their entry point is the server.
const IMAGE_GPU: &str = "ghcr.io/ggml-org/llama.cpp:server-cuda";
const IMAGE_CPU: &str = "ghcr.io/ggml-org/llama.cpp:server";
/// Where the server lies in them.
const SERVER_IN_IMAGE: &str = "/app/llama-server";
/// Where the weights' folder appears in a container.
const WEIGHTS_IN_IMAGE: &str = "/models";
/// Where the server keeps what it downloads, in a container.
const CACHE_IN_IMAGE: &str = "/root/.cache";
/// The folder that stands for the weights' where none is named.
const NO_FOLDER: &str = "/path/to";
/// The container and the Compose service.
const CONTAINER: &str = "llama";
/// The server is for this machine alone until somebody decides otherwise.
const PUBLISHED: &str = "127.0.0.1:8080:8080";

/// What to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A shell line: llama-server under the watchdog.
    Server,
    /// A shell line: llama-bench under the watchdog, for a receipt.
    Bench,
    /// A shell line: llama-cli.
    Cli,
    /// A shell line: the server's container under the watchdog.
    Docker,
    /// A Compose file.
    Compose,
    /// A unit file.
    Systemd,
    /// A configuration of llama-swap with this one model.
    LlamaSwap,
    /// An environment file as `docker run --env-file` reads it.
    Env,
}

/// Where the programs are, for what is started without the user's PATH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    /// gpu-container-watchdog.
    pub watchdog: String,
    /// llama-server.
    pub server: String,
}

impl Default for Programs {
    /// By their names.
    fn default() -> Self {
        Self {
            watchdog: "gpu-container-watchdog".into(),
            server: "llama-server".into(),
        }
    }
}

impl Target {
    /// Whether what is written is read where PATH is another than the user's.
    pub fn wants_absolute_programs(self) -> bool {
        self == Self::Systemd
    }

    /// Whether the weights are seen from inside a container, where links lead nowhere.
    pub fn mounts_weights(self) -> bool {
        matches!(self, Self::Docker | Self::Compose)
    }

    /// The text that starts `job`, a model called `name`.
    pub fn write(self, job: &Job, name: &str, programs: &Programs) -> Result<String, LaunchError> {
        for word in [&programs.watchdog, &programs.server] {
            no_control(word)?;
        }
        Ok(match self {
            Self::Server => line(guarded(programs, &[], &programs.server), job.server()),
            Self::Bench => {
                let peaks = ["--peaks-out", "peaks.json"];
                line(guarded(programs, &peaks, "llama-bench"), job.bench()?)
            }
            Self::Cli => line(vec!["llama-cli".to_owned()], job.cli()),
            Self::Docker => docker(job, programs),
            Self::Compose => compose_file(job),
            Self::Systemd => unit(job, programs),
            Self::LlamaSwap => swap(job, name, programs)?,
            Self::Env => environment(job),
        })
    }
}

fn line(mut words: Vec<String>, args: Vec<String>) -> String {
    words.extend(args);
    shell_line(&words) + "\n"
}

/// A program under the watchdog.
fn guarded(programs: &Programs, flags: &[&str], program: &str) -> Vec<String> {
    let mut words = vec![programs.watchdog.clone(), "run".into()];
    words.extend(flags.iter().map(|f| (*f).to_owned()));
    words.extend(["--".into(), program.to_owned()]);
    words
}

/// The job as a container sees it, and the folder on the host that it needs there.
fn inside(job: &Job) -> (Job, Option<String>) {
    let path = match &job.weights {
        Weights::Repo(_) => return (job.clone(), None),
        Weights::File(path) => path.as_str(),
        Weights::Unknown => NO_WEIGHTS,
    };
    let (folder, file) = match path.rsplit_once('/') {
        Some(("", file)) => ("/", file),
        Some(both) => both,
        None => (NO_FOLDER, path),
    };
    let inside = Job {
        weights: Weights::File(format!("{WEIGHTS_IN_IMAGE}/{file}")),
        ..job.clone()
    };
    (inside, Some(folder.to_owned()))
}

fn docker(job: &Job, programs: &Programs) -> String {
    let (inside, folder) = inside(job);
    let mut args: Vec<String> = ["run", "--rm", "--name", CONTAINER]
        .map(str::to_owned)
        .into();
    if job.uses_gpu() {
        args.extend(["--gpus".into(), "all".into()]);
    }
    args.extend(["-p".into(), PUBLISHED.into()]);
    // -v would split the path at a colon; --mount is read as a line of CSV.
    let mount = match &folder {
        Some(folder) => format!(
            "type=bind,{},target={WEIGHTS_IN_IMAGE},readonly",
            csv(&format!("source={folder}"))
        ),
        None => format!("type=volume,source={CONTAINER}-cache,target={CACHE_IN_IMAGE}"),
    };
    args.extend(["--mount".into(), mount, image(job).into()]);
    args.extend(inside.server());
    let stop = format!("docker-stop:{CONTAINER}");
    line(guarded(programs, &["--on-breach", &stop], "docker"), args)
}

fn csv(field: &str) -> String {
    if field.contains([',', '"']) {
        return format!("\"{}\"", field.replace('"', "\"\""));
    }
    field.to_owned()
}

fn image(job: &Job) -> &'static str {
    if job.uses_gpu() { IMAGE_GPU } else { IMAGE_CPU }
}

fn compose_file(job: &Job) -> String {
    let (inside, folder) = inside(job);
    let watchdog = "/usr/local/bin/gpu-container-watchdog";
    let mut text = format!(
        "# docker compose -f THIS_FILE up: the model under the watchdog, on 127.0.0.1:8080.\n\
         # The watchdog is the host's; of another path, or built for a newer system than the\n\
         # image's, change its volume.\n\
         services:\n  {CONTAINER}:\n    image: {}\n    ports:\n      - {}\n    entrypoint:\n",
        yaml(image(job)),
        yaml(PUBLISHED),
    );
    for word in [watchdog, "run", "--", SERVER_IN_IMAGE] {
        text += &format!("      - {}\n", yaml(word));
    }
    text += "    command:\n";
    for word in inside.server() {
        text += &format!("      - {}\n", compose(&word));
    }
    text += &format!(
        "    volumes:\n      - type: bind\n        source: {w}\n        target: {w}\n        \
         read_only: true\n",
        w = yaml(watchdog)
    );
    text += &match &folder {
        Some(folder) => format!(
            "      - type: bind\n        source: {}\n        target: {}\n        read_only: true\n",
            compose(folder),
            yaml(WEIGHTS_IN_IMAGE)
        ),
        None => format!(
            "      - type: volume\n        source: cache\n        target: {}\n",
            yaml(CACHE_IN_IMAGE)
        ),
    };
    if job.uses_gpu() {
        text += "    deploy:\n      resources:\n        reservations:\n          devices:\n            \
                 - driver: nvidia\n              count: all\n              capabilities: [\"gpu\"]\n";
    }
    if folder.is_none() {
        text += "volumes:\n  cache: {}\n";
    }
    text
}

fn unit(job: &Job, programs: &Programs) -> String {
    let job = match &job.weights {
        Weights::Unknown => &Job {
            weights: Weights::File(format!("{NO_FOLDER}/{NO_WEIGHTS}")),
            ..job.clone()
        },
        _ => job,
    };
    let words = [guarded(programs, &[], &programs.server), job.server()].concat();
    let command: Vec<String> = words.iter().map(|w| systemd(w)).collect();
    // A breach (7), a usage error (2) or a missing program would come again; 143 is the answer to
    // systemctl stop.
    format!(
        "# A system unit, or a user's: put it into ~/.config/systemd/user and use systemctl --user.\n\
         [Unit]\n\
         Description=llama-server as gpu-container placed it, under the watchdog\n\
         \n\
         [Service]\n\
         Type=notify\n\
         NotifyAccess=main\n\
         WatchdogSec=30\n\
         ExecStart={}\n\
         Delegate=yes\n\
         Restart=on-failure\n\
         RestartPreventExitStatus=2 7 126 127\n\
         SuccessExitStatus=143\n\
         KillMode=mixed\n\
         TimeoutStopSec=30\n\
         \n\
         [Install]\n\
         WantedBy=default.target\n",
        command.join(" ")
    )
}

fn swap(job: &Job, name: &str, programs: &Programs) -> Result<String, LaunchError> {
    let (words, args) = (guarded(programs, &[], &programs.server), job.server());
    for word in words.iter().chain(&args).map(String::as_str).chain([name]) {
        if word.contains("${") {
            return Err(LaunchError::Misread {
                word: word.into(),
                what: "${",
                target: "llama-swap",
            });
        }
    }
    let (words, args) = (shell_line(&words), shell_line(&args));
    let command = format!("{words} --port ${{PORT}} {args}");
    // Two minutes, its default, are too short to load a large model.
    Ok(format!(
        "healthCheckTimeout: 600\nmodels:\n  {}:\n    cmd: {}\n",
        yaml(name),
        yaml(&command)
    ))
}

fn environment(job: &Job) -> String {
    let mut text = "# docker run --env-file THIS_FILE: each value is read as it stands, quotes \
                    and all.\n"
        .to_owned();
    for (key, value) in job.env() {
        text += &format!("{key}={value}\n");
    }
    text
}
