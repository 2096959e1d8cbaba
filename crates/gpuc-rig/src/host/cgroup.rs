//! What the control groups around this process still allow it to use of RAM (Linux, v1 and v2).
//!
//! The page cache does not count as used: it is given back under pressure, and a model read through
//! a mapping fills it. Anonymous memory and shared memory do count.

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use super::kept::Kept;

/// How long a limit is taken to stay as it was read: it is set by hand.
const SETTLED: Duration = Duration::from_secs(1);

/// The tightest limit on the way from our own group to the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// The limit itself, bytes.
    pub limit: u64,
    /// What is left of it, bytes.
    pub left: u64,
}

/// The control groups that may limit memory, from one to the root of their tree.
#[derive(Debug)]
pub struct Groups {
    levels: Vec<Level>,
}

impl Groups {
    /// Those around this process; `root` is `/`, but for tests.
    pub fn around(root: &Path) -> Option<Self> {
        let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
        let mounts = fs::read_to_string(root.join("proc/self/mountinfo")).ok()?;
        let (version, group) = own_group(&groups)?;
        let mount = mounts.lines().find_map(|line| parse_mount(line, version))?;
        let top = root.join(mount.point.strip_prefix("/").ok()?);
        let group = Path::new(group);
        // Inside a container the mount may show a part of the tree only, or be that group itself.
        let below = group.strip_prefix(&mount.root).ok().filter(|p| {
            p.components()
                .all(|c| matches!(c, Component::Normal(_) | Component::RootDir))
        });
        let own = match below {
            Some(below) => top.join(below.strip_prefix("/").unwrap_or(below)),
            None => top.clone(),
        };
        let folders = own.ancestors().take_while(|level| level.starts_with(&top));
        Some(Self {
            levels: folders.map(|folder| Level::of(version, folder)).collect(),
        })
    }

    /// One group of version 2 and none above it.
    pub fn only(folder: &Path) -> Self {
        Self {
            levels: vec![Level::of(Version::Two, folder)],
        }
    }

    /// The limits in force now, and what they leave.
    pub fn limits(&mut self) -> impl Iterator<Item = Allowance> {
        self.levels.iter_mut().filter_map(Level::allowance)
    }
}

/// What this process's memory groups leave it, or nothing where none limits it.
///
/// `root` is `/`, but for tests.
pub fn allowance(root: &Path) -> Option<Allowance> {
    Groups::around(root)?.limits().min_by_key(|a| a.left)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// The hierarchy that controls memory and our place in it, from /proc/self/cgroup.
fn own_group(groups: &str) -> Option<(Version, &str)> {
    let mut second = None;
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (id, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        if controllers.split(',').any(|c| c == "memory") {
            return Some((Version::One, path));
        }
        if id == "0" && controllers.is_empty() {
            second = Some((Version::Two, path));
        }
    }
    second
}

struct Mount {
    root: PathBuf,
    point: PathBuf,
}

/// A line of /proc/self/mountinfo, when it mounts the hierarchy that is wanted.
fn parse_mount(line: &str, version: Version) -> Option<Mount> {
    let (front, back) = line.split_once(" - ")?;
    let mut front = front.split(' ').skip(3);
    let (root, point) = (front.next()?, front.next()?);
    let mut back = back.split(' ');
    let (kind, options) = (back.next()?, back.nth(1).unwrap_or(""));
    let wanted = match version {
        Version::One => kind == "cgroup" && options.split(',').any(|o| o == "memory"),
        Version::Two => kind == "cgroup2",
    };
    wanted.then(|| Mount {
        root: unescape(root).into(),
        point: unescape(point).into(),
    })
}

/// Spaces and the like are written as `\040`.
fn unescape(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        let code = after
            .get(..3)
            .and_then(|octal| u8::from_str_radix(octal, 8).ok());
        if let Some(code) = code {
            out.push(char::from(code));
            rest = after.get(3..).unwrap_or("");
        } else {
            out.push('\\');
            rest = after;
        }
    }
    out + rest
}

/// One group on the way.
#[derive(Debug)]
struct Level {
    version: Version,
    limits: Vec<Kept>,
    stat: Kept,
    in_use: Kept,
    /// The limit, if there is one, and when that was read.
    limit: Option<(Instant, Option<u64>)>,
}

impl Level {
    fn of(version: Version, folder: &Path) -> Self {
        let kept = |name: &&str| Kept::new(folder.join(name));
        let (limits, in_use): (&[&str], _) = match version {
            Version::One => (&["memory.limit_in_bytes"], "memory.usage_in_bytes"),
            // Above `memory.high` a group is slowed to a crawl.
            Version::Two => (&["memory.max", "memory.high"], "memory.current"),
        };
        Self {
            version,
            limits: limits.iter().map(kept).collect(),
            stat: kept(&"memory.stat"),
            in_use: kept(&in_use),
            limit: None,
        }
    }

    fn allowance(&mut self) -> Option<Allowance> {
        let limit = self.limit()?;
        let held = self
            .stat
            .read()
            .ok()
            .and_then(|stat| self.version.held(&stat))
            .or_else(|| self.in_use.number());
        Some(Allowance {
            limit,
            left: limit.saturating_sub(held.unwrap_or(0)),
        })
    }

    fn limit(&mut self) -> Option<u64> {
        match self.limit {
            Some((read, limit)) if read.elapsed() < SETTLED => limit,
            _ => {
                // "max" is no number, so no limit; version 1 writes the largest multiple of a page.
                let limits = self.limits.iter_mut().filter_map(Kept::number);
                let limit = limits.min().filter(|limit| *limit < 1 << 62);
                self.limit = Some((Instant::now(), limit));
                limit
            }
        }
    }
}

impl Version {
    /// Bytes that cannot be given back without swapping, from memory.stat.
    fn held(self, stat: &str) -> Option<u64> {
        let value = |key: &str| {
            stat.lines()
                .find_map(|l| l.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
        };
        let (anonymous, shared) = match self {
            Self::One => ("total_rss", "total_shmem"),
            Self::Two => ("anon", "shmem"),
        };
        let anonymous: u64 = value(anonymous)?;
        Some(anonymous.saturating_add(value(shared).unwrap_or(0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V2_MOUNT: &str = "31 23 0:27 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n";

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn the_tightest_ancestor_counts() {
        let root = tree(&[
            ("proc/self/cgroup", "0::/user.slice/job\n"),
            ("proc/self/mountinfo", V2_MOUNT),
            ("sys/fs/cgroup/user.slice/memory.max", "8000\n"),
            (
                "sys/fs/cgroup/user.slice/memory.stat",
                "anon 7000\nfile 900\nshmem 100\n",
            ),
            ("sys/fs/cgroup/user.slice/job/memory.max", "2000\n"),
            (
                "sys/fs/cgroup/user.slice/job/memory.stat",
                "anon 10\nfile 1900\n",
            ),
        ]);
        // The job's own group would leave 1990; the slice around it leaves 900.
        assert_eq!(
            allowance(root.path()),
            Some(Allowance {
                limit: 8000,
                left: 900
            })
        );
    }

    #[test]
    fn page_cache_is_not_used_memory() {
        let root = tree(&[
            ("proc/self/cgroup", "0::/\n"),
            ("proc/self/mountinfo", V2_MOUNT),
            ("sys/fs/cgroup/memory.max", "max\n"),
            ("sys/fs/cgroup/memory.high", "4096\n"),
            ("sys/fs/cgroup/memory.current", "4096\n"),
            ("sys/fs/cgroup/memory.stat", "anon 1024\nfile 3072\n"),
        ]);
        assert_eq!(
            allowance(root.path()),
            Some(Allowance {
                limit: 4096,
                left: 3072
            })
        );
    }

    #[test]
    fn version_one_with_the_host_path_seen_from_a_container() {
        let root = tree(&[
            ("proc/self/cgroup", "4:memory:/docker/abc\n0::/\n"),
            (
                "proc/self/mountinfo",
                "40 30 0:29 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
            ),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "1000\n"),
            (
                "sys/fs/cgroup/memory/memory.stat",
                "rss 1\ntotal_rss 300\ntotal_cache 600\n",
            ),
        ]);
        assert_eq!(
            allowance(root.path()),
            Some(Allowance {
                limit: 1000,
                left: 700
            })
        );
    }

    #[test]
    fn without_limits_or_files_there_is_no_allowance() {
        let unlimited = "9223372036854771712\n";
        let none = [
            tree(&[]),
            tree(&[
                ("proc/self/cgroup", "0::/a\n"),
                ("proc/self/mountinfo", V2_MOUNT),
            ]),
            tree(&[
                ("proc/self/cgroup", "4:cpu,memory:/\n"),
                (
                    "proc/self/mountinfo",
                    "40 30 0:29 / /cg\\040m rw - cgroup x rw,cpu,memory\n",
                ),
                ("cg m/memory.limit_in_bytes", unlimited),
            ]),
            tree(&[
                ("proc/self/cgroup", "nonsense"),
                ("proc/self/mountinfo", "a b - c\n"),
            ]),
        ];
        for root in none {
            assert_eq!(allowance(root.path()), None);
        }
    }

    #[test]
    fn a_path_outside_the_mount_falls_back_to_the_mount() {
        let root = tree(&[
            ("proc/self/cgroup", "0::/../../elsewhere\n"),
            ("proc/self/mountinfo", V2_MOUNT),
            ("sys/fs/cgroup/memory.max", "500\n"),
            ("sys/fs/cgroup/memory.current", "200\n"),
        ]);
        assert_eq!(
            allowance(root.path()),
            Some(Allowance {
                limit: 500,
                left: 300
            })
        );
    }
}
