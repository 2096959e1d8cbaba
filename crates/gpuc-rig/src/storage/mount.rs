//! Which filesystem a folder is on, and whether a benchmark there would be honest.

use std::path::{Component, Path, PathBuf};

/// Filesystems that pass reads on to another one or to RAM: a rate measured on them is not the
/// drive's.
const DISHONEST: [&str; 8] = [
    "overlay",
    "overlayfs",
    "9p",
    "v9fs",
    "drvfs",
    "fuse.drvfs",
    "tmpfs",
    "ramfs",
];

/// A mounted filesystem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where it is mounted.
    pub point: PathBuf,
    /// Its type, such as "ext4".
    pub kind: String,
    /// What is mounted, such as "/dev/nvme0n1p2".
    pub device: String,
}

/// The mount that holds `path`, by the kernel's table of mounts.
pub(super) fn holding(table: &str, path: &Path) -> Option<Mount> {
    let mut best: Option<Mount> = None;
    for line in table.lines() {
        let mut fields = line.split_ascii_whitespace().map(unescaped);
        let (Some(device), Some(point), Some(kind)) = (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let point = PathBuf::from(point);
        // Of two on one point the later one hides the earlier.
        let closer = best
            .as_ref()
            .is_none_or(|b| point.components().count() >= b.point.components().count());
        if path.starts_with(&point) && closer {
            best = Some(Mount {
                point,
                kind,
                device,
            });
        }
    }
    best
}

/// The table writes a space in a path as `\040`.
fn unescaped(field: &str) -> String {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let digits = tail.get(..3).filter(|_| *first == b'\\');
        let code = digits
            .and_then(|d| std::str::from_utf8(d).ok())
            .and_then(|d| u8::from_str_radix(d, 8).ok());
        if let Some(byte) = code {
            out.push(byte);
            rest = tail.get(3..).unwrap_or_default();
        } else {
            out.push(*first);
            rest = tail;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Why a rate measured there would not be the drive's, if so.
pub(super) fn objection(path: &Path, mount: Option<&Mount>) -> Option<String> {
    if let Some(mount) = mount
        && DISHONEST.contains(&mount.kind.to_ascii_lowercase().as_str())
    {
        let instead = if mount.kind.starts_with("overlay") {
            "in a container, give it a folder of the drive, such as docker run -v /srv/models:/bench"
        } else {
            "name a folder on ext4 or another filesystem of a drive"
        };
        return Some(format!(
            "{} is on {} (mounted at {}), where reads do not show what the drive can do; {instead}",
            path.display(),
            mount.kind,
            mount.point.display()
        ));
    }
    is_windows_drive(path).then(|| {
        format!(
            "{} is a Windows drive, which is reached through another system and many times slower; \
             name a folder on a filesystem of Linux's own",
            path.display()
        )
    })
}

/// `/mnt/c` and what is below it.
fn is_windows_drive(path: &Path) -> bool {
    let mut parts = path.components();
    let names = [parts.next(), parts.next(), parts.next()];
    matches!(
        names,
        [Some(Component::RootDir), Some(Component::Normal(mnt)), Some(Component::Normal(drive))]
            if mnt == "mnt"
                && drive.len() == 1
                && drive.as_encoded_bytes().iter().all(u8::is_ascii_alphabetic)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
/dev/sda1 / ext4 rw 0 0
overlay /var/lib overlay rw 0 0
C:\\134 /mnt/c 9p rw 0 0
/dev/nvme0n1 /mnt/fast ext4 rw 0 0
/dev/nvme1n1 /with\\040space xfs rw 0 0
tmpfs /dev/shm tmpfs rw 0 0
/dev/old /twice ext3 rw 0 0
/dev/new /twice btrfs rw 0 0
broken
";

    #[test]
    fn the_longest_and_latest_mount_counts() {
        let cases = [
            ("/home/me", "/", "ext4"),
            ("/var/lib/docker", "/var/lib", "overlay"),
            ("/var/library", "/", "ext4"),
            ("/mnt/c/Users", "/mnt/c", "9p"),
            ("/with space/x", "/with space", "xfs"),
            ("/twice", "/twice", "btrfs"),
        ];
        for (path, point, kind) in cases {
            let mount = holding(TABLE, Path::new(path)).unwrap();
            assert_eq!(
                (mount.point, &*mount.kind),
                (PathBuf::from(point), kind),
                "{path}"
            );
        }
        assert_eq!(holding("", Path::new("/")), None);
    }

    #[test]
    fn where_a_rate_would_not_be_the_drives() {
        let refused = [
            "/var/lib/x",
            "/mnt/c",
            "/mnt/c/bench",
            "/mnt/D/bench",
            "/dev/shm",
        ];
        for path in refused {
            let path = Path::new(path);
            assert!(
                objection(path, holding(TABLE, path).as_ref()).is_some(),
                "{path:?}"
            );
        }
        for path in ["/home", "/mnt/fast", "/mnt/cc/x", "/mnt/1", "/with space/x"] {
            let path = Path::new(path);
            assert_eq!(
                objection(path, holding(TABLE, path).as_ref()),
                None,
                "{path:?}"
            );
        }
        assert!(objection(Path::new("/mnt/e/x"), None).is_some());
    }
}
