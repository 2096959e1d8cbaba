//! How RAM is laid out: memory nodes and huge pages.

use std::fs;
use std::path::Path;

/// Memory close to a set of processors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its number.
    pub number: u32,
    /// Its processors, such as "0-15,32-47".
    pub cpus: String,
    /// Its memory in all, bytes.
    pub total: u64,
    /// Its memory that nothing is in, bytes; the page cache counts as something.
    pub free: u64,
}

/// Pages of one size that are set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HugePages {
    /// Size of a page, bytes.
    pub size: u64,
    /// Pages set aside.
    pub total: u64,
    /// Pages of them that are free.
    pub free: u64,
}

/// The memory nodes that the kernel lists below `root`, by number.
pub fn nodes(root: &Path) -> Vec<Node> {
    let mut nodes: Vec<Node> = numbered(&root.join("sys/devices/system/node"), "node", "")
        .filter_map(|(number, folder)| {
            let meminfo = fs::read_to_string(folder.join("meminfo")).ok()?;
            // "Node 0 MemTotal:       24689764 kB"
            let bytes = |key: &str| {
                let line = meminfo.lines().find(|l| l.contains(key))?;
                let kib = line.split_ascii_whitespace().rev().nth(1)?;
                kib.parse::<u64>().ok()?.checked_mul(1024)
            };
            Some(Node {
                number: number.try_into().ok()?,
                cpus: trimmed(&folder.join("cpulist")),
                total: bytes("MemTotal:")?,
                free: bytes("MemFree:")?,
            })
        })
        .collect();
    nodes.sort_by_key(|n| n.number);
    nodes
}

/// The huge pages that the kernel lists below `root`, smallest first.
pub fn huge_pages(root: &Path) -> Vec<HugePages> {
    let folder = root.join("sys/kernel/mm/hugepages");
    let mut pages: Vec<HugePages> = numbered(&folder, "hugepages-", "kB")
        .filter_map(|(kib, folder)| {
            let count = |file| trimmed(&folder.join(file)).parse().ok();
            Some(HugePages {
                size: kib.checked_mul(1024)?,
                total: count("nr_hugepages")?,
                free: count("free_hugepages")?,
            })
        })
        .collect();
    pages.sort_by_key(|p| p.size);
    pages
}

/// "always", "madvise" or "never": whether the kernel makes huge pages by itself.
pub fn transparent_huge_pages(root: &Path) -> Option<String> {
    let modes = trimmed(&root.join("sys/kernel/mm/transparent_hugepage/enabled"));
    let (_, rest) = modes.split_once('[')?;
    let (mode, _) = rest.split_once(']')?;
    Some(mode.into())
}

fn trimmed(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.trim().to_owned()
}

/// The entries of a folder that are a number between these two, with their paths.
fn numbered(
    folder: &Path,
    before: &'static str,
    after: &'static str,
) -> impl Iterator<Item = (u64, std::path::PathBuf)> {
    fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(move |entry| {
            let name = entry.file_name().into_string().ok()?;
            let number = name.strip_prefix(before)?.strip_suffix(after)?;
            Some((number.parse().ok()?, entry.path()))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_lists() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        for (node, cpus) in [(1, "2-3"), (0, "0-1"), (10, "")] {
            let folder = format!("sys/devices/system/node/node{node}");
            put(&format!("{folder}/cpulist"), &format!("{cpus}\n"));
            put(
                &format!("{folder}/meminfo"),
                &format!("Node {node} MemTotal:  2048 kB\nNode {node} MemFree:  1024 kB\n"),
            );
        }
        put("sys/devices/system/node/possible", "0-1");
        let found = nodes(root.path());
        let numbers: Vec<u32> = found.iter().map(|n| n.number).collect();
        assert_eq!(numbers, [0, 1, 10]);
        assert_eq!(
            (found[1].total, found[1].free, &*found[1].cpus),
            (2 << 20, 1 << 20, "2-3")
        );

        put(
            "sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages",
            "2\n",
        );
        put(
            "sys/kernel/mm/hugepages/hugepages-1048576kB/free_hugepages",
            "1\n",
        );
        put(
            "sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages",
            "0\n",
        );
        put(
            "sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages",
            "0\n",
        );
        let pages = huge_pages(root.path());
        assert_eq!(
            (pages[0].size, pages[1].size, pages[1].total),
            (2 << 20, 1 << 30, 2)
        );
        put(
            "sys/kernel/mm/transparent_hugepage/enabled",
            "always [madvise] never\n",
        );
        assert_eq!(
            transparent_huge_pages(root.path()).as_deref(),
            Some("madvise")
        );
        let nowhere = Path::new("/nonexistent");
        assert!(nodes(nowhere).is_empty() && huge_pages(nowhere).is_empty());
        assert_eq!(transparent_huge_pages(nowhere), None);
    }
}
