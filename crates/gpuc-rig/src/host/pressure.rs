//! Host memory as the watchdog reads it, many times a minute and never slowly.

use std::path::{Path, PathBuf};

use gpuc_core::document::MemSource;
use gpuc_core::safety::HostReading;
#[cfg(not(target_os = "linux"))]
use gpuc_core::units::mib;

use super::platform;

/// Where host memory is read, and whose it is.
#[derive(Debug, Clone)]
pub struct HostPressure {
    #[cfg_attr(not(target_os = "linux"), expect(dead_code))]
    root: PathBuf,
    source: Option<MemSource>,
}

impl HostPressure {
    /// Finds out whose memory can be read here. `root` is `/`, but for tests.
    pub fn new(root: &Path) -> Self {
        let platform = platform(root);
        let source = match platform.os.as_str() {
            "windows" => Some(MemSource::WindowsHost),
            "linux" if platform.wsl2 => Some(MemSource::Wsl2Vm),
            "linux" => Some(MemSource::Linux),
            _ => None,
        };
        Self {
            root: root.to_owned(),
            source,
        }
    }

    /// Reads it now.
    pub fn read(&self) -> HostReading {
        let mut reading = HostReading {
            source: self.source,
            ..HostReading::default()
        };
        match self.total_and_available() {
            Ok((total, available)) => {
                reading.total_mib = total;
                reading.avail_mib = available;
                if total.is_none() || available.is_none() {
                    reading
                        .notes
                        .push("the system does not say how much memory is left".into());
                } else if self.source == Some(MemSource::Wsl2Vm) {
                    let note = "host memory is the WSL2 virtual machine's; Windows may have less";
                    reading.notes.push(note.into());
                }
            }
            Err(why) => reading.notes.push(format!("no host memory reading: {why}")),
        }
        reading
    }

    #[cfg(target_os = "linux")]
    fn total_and_available(&self) -> Result<(Option<f64>, Option<f64>), String> {
        let path = self.root.join("proc/meminfo");
        let text = std::fs::read_to_string(&path)
            .map_err(|e| format!("{} cannot be read ({e})", path.display()))?;
        Ok((meminfo(&text, "MemTotal:"), meminfo(&text, "MemAvailable:")))
    }

    #[cfg(not(target_os = "linux"))]
    fn total_and_available(&self) -> Result<(Option<f64>, Option<f64>), String> {
        let memory = super::HostMemory::read().map_err(|e| e.to_string())?;
        Ok((Some(mib(memory.total)), Some(mib(memory.available))))
    }
}

/// A field of /proc/meminfo, which counts in KiB, as MiB.
#[cfg(target_os = "linux")]
fn meminfo(text: &str, field: &str) -> Option<f64> {
    let line = text.lines().find_map(|l| l.strip_prefix(field))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    Some(kib as f64 / 1024.0)
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        dir
    }

    #[test]
    fn meminfo_is_read_in_mib_and_names_its_source() {
        let text = "MemTotal:       65536000 kB\nMemFree: 1 kB\nMemAvailable:    2048512 kB\n";
        let linux = root(&[("proc/meminfo", text)]);
        let r = HostPressure::new(linux.path()).read();
        assert_eq!((r.total_mib, r.avail_mib), (Some(64000.0), Some(2000.5)));
        assert_eq!((r.source, r.notes.len()), (Some(MemSource::Linux), 0));
        let wsl = root(&[
            ("proc/meminfo", text),
            ("proc/version", "Linux 6.6-microsoft-WSL2"),
        ]);
        let r = HostPressure::new(wsl.path()).read();
        assert_eq!((r.source, r.notes.len()), (Some(MemSource::Wsl2Vm), 1));
    }

    #[test]
    fn what_cannot_be_read_is_missing_with_its_reason() {
        let old = root(&[("proc/meminfo", "MemTotal: 100 kB\n")]);
        for (dir, total) in [(old, Some(100.0 / 1024.0)), (root(&[]), None)] {
            let r = HostPressure::new(dir.path()).read();
            assert_eq!((r.total_mib, r.avail_mib, r.notes.len()), (total, None, 1));
        }
    }
}
