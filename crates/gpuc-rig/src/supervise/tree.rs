//! Everything below one process, whatever group or session it has made its own.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use gpuc_core::safety::JobReading;
use gpuc_core::units::mib;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, SysconfVar, getpgrp, sysconf};

use super::pidfd::Process;

/// A process as `/proc` lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    pid: i32,
    parent: i32,
    group: i32,
    /// In clock ticks since the machine started: with the number, it names a process for good.
    started: u64,
    /// Pages in memory.
    resident: u64,
    /// A zombie does nothing any more, but its children are still its own.
    runs: bool,
}

impl Entry {
    fn of(stat: &str) -> Option<Self> {
        // The name stands in brackets and may hold anything, brackets and spaces included.
        let (head, rest) = stat.rsplit_once(')')?;
        let pid = head.split_once(' ')?.0.parse().ok()?;
        let mut fields = rest.split_ascii_whitespace();
        let state = fields.next()?;
        let (parent, group) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        // The 22nd and the 24th of all fields.
        let started = fields.nth(16)?.parse().ok()?;
        let resident = fields.nth(1)?.parse().unwrap_or(0);
        Some(Self {
            pid,
            parent,
            group,
            started,
            resident,
            runs: !matches!(state, "Z" | "X"),
        })
    }

    fn read(pid: &str) -> Option<Self> {
        // A process may change its name to bytes that are no text.
        // In one read: there may be thousands, and a line holds some 300 bytes.
        let mut stat = [0; 1024];
        let length = File::open(format!("/proc/{pid}/stat"))
            .and_then(|mut file| file.read(&mut stat))
            .ok()?;
        Self::of(&String::from_utf8_lossy(stat.get(..length)?))
    }

    /// A signal to this very process, not to one that has got its number since.
    fn signal(self, signal: Signal) {
        let Ok(process) = Process::open(self.pid) else {
            return;
        };
        let still = Self::read(&self.pid.to_string());
        if still.is_some_and(|now| now.started == self.started) {
            // Gone already, or not ours to signal: neither can be helped.
            let _ = process.signal(signal);
        }
    }
}

/// All processes below one, that one left out or not.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tree {
    root: i32,
    with_root: bool,
}

impl Tree {
    pub(super) fn below(root: Pid) -> Self {
        Self {
            root: root.as_raw(),
            with_root: false,
        }
    }

    /// All below this one, and it.
    pub(super) fn of(root: Pid) -> Self {
        Self {
            root: root.as_raw(),
            with_root: true,
        }
    }

    /// How many of them run.
    pub(super) fn running(self) -> usize {
        self.members(&all()).len()
    }

    /// The numbers of those that run, and what they hold in memory.
    pub(super) fn reading(self) -> JobReading {
        let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
        let page = page.and_then(|n| u64::try_from(n).ok()).unwrap_or(4096);
        let members = self.members(&listed(self.root).unwrap_or_else(all));
        let pages: u64 = members.iter().map(|e| e.resident).sum();
        JobReading {
            processes: Some(members.iter().map(|e| e.pid).collect()),
            numbers_are_the_hosts: numbers_are_the_hosts(),
            since_the_start: false,
            rss_mib: Some(mib(pages.saturating_mul(page))),
        }
    }

    fn members(self, all: &[Entry]) -> Vec<Entry> {
        let mut members = members(all, self.root);
        let root = all.iter().filter(|e| self.with_root && e.pid == self.root);
        members.extend(root.filter(|e| e.runs));
        members
    }

    /// A signal to each.
    pub(super) fn signal(self, signal: Signal) {
        for entry in self.members(&all()) {
            entry.signal(signal);
        }
    }

    /// A signal to those in one process group.
    pub(super) fn signal_group(self, group: Pid, signal: Signal) {
        let members = self.members(&all());
        for entry in members.iter().filter(|e| e.group == group.as_raw()) {
            entry.signal(signal);
        }
    }

    /// Kills each that is seen now. One forked in this moment is not: go on until none is left.
    pub(super) fn kill(self) {
        let all = all();
        let members = self.members(&all);
        // A group is killed in one stroke, however fast it forks; but only one that is all ours.
        let ours: HashSet<i32> = members.iter().map(|e| e.pid).collect();
        let mut groups: HashMap<i32, bool> = HashMap::new();
        for entry in all.iter().filter(|e| e.runs) {
            *groups.entry(entry.group).or_insert(true) &= ours.contains(&entry.pid);
        }
        for (group, whole) in groups {
            if whole && group > 1 && group != getpgrp().as_raw() {
                let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
            }
        }
        for entry in members {
            entry.signal(Signal::SIGKILL);
        }
    }
}

/// Whether processes have the numbers here that they have for the machine's kernel and its drivers.
fn numbers_are_the_hosts() -> bool {
    // The first namespace has this number in every kernel.
    const FIRST: &str = "pid:[4026531836]";
    fs::read_link("/proc/self/ns/pid").is_ok_and(|ns| ns.as_os_str() == FIRST)
}

fn all() -> Vec<Entry> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|e| e.ok()?.file_name().into_string().ok())
        .filter(|name| name.bytes().all(|b| b.is_ascii_digit()))
        .filter_map(|pid| Entry::read(&pid))
        .collect()
}

/// The root and all below it, by the lists of each thread's children, where the kernel keeps them.
/// It asks about the tree alone and not about the whole machine, but may miss one whose sibling
/// ends just now: enough to count by, not to kill by.
fn listed(root: i32) -> Option<Vec<Entry>> {
    let children = |thread: &Path| fs::read_to_string(thread.join("children"));
    children(Path::new(&format!("/proc/{root}/task/{root}"))).ok()?;
    let mut all = vec![Entry::read(&root.to_string())?];
    let mut seen = HashSet::from([root]);
    let mut open = vec![root];
    while let Some(pid) = open.pop() {
        let threads = fs::read_dir(format!("/proc/{pid}/task"));
        for thread in threads.into_iter().flatten().flatten() {
            let list = children(&thread.path()).unwrap_or_default();
            for child in list.split_ascii_whitespace() {
                if let Some(entry) = Entry::read(child).filter(|e| seen.insert(e.pid)) {
                    open.push(entry.pid);
                    all.push(entry);
                }
            }
        }
    }
    Some(all)
}

/// Those below the root that run.
fn members(all: &[Entry], root: i32) -> Vec<Entry> {
    let mut children: HashMap<i32, Vec<&Entry>> = HashMap::new();
    for entry in all {
        children.entry(entry.parent).or_default().push(entry);
    }
    let mut out = Vec::new();
    let mut open = vec![root];
    while let Some(pid) = open.pop() {
        // Taken out, so that a listing that was read while it changed cannot lead in circles.
        for entry in children.remove(&pid).unwrap_or_default() {
            open.push(entry.pid);
            if entry.runs && entry.pid != root {
                out.push(*entry);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(pid: i32, parent: i32, runs: bool) -> Entry {
        Entry {
            pid,
            parent,
            group: pid,
            started: 1,
            resident: 1,
            runs,
        }
    }

    #[test]
    fn stat_lines() {
        let tail = "-1 0 0 0 0 0 0 0 0 0 20 0 1 0 777 4096 55 0";
        let line = |head: &str| Entry::of(&format!("{head} 77 9 0 {tail}"));
        let e = line("42 (a) Z) R 5").unwrap();
        assert_eq!((e.pid, e.parent, e.group, e.runs), (42, 5, 77, true));
        assert_eq!((e.started, e.resident), (777, 55));
        assert!(!line("42 (sleep) Z 5").unwrap().runs);
        for bad in ["", "42", "42 (x)", "x (y) R 1 2 3"] {
            assert_eq!(Entry::of(bad), None, "{bad}");
        }
    }

    #[test]
    fn both_ways_find_the_same_processes() {
        let child = || {
            let mut sleep = std::process::Command::new("sh");
            sleep
                .args(["-c", "sleep 100 & sleep 100 & wait"])
                .spawn()
                .unwrap()
        };
        // One of another thread than the one that is asked about.
        let mut children = [child(), std::thread::spawn(child).join().unwrap()];
        let me = i32::try_from(std::process::id()).unwrap();
        let below = |pid: u32| {
            let root = i32::try_from(pid).unwrap();
            let pids = |entries: Vec<Entry>| -> HashSet<_> {
                members(&entries, root).iter().map(|e| e.pid).collect()
            };
            (listed(root).map(pids), pids(all()))
        };
        if listed(me).is_none() {
            println!("skipped: this kernel keeps no lists of children");
        }
        for child in &mut children {
            while below(child.id()).1.len() < 2 {
                std::thread::yield_now();
            }
            let (told, scanned) = below(child.id());
            assert!(told.is_none_or(|told| told == scanned));
            let all = listed(me);
            let pid = i32::try_from(child.id()).unwrap();
            assert!(all.is_none_or(|all| all.iter().any(|e| e.pid == pid)));
            Tree::below(Pid::from_raw(pid)).kill();
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    #[test]
    fn a_tree_goes_through_zombies_and_ends_in_circles() {
        let all = [
            entry(2, 1, true),
            entry(3, 2, false),
            entry(4, 3, true),
            entry(9, 1, true),
            entry(5, 4, true),
            entry(6, 7, true),
            entry(7, 6, true),
        ];
        let pids = |root| {
            let mut pids: Vec<i32> = members(&all, root).iter().map(|e| e.pid).collect();
            pids.sort_unstable();
            pids
        };
        assert_eq!(pids(2), [4, 5]);
        assert_eq!(pids(6), [7]);
        assert!(pids(100).is_empty());
    }
}
