//! Host memory as the watchdog reads it, many times a minute and never slowly.

use std::path::Path;

use gpuc_core::document::MemSource;
use gpuc_core::safety::{GroupReading, HostReading, HostWanted};
use gpuc_core::units::mib;

use super::cgroup::{Allowance, Groups};
#[cfg(target_os = "linux")]
use super::kept::Kept;
use super::platform;

/// Where host memory is read, and whose it is.
#[derive(Debug)]
pub struct HostPressure {
    #[cfg(target_os = "linux")]
    memory: Kept,
    #[cfg(target_os = "linux")]
    pressure: Kept,
    source: Option<MemSource>,
    groups: Option<Groups>,
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
            #[cfg(target_os = "linux")]
            memory: Kept::new(root.join("proc/meminfo")),
            #[cfg(target_os = "linux")]
            pressure: Kept::new(root.join("proc/pressure/memory")),
            source,
            groups: Groups::around(root),
        }
    }

    /// Reads what is wanted of it now.
    pub fn read(&mut self, wanted: HostWanted) -> HostReading {
        let groups = self.groups.as_mut().filter(|_| wanted.groups);
        let mut reading = HostReading {
            source: self.source,
            group: groups.and_then(nearest),
            ..HostReading::default()
        };
        match self.memory(wanted, &mut reading) {
            Ok(()) if reading.total_mib.is_none() || reading.avail_mib.is_none() => {
                let note = "the system does not say how much memory is left";
                reading.notes.push(note.into());
            }
            Ok(()) if self.source == Some(MemSource::Wsl2Vm) => {
                let note = "host memory is the WSL2 virtual machine's; Windows may have less";
                reading.notes.push(note.into());
            }
            Ok(()) => {}
            Err(why) => reading.notes.push(format!("no host memory reading: {why}")),
        }
        reading
    }

    #[cfg(target_os = "linux")]
    fn memory(&mut self, wanted: HostWanted, reading: &mut HostReading) -> Result<(), String> {
        if wanted.pressure {
            let pressure = self.pressure.read();
            reading.psi_full_avg10 = pressure.ok().and_then(|text| full_avg10(&text));
        }
        let text = self
            .memory
            .read()
            .map_err(|e| format!("{} cannot be read ({e})", self.memory.path().display()))?;
        reading.total_mib = meminfo(&text, "MemTotal:");
        reading.avail_mib = meminfo(&text, "MemAvailable:");
        reading.swap_total_mib = meminfo(&text, "SwapTotal:");
        reading.swap_free_mib = meminfo(&text, "SwapFree:");
        Ok(())
    }

    #[cfg(not(target_os = "linux"))]
    #[allow(clippy::unused_self, reason = "Linux reads files below its root")]
    fn memory(&mut self, _: HostWanted, reading: &mut HostReading) -> Result<(), String> {
        let memory = super::HostMemory::read().map_err(|e| e.to_string())?;
        reading.total_mib = Some(mib(memory.total));
        reading.avail_mib = Some(mib(memory.available));
        Ok(())
    }
}

/// The group that is nearest its limit, where one has a limit.
pub fn nearest(groups: &mut Groups) -> Option<GroupReading> {
    let share = |a: &Allowance| a.left as f64 / a.limit.max(1) as f64;
    let nearest = groups
        .limits()
        .min_by(|a, b| share(a).total_cmp(&share(b)))?;
    Some(GroupReading {
        limit_mib: mib(nearest.limit),
        held_mib: mib(nearest.limit.saturating_sub(nearest.left)),
    })
}

/// The share of the last ten seconds in which all tasks waited, from /proc/pressure/memory.
#[cfg(target_os = "linux")]
fn full_avg10(text: &str) -> Option<f64> {
    let line = text.lines().find_map(|l| l.strip_prefix("full "))?;
    let avg10 = line
        .split_ascii_whitespace()
        .find_map(|w| w.strip_prefix("avg10="));
    avg10?.parse().ok().filter(|x: &f64| x.is_finite())
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
        let r = HostPressure::new(linux.path()).read(HostWanted::ALL);
        assert_eq!((r.total_mib, r.avail_mib), (Some(64000.0), Some(2000.5)));
        assert_eq!((r.source, r.notes.len()), (Some(MemSource::Linux), 0));
        let wsl = root(&[
            ("proc/meminfo", text),
            ("proc/version", "Linux 6.6-microsoft-WSL2"),
        ]);
        let r = HostPressure::new(wsl.path()).read(HostWanted::ALL);
        assert_eq!((r.source, r.notes.len()), (Some(MemSource::Wsl2Vm), 1));
    }

    #[test]
    fn swap_pressure_and_the_control_group_are_read_too() {
        let dir = root(&[
            (
                "proc/meminfo",
                "MemTotal: 2048 kB\nSwapTotal: 4096 kB\nSwapFree: 1024 kB\n",
            ),
            (
                "proc/pressure/memory",
                "some avg10=9.00 avg60=0.00 avg300=0.00 total=1\n\
                 full avg10=2.50 avg60=0.00 avg300=0.00 total=1\n",
            ),
            ("proc/self/cgroup", "0::/a/b\n"),
            (
                "proc/self/mountinfo",
                "31 23 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
            ),
            ("sys/fs/cgroup/a/memory.max", "104857600\n"),
            (
                "sys/fs/cgroup/a/memory.stat",
                "anon 41943040\nfile 62914560\nshmem 10485760\n",
            ),
            ("sys/fs/cgroup/a/b/memory.max", "max\n"),
        ]);
        let r = HostPressure::new(dir.path()).read(HostWanted::ALL);
        assert_eq!((r.swap_total_mib, r.swap_free_mib), (Some(4.0), Some(1.0)));
        assert_eq!(r.psi_full_avg10, Some(2.5));
        // The page cache can be given back.
        let group = GroupReading {
            limit_mib: 100.0,
            held_mib: 50.0,
        };
        assert_eq!(r.group, Some(group));
        let little = HostPressure::new(dir.path()).read(HostWanted::default());
        assert_eq!((little.psi_full_avg10, little.group), (None, None));
        assert_eq!(little.swap_free_mib, Some(1.0));
        for text in [
            "",
            "full",
            "full avg10=",
            "full avg10=nan",
            "full avg10=inf",
            "some avg10=1",
        ] {
            assert_eq!(full_avg10(text), None, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_missing_with_its_reason() {
        let old = root(&[("proc/meminfo", "MemTotal: 100 kB\n")]);
        for (dir, total) in [(old, Some(100.0 / 1024.0)), (root(&[]), None)] {
            let r = HostPressure::new(dir.path()).read(HostWanted::ALL);
            assert_eq!((r.total_mib, r.avail_mib, r.notes.len()), (total, None, 1));
        }
    }
}
