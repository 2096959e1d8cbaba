//! Running fio and cleaning up behind it.

use std::fs::{self, OpenOptions};
use std::io::Read;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use gpuc_core::units::{GIB, MIB};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::report::{self, Pass};
use super::{Kind, Load};
use crate::nvidia::Reading;

/// Time for laying the file out, beside the pass itself.
const GRACE: Duration = Duration::from_mins(3);
const GLANCE: Duration = Duration::from_millis(10);
/// A report is some ten KiB.
const MOST_OUTPUT: u64 = 4 << 20;
/// Room that must be left on the drive beside the file.
const SPARE: u64 = 256 * MIB;

/// The test file, which goes away with this value; and the folder, if it was made for it.
struct TestFile {
    path: PathBuf,
    made: Option<PathBuf>,
}

impl TestFile {
    fn create(folder: &Path) -> Result<Self, String> {
        let failed = |e: std::io::Error| format!("{} cannot be written: {e}", folder.display());
        let made = (!folder.exists()).then(|| folder.to_owned());
        fs::create_dir_all(folder).map_err(failed)?;
        let path = folder.join(format!(
            ".gpu_container_fio_test.{}.bin",
            std::process::id()
        ));
        let file = Self { path, made };
        // A file of ours that was left behind by a process of this number, or one that somebody
        // else has put there: neither is written through.
        let _ = fs::remove_file(&file.path);
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&file.path)
            .map_err(failed)?;
        Ok(file)
    }
}

impl Drop for TestFile {
    fn drop(&mut self) {
        // Nothing more can be done about a file that cannot be removed.
        let _ = fs::remove_file(&self.path);
        if let Some(made) = &self.made {
            // Only when it is empty.
            let _ = fs::remove_dir(made);
        }
    }
}

/// A started fio with all that it has started; killed and reaped when this value goes.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(Some(_)) = self.0.try_wait() {
            return;
        }
        if let Ok(group) = i32::try_from(self.0.id()) {
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
        // It must be gone before its file is: it would make it anew.
        let _ = self.0.wait();
    }
}

/// Both passes over one file.
pub(super) fn passes(
    folder: &Path,
    load: Load,
    begun: &mut dyn FnMut(Kind),
    stop: &dyn Fn() -> bool,
) -> Result<(Reading<Pass>, Reading<Pass>), String> {
    let program =
        crate::path::find("fio").ok_or("fio is not on PATH; install it to measure the drive")?;
    let file = TestFile::create(folder)?;
    let free = nix::sys::statvfs::statvfs(folder)
        .map(|s| s.blocks_available().saturating_mul(s.fragment_size()))
        .map_err(|e| format!("{}: {e}", folder.display()))?;
    if free < load.bytes.saturating_add(SPARE) {
        return Err(format!(
            "{} has {} MiB free, the test file needs {}; --bench-size makes it smaller",
            folder.display(),
            free / MIB,
            load.bytes.saturating_add(SPARE) / MIB
        ));
    }
    let mut pass = |kind| {
        begun(kind);
        run(&program, &file.path, kind, load, stop)
    };
    let sequential = pass(Kind::Sequential);
    if stop() {
        return Err("interrupted".into());
    }
    Ok((sequential, pass(Kind::Random)))
}

fn size(bytes: u64) -> String {
    if bytes.is_multiple_of(GIB) {
        format!("{}G", bytes / GIB)
    } else {
        format!("{}M", bytes.div_ceil(MIB))
    }
}

fn command(program: &Path, file: &Path, kind: Kind, load: Load) -> Command {
    let (rw, block, depth) = match kind {
        Kind::Sequential => ("read", "256k", 64),
        Kind::Random => ("randread", "4k", 1),
    };
    let mut command = Command::new(program);
    // fio takes a colon for the end of a name.
    let file = file.to_string_lossy().replace(':', "\\:");
    command
        .args([
            "--name=gpc",
            "--direct=1",
            "--ioengine=libaio",
            "--numjobs=1",
        ])
        .arg(format!("--filename={file}"))
        .args([format!("--rw={rw}"), format!("--bs={block}")])
        .args([
            format!("--iodepth={depth}"),
            format!("--size={}", size(load.bytes)),
        ])
        .args([
            format!("--runtime={}", load.seconds),
            format!("--ramp_time={}", load.ramp),
        ])
        .args(["--time_based", "--group_reporting", "--output-format=json"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Ctrl-C is for us: we stop it and then remove its file.
        .process_group(0);
    #[cfg(target_os = "linux")]
    crate::supervise::attend(&mut command);
    command
}

fn run(
    program: &Path,
    file: &Path,
    kind: Kind,
    load: Load,
    stop: &dyn Fn() -> bool,
) -> Reading<Pass> {
    let ends = Instant::now() + Duration::from_secs(load.seconds + load.ramp) + GRACE;
    let mut child = command(program, file, kind, load)
        .spawn()
        .map_err(|e| format!("fio cannot be started: {e}"))?;
    let stdout = child.stdout.take().map(reader);
    let stderr = child.stderr.take().map(reader);
    let mut running = Running(child);
    let status = loop {
        if let Some(status) = running.0.try_wait().map_err(|e| e.to_string())? {
            break status;
        }
        if stop() {
            return Err("interrupted".into());
        }
        if Instant::now() >= ends {
            return Err(format!(
                "fio did not end within {} s",
                load.seconds + load.ramp + GRACE.as_secs()
            ));
        }
        thread::sleep(GLANCE);
    };
    let text = |reader: Option<thread::JoinHandle<String>>| {
        reader.and_then(|r| r.join().ok()).unwrap_or_default()
    };
    let (stdout, stderr) = (text(stdout), text(stderr));
    let failed = (!status.success()).then(|| status.to_string());
    report::read(&stdout, &stderr, failed.as_deref())
}

fn reader(mut from: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.by_ref().take(MOST_OUTPUT).read_to_end(&mut bytes);
        // A pipe that nobody empties would stop fio.
        let _ = std::io::copy(&mut from, &mut std::io::sink());
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line() {
        let load = Load::new(4 * GIB, 8);
        let line = |kind| {
            let command = command(Path::new("fio"), Path::new("/a:b/f"), kind, load);
            let args: Vec<_> = command.get_args().map(|a| a.to_string_lossy()).collect();
            args.join(" ")
        };
        let sequential = line(Kind::Sequential);
        for word in [
            "--direct=1",
            "--ioengine=libaio",
            "--rw=read",
            "--bs=256k",
            "--iodepth=64",
            "--size=4G",
            "--runtime=8",
            "--ramp_time=2",
            "--time_based",
            "--filename=/a\\:b/f",
        ] {
            assert!(sequential.contains(word), "{word}: {sequential}");
        }
        let random = line(Kind::Random);
        assert!(
            random.contains("--rw=randread --bs=4k --iodepth=1"),
            "{random}"
        );
        assert_eq!((size(64 * MIB), size(2 * GIB)), ("64M".into(), "2G".into()));
        assert_eq!(Load::new(GIB, 1).ramp, 1);
    }

    #[test]
    fn the_file_goes_with_its_value() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("new");
        let file = TestFile::create(&inner).unwrap();
        let path = file.path.clone();
        assert!(path.exists());
        drop(file);
        assert!(!path.exists() && !inner.exists());
        drop(TestFile::create(folder.path()).unwrap());
        assert!(folder.path().exists());
    }
}
