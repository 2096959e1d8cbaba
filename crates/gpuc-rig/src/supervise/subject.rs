//! A process that ran before us: read with all below it, and never signalled.

use std::io;
use std::os::fd::BorrowedFd;

use gpuc_core::safety::JobReading;
use nix::errno::Errno;
use nix::unistd::Pid;

use super::pidfd::Process;
use super::tree::Tree;

/// Such a process. A later one of its number is never meant.
#[derive(Debug)]
pub struct Subject {
    pid: Pid,
    process: Process,
}

impl Subject {
    /// Takes hold of one that runs.
    pub fn open(pid: i32) -> io::Result<Self> {
        let process = Process::hold(pid)?;
        // A zombie still has its number.
        if process.has_ended() {
            return Err(Errno::ESRCH.into());
        }
        Ok(Self {
            pid: Pid::from_raw(pid),
            process,
        })
    }

    /// Its number.
    pub fn number(&self) -> i32 {
        self.pid.as_raw()
    }

    /// Whether it has ended; what it started may go on.
    pub fn has_ended(&self) -> bool {
        self.process.has_ended()
    }

    /// Becomes readable when it ends.
    pub fn bell(&self) -> BorrowedFd<'_> {
        self.process.bell()
    }

    /// It and all below it; nothing of it once it has ended.
    pub fn reading(&self) -> JobReading {
        let reading = Tree::of(self.pid).reading();
        // While it had not ended, nobody else could have its number.
        if self.has_ended() {
            JobReading::default()
        } else {
            reading
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_is_read_with_all_below_it_until_it_ends() {
        let mut child = Command::new("sh")
            .args(["-c", "sleep 100 & echo $!; read x; kill $!"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        io::BufRead::read_line(&mut io::BufReader::new(stdout), &mut line).unwrap();
        let below: i32 = line.trim().parse().unwrap();
        let number = i32::try_from(child.id()).unwrap();
        let subject = Subject::open(number).unwrap();
        let reading = subject.reading();
        let mut processes = reading.processes.unwrap();
        processes.sort_unstable();
        let mut both = [number, below];
        both.sort_unstable();
        assert_eq!(processes, both);
        assert!(reading.rss_mib.unwrap() > 0.0 && !reading.since_the_start);
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(subject.has_ended());
        assert_eq!(subject.reading(), JobReading::default());
    }

    #[test]
    fn one_that_has_ended_is_none() {
        let mut gone = Command::new("true").spawn().unwrap();
        let number = i32::try_from(gone.id()).unwrap();
        while Subject::open(number).is_ok() {
            std::thread::yield_now();
        }
        gone.wait().unwrap();
        assert!(Subject::open(number).is_err() && Subject::open(4194305).is_err());
    }
}
