//! A control group of the job's own, where the system lets us make one (version 2).
//!
//! It kills a whole tree in one stroke and can limit its memory; everything works without it too.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use gpuc_core::error::{Code, Coded};
use nix::libc;

/// A group made for one job.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
    aside: Option<Aside>,
}

/// Why there is no group.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// No version 2 hierarchy, or none that we are in.
    #[error("there is no cgroup v2 hierarchy here")]
    NoHierarchy,
    /// The system does not let us.
    #[error("{path} cannot be made or used")]
    Refused {
        /// What was tried.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl Coded for CgroupError {
    fn code(&self) -> Code {
        Code::DepMissing
    }
    fn hint(&self) -> Option<String> {
        Some(
            "a memory limit needs a delegated group with nothing but the watchdog in it, as \
             systemd-run --user --scope -p Delegate=yes gives it"
                .to_owned(),
        )
    }
}

impl Cgroup {
    /// Makes one below our own, with a limit of memory in bytes if there is to be one. `root` is
    /// `/`, but for tests.
    pub fn make(root: &Path, memory_max: Option<u64>) -> Result<Self, CgroupError> {
        let home = home(root).ok_or(CgroupError::NoHierarchy)?;
        let path = home.join(format!("gpuc-watchdog-{}", std::process::id()));
        let aside = memory_max.and_then(|_| Aside::limiting(&home));
        let made = make(&path)
            .map_err(|source| CgroupError::Refused {
                path: path.clone(),
                source,
            })
            .and_then(|()| Self::adopt(path, memory_max));
        match made {
            Ok(group) => Ok(Self { aside, ..group }),
            Err(e) => {
                if let Some(aside) = aside {
                    aside.leave();
                }
                Err(e)
            }
        }
    }

    pub(super) fn adopt(path: PathBuf, memory_max: Option<u64>) -> Result<Self, CgroupError> {
        let open = || {
            if let Some(bytes) = memory_max {
                existing(&path.join("memory.max"))?.write_all(bytes.to_string().as_bytes())?;
            }
            existing(&path.join("cgroup.kill"))?;
            existing(&path.join("cgroup.procs"))
        };
        match open() {
            Ok(_) => Ok(Self { path, aside: None }),
            Err(source) => {
                let _ = fs::remove_dir(&path);
                Err(CgroupError::Refused { path, source })
            }
        }
    }

    /// The folder, for the kernel to know the group by.
    pub(super) fn open(&self) -> io::Result<File> {
        let mut how = File::options();
        how.read(true).custom_flags(libc::O_DIRECTORY);
        how.open(&self.path)
    }

    /// Moves this process into the group; refused, it stays outside, where it is held by its parent
    /// all the same.
    pub(super) fn enter(&self) {
        let _ = enter(&self.path);
    }

    /// Kills all in it.
    pub(super) fn kill(&self) {
        if let Ok(mut file) = existing(&self.path.join("cgroup.kill")) {
            let _ = file.write_all(b"1");
        }
    }

    /// Takes it away, once it is empty, and what was made for its sake.
    pub(super) fn remove(&self) {
        let _ = fs::remove_dir(&self.path);
        if let Some(aside) = &self.aside {
            aside.leave();
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A group for ourselves beside the job's: a group that limits the memory of those below it can
/// have no processes of its own
/// (<https://docs.kernel.org/admin-guide/cgroup-v2.html#no-internal-process-constraint>).
#[derive(Debug)]
struct Aside {
    home: PathBuf,
    path: PathBuf,
}

impl Aside {
    /// Lets the groups below `home`, which we are in, have limits of memory; steps aside where that
    /// is the only way.
    fn limiting(home: &Path) -> Option<Self> {
        let enable = || limit_below(home, "+memory");
        // Refused for another reason: what counts is whether the limit can be written.
        if enable().err()?.raw_os_error() != Some(libc::EBUSY) {
            return None;
        }
        let aside = Self {
            home: home.to_owned(),
            path: home.join(format!("gpuc-watchdog-{}-self", std::process::id())),
        };
        make(&aside.path).ok()?;
        let moved = enter(&aside.path).and_then(|()| enable());
        if moved.is_err() {
            // Others are in there too.
            aside.leave();
            return None;
        }
        Some(aside)
    }

    /// Back to where this process came from.
    fn leave(&self) {
        let _ = limit_below(&self.home, "-memory");
        let _ = enter(&self.home);
        let _ = fs::remove_dir(&self.path);
    }
}

fn limit_below(group: &Path, what: &str) -> io::Result<()> {
    existing(&group.join("cgroup.subtree_control"))?.write_all(what.as_bytes())
}

/// Moves this process into a group.
fn enter(group: &Path) -> io::Result<()> {
    existing(&group.join("cgroup.procs"))?.write_all(b"0")
}

fn make(group: &Path) -> io::Result<()> {
    match fs::create_dir(group) {
        // Left by a watchdog of the same number that was killed.
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

fn existing(path: &Path) -> io::Result<File> {
    File::options().write(true).open(path)
}

/// The folder of the group that we are in.
fn home(root: &Path) -> Option<PathBuf> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let mounts = fs::read_to_string(root.join("proc/self/mountinfo")).ok()?;
    let own = groups.lines().find_map(|l| l.strip_prefix("0::"))?;
    let (top, point) = mounts.lines().find_map(|line| {
        let (front, back) = line.split_once(" - ")?;
        let mut fields = front.split(' ').skip(3);
        let found = (fields.next()?, fields.next()?);
        back.starts_with("cgroup2 ").then_some(found)
    })?;
    let below = Path::new(own).strip_prefix(top).ok()?;
    Some(root.join(point.trim_start_matches('/')).join(below))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, name: &str, text: &str) {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn our_own_group_is_found_where_version_two_is_mounted() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        assert!(matches!(
            Cgroup::make(root, None),
            Err(CgroupError::NoHierarchy)
        ));
        write(root, "proc/self/cgroup", "4:memory:/x\n0::/user/a.scope\n");
        let v1 = "30 29 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        write(root, "proc/self/mountinfo", v1);
        assert_eq!(home(root), None);
        let v2 = "31 29 0:27 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n";
        write(root, "proc/self/mountinfo", &format!("{v1}{v2}"));
        assert_eq!(home(root), Some(root.join("sys/fs/cgroup/user/a.scope")));
        let inner = "31 29 0:27 /user /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        write(root, "proc/self/mountinfo", inner);
        assert_eq!(home(root), Some(root.join("sys/fs/cgroup/a.scope")));
        // The folder of the group is not there, or is no control group.
        let refused = |e| matches!(e, Err(CgroupError::Refused { .. }));
        assert!(refused(Cgroup::make(root, None)));
        fs::create_dir_all(root.join("sys/fs/cgroup/a.scope")).unwrap();
        assert!(refused(Cgroup::make(root, None)));
        assert_eq!(
            fs::read_dir(root.join("sys/fs/cgroup/a.scope"))
                .unwrap()
                .count(),
            0
        );
    }

    #[test]
    fn a_limit_that_cannot_be_set_is_an_error_and_one_that_can_is_set() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["cgroup.kill", "cgroup.procs"] {
            write(dir.path(), name, "");
        }
        let path = dir.path().to_owned();
        let e = Cgroup::adopt(path.clone(), Some(1 << 30)).unwrap_err();
        assert_eq!(e.code(), Code::DepMissing);
        assert!(e.hint().is_some());
        write(dir.path(), "memory.max", "");
        let group = Cgroup::adopt(path, Some(1 << 30)).unwrap();
        let max = fs::read_to_string(dir.path().join("memory.max")).unwrap();
        assert_eq!(max, "1073741824");
        group.kill();
        let kill = fs::read_to_string(dir.path().join("cgroup.kill")).unwrap();
        assert_eq!(kill, "1");
    }
}
