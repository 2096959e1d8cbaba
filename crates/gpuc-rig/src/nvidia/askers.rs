//! Threads that put questions to a driver, which may never answer.
//!
//! One does it all while the driver is well: to wake a thread for each GPU costs more than asking.
//! Where one is held up, another goes on with what waits behind it.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Enough for the calls into a driver, and not so much that many threads are felt where memory is
/// locked.
const STACK: usize = 256 << 10;
/// How long questions wait for those before them until another thread takes them.
const HELD_UP: Duration = Duration::from_millis(5);

/// Something to be asked, which gives an answer, or never returns.
pub(super) type Question<A> = Box<dyn FnOnce() -> A + Send>;

/// The threads, and what lies between them and whoever wants to know.
#[derive(Debug)]
pub(super) struct Askers<A> {
    desk: Arc<Desk<A>>,
    threads: usize,
    /// How many are set to work at once: as many as were last needed, or one fewer.
    width: usize,
}

struct Desk<A> {
    board: Mutex<Board<A>>,
    work: Condvar,
    news: Condvar,
}

impl<A> std::fmt::Debug for Desk<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").finish_non_exhaustive()
    }
}

struct Board<A> {
    waiting: VecDeque<Question<A>>,
    answers: Vec<A>,
    /// Threads that have nothing to do.
    idle: usize,
    closed: bool,
}

impl<A> Desk<A> {
    fn board(&self) -> MutexGuard<'_, Board<A>> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self) {
        let mut board = self.board();
        loop {
            if let Some(question) = board.waiting.pop_front() {
                drop(board);
                let answer = question();
                board = self.board();
                board.answers.push(answer);
                if board.waiting.is_empty() {
                    self.news.notify_one();
                }
            } else if board.closed {
                return;
            } else {
                board.idle += 1;
                board = self
                    .work
                    .wait(board)
                    .unwrap_or_else(PoisonError::into_inner);
                board.idle -= 1;
            }
        }
    }
}

impl<A: Send + 'static> Askers<A> {
    /// None yet; they come with the questions.
    pub(super) fn new() -> Self {
        let board = Board {
            waiting: VecDeque::new(),
            answers: Vec::new(),
            idle: 0,
            closed: false,
        };
        Self {
            desk: Arc::new(Desk {
                board: Mutex::new(board),
                work: Condvar::new(),
                news: Condvar::new(),
            }),
            threads: 0,
            width: 1,
        }
    }

    /// Has these asked; false where the system gives us no thread to do it.
    pub(super) fn ask(&mut self, questions: impl IntoIterator<Item = Question<A>>) -> bool {
        let desk = Arc::clone(&self.desk);
        let mut board = desk.board();
        board.waiting.extend(questions);
        for _ in 0..self.width.min(board.waiting.len()) {
            self.set_to_work(&board);
        }
        self.width = self.width.saturating_sub(1).max(1);
        self.threads > 0
    }

    fn set_to_work(&mut self, board: &Board<A>) {
        if board.idle > 0 {
            self.desk.work.notify_one();
            return;
        }
        let desk = Arc::clone(&self.desk);
        let thread = thread::Builder::new().name("gpus-asked".into());
        let started = thread.stack_size(STACK).spawn(move || desk.serve());
        self.threads += usize::from(started.is_ok());
    }

    /// The answers that are there.
    pub(super) fn heard(&self) -> Vec<A> {
        std::mem::take(&mut self.desk.board().answers)
    }

    /// The next answers, waited for until then.
    pub(super) fn answers(&mut self, until: Instant) -> Vec<A> {
        let desk = Arc::clone(&self.desk);
        let mut board = desk.board();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || !board.answers.is_empty() && board.waiting.is_empty() {
                return std::mem::take(&mut board.answers);
            }
            let step = if board.waiting.is_empty() {
                left
            } else {
                left.min(HELD_UP)
            };
            board = desk
                .news
                .wait_timeout(board, step)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            if !board.waiting.is_empty() {
                self.set_to_work(&board);
                self.width = (self.width + 1).min(self.threads.max(1));
            }
            if !board.answers.is_empty() {
                return std::mem::take(&mut board.answers);
            }
        }
    }
}

impl<A> Drop for Askers<A> {
    fn drop(&mut self) {
        // One that is held up ends when it is let go.
        let mut board = self.desk.board();
        board.closed = true;
        board.waiting.clear();
        self.desk.work.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    const LONG: Duration = Duration::from_secs(100);

    fn all(askers: &mut Askers<usize>, wanted: usize) -> Vec<usize> {
        let until = Instant::now() + LONG;
        let mut all = Vec::new();
        while all.len() < wanted && Instant::now() < until {
            all.extend(askers.answers(until));
        }
        all.sort_unstable();
        all
    }

    fn easy(n: usize) -> Question<usize> {
        Box::new(move || n)
    }

    #[test]
    fn what_waits_behind_a_question_that_hangs_is_asked_all_the_same() {
        let mut askers = Askers::new();
        assert!(askers.heard().is_empty());
        let (release, hang) = mpsc::channel::<()>();
        let hard: Question<usize> = Box::new(move || {
            let _ = hang.recv();
            100
        });
        assert!(askers.ask([hard].into_iter().chain((0..8).map(easy))));
        assert_eq!(all(&mut askers, 8), (0..8).collect::<Vec<_>>());
        // One hangs, one is enough for the rest; which of them is free is a matter of chance.
        for _ in 0..20 {
            assert!(askers.ask((0..8).map(easy)));
            assert_eq!(all(&mut askers, 8).len(), 8);
        }
        assert!(askers.threads <= 9, "{}", askers.threads);
        assert!(askers.answers(Instant::now()).is_empty());
        drop(release);
        assert_eq!(all(&mut askers, 1), [100]);
    }

    #[test]
    fn threads_end_with_whoever_asks() {
        let mut askers = Askers::new();
        askers.ask([easy(1)]);
        let desk = Arc::downgrade(&askers.desk);
        assert_eq!(all(&mut askers, 1), [1]);
        drop(askers);
        let until = Instant::now() + LONG;
        while desk.strong_count() > 0 && Instant::now() < until {
            thread::yield_now();
        }
        assert_eq!(desk.strong_count(), 0);
    }
}
