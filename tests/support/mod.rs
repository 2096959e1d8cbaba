//! A small builder for running the real binaries: arguments and files in, a [`Run`] out.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses a part of it"
)]

pub mod cuda;
pub mod gguf;
pub mod headers;
pub mod nvml;
pub mod plans;
#[cfg(unix)]
pub mod pty;
pub mod watchdog;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// One of the five commands, in a fresh folder of its own.
pub struct Tool {
    command: Command,
    dir: tempfile::TempDir,
    stdin: Vec<u8>,
}

/// What a run left behind.
pub struct Run {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
    pub dir: tempfile::TempDir,
}

fn binary(name: &str) -> &'static str {
    match name {
        "profile" => env!("CARGO_BIN_EXE_gpu-container-profile"),
        "plan" => env!("CARGO_BIN_EXE_gpu-container-plan"),
        "receipt" => env!("CARGO_BIN_EXE_gpu-container-receipt"),
        "concentration" => env!("CARGO_BIN_EXE_gpu-container-concentration"),
        "watchdog" => env!("CARGO_BIN_EXE_gpu-container-watchdog"),
        other => panic!("no command {other}"),
    }
}

/// Lets the command be interrupted even where the tests run in the background: a shell's `&` and
/// nohup leave INT and HUP ignored, and that is inherited.
#[cfg(unix)]
#[allow(unsafe_code)]
pub fn default_signals(command: &mut Command) {
    use nix::sys::signal::{SigHandler, Signal, signal};
    use std::os::unix::process::CommandExt as _;
    let reset = || {
        for s in [
            Signal::SIGINT,
            Signal::SIGHUP,
            Signal::SIGTERM,
            Signal::SIGQUIT,
        ] {
            // SAFETY: no handler is installed, only the default put back.
            unsafe { signal(s, SigHandler::SigDfl) }?;
        }
        Ok(())
    };
    // SAFETY: sigaction is async-signal-safe, and nothing else is called.
    unsafe { command.pre_exec(reset) };
}

impl Tool {
    /// `gpu-container-<name>`; PATH holds the system's folders but no nvidia-smi.
    pub fn new(name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new(binary(name));
        command.current_dir(dir.path());
        for (key, _) in std::env::vars() {
            if key.starts_with("GPU_CONTAINER_") || key.starts_with("GPUC_") {
                command.env_remove(key);
            }
        }
        command.env_remove("CUDA_VISIBLE_DEVICES");
        // No library of the machine's own answers in a test that did not ask for it.
        command.env("GPUC_NVML_LIB", "/nonexistent/libnvidia-ml.so.1");
        command.env("GPUC_CUDA_LIB", "/nonexistent/libcuda.so.1");
        #[cfg(unix)]
        default_signals(&mut command);
        Self {
            command,
            dir,
            stdin: Vec::new(),
        }
    }

    pub fn arg(mut self, arg: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    pub fn args<I: IntoIterator<Item = S>, S: AsRef<std::ffi::OsStr>>(mut self, args: I) -> Self {
        self.command.args(args);
        self
    }

    pub fn env(mut self, key: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(key, value);
        self
    }

    pub fn env_remove(mut self, key: &str) -> Self {
        self.command.env_remove(key);
        self
    }

    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Puts a file into the folder that the command runs in.
    pub fn file(self, name: &str, bytes: impl AsRef<[u8]>) -> Self {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
        self
    }

    /// Puts a script on PATH in front of everything else (a stand-in nvidia-smi, say).
    #[cfg(unix)]
    pub fn on_path(mut self, name: &str, script: &str) -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let bin = self.dir.path().join(".bin");
        std::fs::create_dir_all(&bin).unwrap();
        let path = bin.join(name);
        // Written by another process: a test that forks while this one holds the file open would
        // make it "busy" when it is run.
        let mut writer = Command::new("sh")
            .args(["-c", "cat > \"$0\""])
            .arg(&path)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut writer.stdin.take().unwrap(), script.as_bytes()).unwrap();
        assert!(writer.wait().unwrap().success());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let rest = std::env::var("PATH").unwrap_or_default();
        self.command
            .env("PATH", format!("{}:{rest}", bin.display()));
        self
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Starts the command and hands over the child, for tests that signal it.
    pub fn spawn(mut self) -> (std::process::Child, tempfile::TempDir) {
        self.command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        (self.command.spawn().unwrap(), self.dir)
    }

    /// The same, started by a shell that waits for it.
    pub fn below_a_shell(mut self) -> Self {
        let mut shell = Command::new("sh");
        shell
            .args(["-c", "\"$@\"; exit $?", "sh"])
            .arg(self.command.get_program())
            .args(self.command.get_args())
            .current_dir(self.dir.path());
        for (key, value) in self.command.get_envs() {
            match value {
                Some(value) => shell.env(key, value),
                None => shell.env_remove(key),
            };
        }
        #[cfg(unix)]
        default_signals(&mut shell);
        self.command = shell;
        self
    }

    /// Starts the command as the leader of a terminal of its own.
    #[cfg(unix)]
    pub fn lead(self) -> (std::fs::File, std::process::Child, tempfile::TempDir) {
        let (terminal, child) = pty::lead(self.command);
        (terminal, child, self.dir)
    }

    /// Runs the command with a terminal of so many columns for its output.
    #[cfg(unix)]
    pub fn on_terminal(self, columns: u16) -> pty::OnTerminal {
        pty::on_terminal(self.command, columns)
    }

    pub fn run(self) -> Run {
        self.run_into(Stdio::piped())
    }

    /// Runs the command with this as its standard output.
    pub fn run_into(self, stdout: impl Into<Stdio>) -> Run {
        self.run_with(stdout, Stdio::piped())
    }

    /// Runs the command with these as its standard output and error.
    pub fn run_with(mut self, stdout: impl Into<Stdio>, stderr: impl Into<Stdio>) -> Run {
        use std::io::Write as _;
        self.command
            .stdin(Stdio::piped())
            .stdout(stdout)
            .stderr(stderr);
        let mut child = self.command.spawn().unwrap();
        let mut pipe = child.stdin.take().unwrap();
        let bytes = std::mem::take(&mut self.stdin);
        let writer = std::thread::spawn(move || {
            // A command that does not read its input closes the pipe early.
            let _ = pipe.write_all(&bytes);
        });
        let out = child.wait_with_output().unwrap();
        writer.join().unwrap();
        Run {
            status: out.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&out.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&out.stderr).into_owned(),
            dir: self.dir,
        }
    }
}

impl Run {
    /// The document on standard output.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|e| panic!("{e}\nstdout: {}\nstderr: {}", self.stdout, self.stderr))
    }

    /// The code of the rendered error, if any.
    pub fn code(&self) -> Option<&str> {
        let rest = self.stderr.split("ERROR [").nth(1)?;
        rest.split(']').next()
    }

    #[track_caller]
    pub fn expect_status(self, status: i32) -> Self {
        assert_eq!(
            self.status, status,
            "stdout: {}\nstderr: {}",
            self.stdout, self.stderr
        );
        self
    }

    #[track_caller]
    pub fn expect_error(self, code: &str) -> Self {
        assert_eq!(
            (self.status, self.code()),
            (2, Some(code)),
            "stderr: {}",
            self.stderr
        );
        assert!(
            self.stdout.is_empty(),
            "an error prints no document: {}",
            self.stdout
        );
        self
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// A stand-in nvidia-smi that prints each of these in turn, and the last one from then on; `exit`
/// makes it fail.
pub fn nvidia_smi(rows: &[&str]) -> String {
    let mut script = String::from("#!/bin/sh\nn=0\nread n < \"$0.calls\"\nn=$((n + 1))\n");
    script += "echo $n > \"$0.calls\"\ncase $n in\n";
    for (i, row) in rows.iter().enumerate() {
        let call = if i + 1 == rows.len() {
            "*".to_owned()
        } else {
            (i + 1).to_string()
        };
        let print = match *row {
            "exit" => "exit 9".to_owned(),
            row => format!("printf '%s\\n' '{row}'"),
        };
        script += &format!("{call}) {print};;\n");
    }
    script + "esac\n"
}
