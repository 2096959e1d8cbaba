//! nvidia-smi, for machines where NVML cannot be loaded.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::details::Details;
use super::probe::{Identity, Live, ProbeError, Watched};
use super::rows;

pub(super) const TOOL: &str = "nvidia-smi";

/// Asks for columns about GPUs.
const GPU: &str = "--query-gpu=";

/// More than the rows of a thousand GPUs; what a broken tool prints beyond is not kept.
const MOST_OUTPUT: u64 = 1 << 20;

/// The program, found on PATH.
#[derive(Debug)]
pub(super) struct Smi {
    program: PathBuf,
    deadline: Duration,
    pub(super) watched: Watched,
    /// How many of the further columns' names were refused.
    refused: usize,
}

impl Smi {
    pub(super) fn find(deadline: Duration) -> Option<Self> {
        let name = if cfg!(windows) {
            "nvidia-smi.exe"
        } else {
            "nvidia-smi"
        };
        crate::path::find(name).map(|program| Self {
            program,
            deadline,
            watched: Watched::default(),
            refused: 0,
        })
    }

    pub(super) fn live(&mut self) -> Result<Vec<Live>, ProbeError> {
        let mut gpus = rows::live(&self.ask_live()?).map_err(failed)?;
        if self.watched.processes_always {
            let question = ("--query-compute-apps=", rows::PROCESSES);
            let answer = self.query(question).map_err(|e| e.to_string());
            let mut processes = answer.and_then(|output| rows::processes(&output));
            for gpu in &mut gpus {
                // Once, for all GPUs together.
                gpu.processes = std::mem::replace(&mut processes, Ok(Vec::new()));
            }
        }
        Ok(gpus)
    }

    fn ask_live(&mut self) -> Result<String, ProbeError> {
        while self.watched.further
            && let Some(further) = rows::FURTHER.get(self.refused)
        {
            let columns = format!("{},{further}", rows::LIVE);
            match self.query((GPU, &columns)) {
                Err(ProbeError::Failed { why, .. }) if why.contains(rows::REFUSED) => {
                    self.refused += 1;
                }
                answer => return answer,
            }
        }
        self.query((GPU, rows::LIVE))
    }

    pub(super) fn identities(&self) -> Result<Vec<Identity>, ProbeError> {
        let mut gpus = rows::identities(&self.query((GPU, rows::IDENTITY))?).map_err(failed)?;
        let why = match self.query((GPU, rows::DETAILS)) {
            Ok(output) => match rows::details(&output, gpus.len()) {
                Some(details) => {
                    for (gpu, details) in gpus.iter_mut().zip(details) {
                        gpu.details = details;
                    }
                    return Ok(gpus);
                }
                None => "nvidia-smi did not print these columns".into(),
            },
            Err(e) => e.to_string(),
        };
        for gpu in &mut gpus {
            gpu.details = Details::missing(&why);
        }
        Ok(gpus)
    }

    fn query(&self, (about, columns): (&str, &str)) -> Result<String, ProbeError> {
        let ends = Instant::now() + self.deadline;
        let hung = ProbeError::Hung {
            tool: TOOL,
            after: self.deadline,
        };
        let mut command = Command::new(&self.program);
        command
            .arg(format!("{about}{columns}"))
            .arg("--format=csv,noheader,nounits")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        // A group of its own, so that all that a wrapper script starts can be stopped with it.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        #[cfg(target_os = "linux")]
        crate::supervise::attend(&mut command);
        let mut child = command.spawn().map_err(|e| failed(e.to_string()))?;
        let Some(stdout) = child.stdout.take() else {
            return Err(failed("it has no output".into()));
        };
        let Some(output) = read_until(stdout, ends) else {
            stop(child);
            return Err(hung);
        };
        let Some(ok) = ended(&mut child, ends) else {
            stop(child);
            return Err(hung);
        };
        ok.map_err(|status| {
            let said = output
                .lines()
                .map(str::trim)
                .find(|l| !l.is_empty())
                .unwrap_or("");
            failed(
                format!("{status}: {said}")
                    .trim_end_matches([':', ' '])
                    .into(),
            )
        })?;
        Ok(output)
    }
}

fn failed(why: String) -> ProbeError {
    ProbeError::Failed { tool: TOOL, why }
}

/// All that the program prints, or nothing when it is still at it when time is up.
fn read_until(stdout: ChildStdout, ends: Instant) -> Option<String> {
    let (done, read) = mpsc::channel();
    let reader = thread::Builder::new()
        .name("nvidia-smi".into())
        .spawn(move || {
            let mut bytes = Vec::new();
            // A read that fails leaves what came before it, which the rows then tell.
            let _ = stdout.take(MOST_OUTPUT).read_to_end(&mut bytes);
            let _ = done.send(bytes);
        });
    reader.ok()?;
    let bytes = read
        .recv_timeout(ends.saturating_duration_since(Instant::now()))
        .ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Whether the program ended well; nothing when it has not ended in time.
fn ended(child: &mut Child, ends: Instant) -> Option<Result<(), String>> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Some(Ok(())),
            Ok(Some(status)) => return Some(Err(status.to_string())),
            // Somebody else has reaped it: what it printed must speak for itself.
            Err(_) => return Some(Ok(())),
            Ok(None) if Instant::now() >= ends => return None,
            // The output is closed, so its end is a matter of microseconds.
            Ok(None) => thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// Kills the program's group and reaps it, without waiting for one that cannot be killed.
fn stop(mut child: Child) {
    #[cfg(unix)]
    if let Ok(group) = i32::try_from(child.id()) {
        use nix::sys::signal::{Signal, killpg};
        let _ = killpg(nix::unistd::Pid::from_raw(group), Signal::SIGKILL);
    }
    let _ = child.kill();
    let _ = thread::Builder::new()
        .name("reaper".into())
        .spawn(move || child.wait());
}
