//! A thread for writes that may take for ever.
//!
//! A reader that stalls, a terminal that was halted (Ctrl-S) or a disk in trouble holds up whoever
//! writes to it, so that must not be the thread that watches.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How much may wait to be written before more is turned away.
const MOST_WAITING: usize = 256;
/// It writes and does nothing else.
const STACK: usize = 64 << 10;

/// Somebody who writes one thing after the other.
#[derive(Debug)]
pub struct Scribe<T, E = io::Error> {
    desk: Arc<Desk<T, E>>,
    patience: Duration,
}

#[derive(Debug)]
struct Desk<T, E> {
    papers: Mutex<Papers<T, E>>,
    changed: Condvar,
}

#[derive(Debug)]
struct Papers<T, E> {
    waiting: VecDeque<T>,
    writing: bool,
    failure: Option<E>,
    /// Nothing more will come.
    closed: bool,
    /// It took longer than our patience, and has not caught up since.
    behind: bool,
    /// How many wait until all is written.
    awaited: u32,
}

impl<T: Send + 'static, E: Send + 'static> Scribe<T, E> {
    /// Starts the thread. One that keeps up is waited for with each write, for `patience` at most,
    /// so that several write in the order in which they were asked, and a failure is known at once;
    /// without patience it is known at the next write.
    pub fn start(
        name: &str,
        patience: Duration,
        mut write: impl FnMut(T) -> Result<(), E> + Send + 'static,
    ) -> io::Result<Self> {
        let papers = Papers {
            waiting: VecDeque::new(),
            writing: false,
            failure: None,
            closed: false,
            behind: false,
            awaited: 0,
        };
        let desk = Arc::new(Desk {
            papers: Mutex::new(papers),
            changed: Condvar::new(),
        });
        let theirs = Arc::clone(&desk);
        thread::Builder::new()
            .name(name.to_owned())
            .stack_size(STACK)
            .spawn(move || {
                while let Some(paper) = theirs.next() {
                    let written = write(paper);
                    theirs.done(written.err());
                }
            })?;
        Ok(Self { desk, patience })
    }

    /// Hands over what is to be written; whether it was taken, which it is not when too much waits
    /// already. A failure is that of an earlier write, or of this one where it was waited for.
    pub fn write(&self, paper: T) -> Result<bool, E> {
        let mut papers = self.desk.papers();
        if let Some(failure) = papers.failure.take() {
            return Err(failure);
        }
        if papers.waiting.len() >= MOST_WAITING {
            return Ok(false);
        }
        papers.waiting.push_back(paper);
        let behind = papers.behind;
        // Whoever is woken finds the desk free.
        drop(papers);
        self.desk.changed.notify_all();
        if behind || self.patience.is_zero() {
            return Ok(true);
        }
        let mut papers = self.desk.until_idle(self.desk.papers(), self.patience);
        papers.behind = !papers.is_idle();
        papers.failure.take().map_or(Ok(true), Err)
    }

    /// Whether something waits, or is being written.
    pub fn is_busy(&self) -> bool {
        !self.desk.papers().is_idle()
    }

    /// Waits, for `most` at the longest, until all is written; whether it is.
    pub fn finish(&self, most: Duration) -> Result<bool, E> {
        let mut papers = self.desk.until_idle(self.desk.papers(), most);
        let idle = papers.is_idle();
        papers.failure.take().map_or(Ok(idle), Err)
    }
}

impl<T, E> Drop for Scribe<T, E> {
    fn drop(&mut self) {
        let mut papers = self.desk.papers();
        papers.closed = true;
        papers.waiting.clear();
        self.desk.changed.notify_all();
    }
}

impl<T, E> Papers<T, E> {
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && !self.writing
    }
}

impl<T, E> Desk<T, E> {
    fn papers(&self) -> MutexGuard<'_, Papers<T, E>> {
        self.papers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to be written next; nothing when there will never be more.
    fn next(&self) -> Option<T> {
        let mut papers = self.papers();
        loop {
            if let Some(paper) = papers.waiting.pop_front() {
                papers.writing = true;
                return Some(paper);
            }
            if papers.closed {
                return None;
            }
            papers = self
                .changed
                .wait(papers)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn done(&self, failure: Option<E>) {
        let mut papers = self.papers();
        papers.writing = false;
        if papers.failure.is_none() {
            papers.failure = failure;
        }
        if papers.waiting.is_empty() {
            papers.behind = false;
            let awaited = papers.awaited > 0;
            drop(papers);
            // Each call of the system that nobody needs would be made at every look.
            if awaited {
                self.changed.notify_all();
            }
        }
    }

    fn until_idle<'a>(
        &self,
        mut papers: MutexGuard<'a, Papers<T, E>>,
        most: Duration,
    ) -> MutexGuard<'a, Papers<T, E>> {
        let ends = Instant::now() + most;
        papers.awaited += 1;
        while !papers.is_idle() {
            let left = ends.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            papers = self
                .changed
                .wait_timeout(papers, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        papers.awaited -= 1;
        papers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    const LONG: Duration = Duration::from_mins(10);

    #[test]
    fn what_is_written_is_written_in_order_and_a_failure_is_known_at_once() {
        let (written, read) = mpsc::channel();
        let scribe = Scribe::start("fails at 3", LONG, move |n| {
            written.send(n).unwrap();
            if n == 3 { Err(n) } else { Ok(()) }
        })
        .unwrap();
        assert_eq!(
            [1, 2, 3].map(|n| scribe.write(n)),
            [Ok(true), Ok(true), Err(3)]
        );
        assert_eq!(scribe.write(4), Ok(true));
        assert!(!scribe.is_busy());
        assert_eq!(scribe.finish(LONG), Ok(true));
        drop(scribe);
        assert_eq!(read.iter().collect::<Vec<_>>(), [1, 2, 3, 4]);
    }

    #[test]
    fn one_that_hangs_holds_nobody_up_and_takes_no_more_than_it_may() {
        let (go, hang) = mpsc::channel::<()>();
        let (written, read) = mpsc::channel();
        let (begun, begins) = mpsc::channel();
        let scribe: Scribe<usize, ()> = Scribe::start("hangs", Duration::ZERO, move |n| {
            begun.send(()).unwrap();
            let _ = hang.recv();
            written.send(n).unwrap();
            Ok(())
        })
        .unwrap();
        assert_eq!(scribe.write(0), Ok(true));
        begins.recv().unwrap();
        let taken = (1..MOST_WAITING + 10).filter(|n| scribe.write(*n) == Ok(true));
        assert_eq!(taken.count(), MOST_WAITING);
        assert!(scribe.is_busy());
        // It goes on where it was held up.
        drop(go);
        assert_eq!(scribe.finish(LONG), Ok(true));
        drop(scribe);
        let all: Vec<_> = read.iter().collect();
        assert_eq!(all, (0..=MOST_WAITING).collect::<Vec<_>>());
    }

    #[test]
    fn one_that_never_ends_is_given_up() {
        let (_never, hang) = mpsc::channel::<()>();
        let scribe: Scribe<(), ()> = Scribe::start("hangs", Duration::ZERO, move |()| {
            let _ = hang.recv();
            Ok(())
        })
        .unwrap();
        assert_eq!(scribe.write(()), Ok(true));
        assert_eq!(scribe.finish(Duration::ZERO), Ok(false));
    }
}
