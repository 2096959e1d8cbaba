//! A thread for questions that may never be answered.
//!
//! A call into a driver in trouble can hang for ever, so it must not be made by the thread that
//! watches everything else.

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

/// Somebody who answers one question over and over.
#[derive(Debug)]
pub struct Worker<T> {
    questions: Sender<()>,
    answers: Receiver<T>,
    bell: UnixStream,
    asked: bool,
    gone: bool,
}

impl<T: Send + 'static> Worker<T> {
    /// Starts the thread; it asks nothing yet.
    pub fn start(name: &str, mut answer: impl FnMut() -> T + Send + 'static) -> io::Result<Self> {
        let (questions, inbox) = mpsc::channel::<()>();
        let (outbox, answers) = mpsc::channel();
        let (bell, mut rope) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                while inbox.recv().is_ok() {
                    if outbox.send(answer()).is_err() || rope.write_all(b"!").is_err() {
                        return;
                    }
                }
            })?;
        Ok(Self {
            questions,
            answers,
            bell,
            asked: false,
            gone: false,
        })
    }

    /// Asks, unless an answer is still owed.
    pub fn ask(&mut self) {
        if !self.asked && !self.gone {
            self.asked = self.questions.send(()).is_ok();
            self.gone = !self.asked;
        }
    }

    /// Whether an answer is still owed.
    pub fn is_busy(&self) -> bool {
        self.asked
    }

    /// Whether the thread has ended, as it does when answering makes it panic.
    pub fn is_gone(&self) -> bool {
        self.gone
    }

    /// The answer, once it is there.
    pub fn answer(&mut self) -> Option<T> {
        // It rings once for each answer, and for ever when the thread has ended.
        let rung = self.asked && !is_silent(self.bell.read(&mut [0]));
        if !rung {
            return None;
        }
        match self.answers.try_recv() {
            Ok(answer) => {
                self.asked = false;
                Some(answer)
            }
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => {
                self.asked = false;
                self.gone = true;
                None
            }
        }
    }

    /// The answer to a new question, if it comes in time.
    pub fn answer_within(&mut self, most: Duration) -> Option<T> {
        let ends = Instant::now() + most;
        self.ask();
        while self.is_busy() && Instant::now() < ends {
            let bell: Vec<BorrowedFd<'_>> = self.bell().into_iter().collect();
            super::signals::wait_for(&bell, Some(ends)).ok()?;
            if let Some(answer) = self.answer() {
                return Some(answer);
            }
        }
        None
    }

    /// Becomes readable when there is an answer; nothing when there will never be another.
    pub fn bell(&self) -> Option<BorrowedFd<'_>> {
        (!self.gone).then(|| self.bell.as_fd())
    }
}

fn is_silent(read: io::Result<usize>) -> bool {
    read.is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    fn until_bell<T: Send + 'static>(worker: &Worker<T>) {
        let mut fds = [PollFd::new(worker.bell().unwrap(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::NONE).unwrap();
    }

    #[test]
    fn each_question_gets_one_answer() {
        let mut n = 0;
        let mut worker = Worker::start("count", move || {
            n += 1;
            n
        })
        .unwrap();
        for want in 1..4 {
            worker.ask();
            worker.ask();
            until_bell(&worker);
            assert_eq!(worker.answer(), Some(want));
            assert!(!worker.is_busy());
            assert_eq!(worker.answer(), None);
        }
    }

    #[test]
    fn one_that_panics_is_gone_and_one_that_hangs_is_busy() {
        let mut worker: Worker<()> = Worker::start("panics", || panic!("on purpose")).unwrap();
        worker.ask();
        until_bell(&worker);
        // The bell rings by being dropped; the channel may be dropped a moment after it.
        while !worker.is_gone() {
            assert_eq!(worker.answer(), None);
        }
        assert!(worker.bell().is_none());
        let (_never, hang) = mpsc::channel::<()>();
        let mut worker = Worker::start("hangs", move || hang.recv().is_ok()).unwrap();
        worker.ask();
        assert!(worker.is_busy());
        assert_eq!(worker.answer(), None);
    }
}
