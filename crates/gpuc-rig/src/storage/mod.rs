//! How fast the drive reads, by fio: large reads in order and small ones one at a time.
//!
//! The second is what weights streamed from disk meet. Reads go past the page cache or not at all,
//! and only where they reach a drive. The test file is removed whatever happens.

#[cfg(unix)]
mod fio;
mod mount;
mod report;

use std::path::{Path, PathBuf};

pub use mount::Mount;
pub use report::Pass;

use crate::nvidia::Reading;

/// What is measured, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Size of the test file, bytes.
    pub bytes: u64,
    /// Seconds that each pass is timed.
    pub seconds: u64,
    /// Seconds that each pass runs before it is timed.
    pub ramp: u64,
}

impl Load {
    /// A file of this size, timed for so long after a ramp of two seconds, less for short passes.
    pub fn new(bytes: u64, seconds: u64) -> Self {
        Self {
            bytes,
            seconds,
            ramp: seconds.div_ceil(4).min(2),
        }
    }
}

/// One of the two passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// 256 KiB in order, 64 at a time.
    Sequential,
    /// 4 KiB anywhere, one at a time.
    Random,
}

/// What was found about a folder's drive.
#[derive(Debug, Clone, PartialEq)]
pub struct Drive {
    /// The folder.
    pub folder: PathBuf,
    /// What it is mounted from.
    pub mount: Option<Mount>,
    /// Reads in order.
    pub sequential: Reading<Pass>,
    /// Reads one at a time.
    pub random: Reading<Pass>,
}

/// A folder whose drive can be measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ground {
    folder: PathBuf,
    mount: Option<Mount>,
}

impl Ground {
    /// Looks at a folder, or says why its drive cannot be measured honestly.
    pub fn survey(folder: &Path) -> Result<Self, String> {
        let folder =
            std::path::absolute(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        // Links lead elsewhere; what does not exist yet will be where its parent is.
        let real = folder
            .ancestors()
            .find_map(|part| {
                let real = std::fs::canonicalize(part).ok()?;
                let rest = folder.strip_prefix(part).ok()?;
                // Joining nothing would still add a slash.
                Some(real.join(rest).components().collect())
            })
            .unwrap_or_else(|| folder.clone());
        let table = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let mount = mount::holding(&table, &real);
        for path in [&folder, &real] {
            if let Some(why) = mount::objection(path, mount.as_ref()) {
                return Err(why);
            }
        }
        Ok(Self {
            folder: real,
            mount,
        })
    }

    /// Measures it. `begun` is told of each pass as it begins; nothing more is begun and fio is
    /// stopped as soon as `stop` says so.
    #[cfg(unix)]
    pub fn measure(
        self,
        load: Load,
        begun: &mut dyn FnMut(Kind),
        stop: &dyn Fn() -> bool,
    ) -> Result<Drive, String> {
        let (sequential, random) = fio::passes(&self.folder, load, begun, stop)?;
        Ok(Drive {
            folder: self.folder,
            mount: self.mount,
            sequential,
            random,
        })
    }

    /// Only Unix has the tool and the library that it reads with.
    #[cfg(not(unix))]
    pub fn measure(
        self,
        _: Load,
        _: &mut dyn FnMut(Kind),
        _: &dyn Fn() -> bool,
    ) -> Result<Drive, String> {
        Err("drives are measured on Linux only".into())
    }
}

/// The folder to measure: the one given, else `$GPU_CONTAINER_BENCH_DIR`, else /bench.
pub fn folder(given: Option<&Path>) -> Result<PathBuf, String> {
    if let Some(given) = given.filter(|p| !p.as_os_str().is_empty()) {
        return Ok(given.into());
    }
    if let Some(set) = std::env::var_os("GPU_CONTAINER_BENCH_DIR").filter(|v| !v.is_empty()) {
        return Ok(set.into());
    }
    let usual = Path::new("/bench");
    if usual.is_dir() {
        return Ok(usual.into());
    }
    Err(
        "no folder for it was named: give --bench-dir, or mount a drive's folder at /bench (docker \
         run -v /srv/models:/bench)"
            .into(),
    )
}
