//! `--tui`: the watch shown live on the terminal, by a thread of its own that nobody waits for.
//!
//! What happens is handed to it through a bounded channel, and dropped when that is full. What the
//! job prints, and what the watchdog would say on standard error, is read by two more threads, so
//! that nobody is held up by a terminal that takes nothing.

mod drain;
mod show;
mod stage;

use std::io::{self, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender, SyncSender, TrySendError};
use std::thread;
use std::time::{Duration, Instant};

use gpuc_core::document::{Event, Peaks};
use gpuc_rig::supervise::{Detour, Keepsake};
use gpuc_show::dashboard::Look;
use gpuc_show::text::{self, Terminal};

use crate::screen::{self, say};
use drain::{Drain, said};
pub(super) use stage::Stage;

/// How long the terminal may take to give itself back, and to take what is said at the end.
const FAREWELL: Duration = Duration::from_secs(1);
/// How long what was printed last may take to be read, when nobody is left to print more.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// What the dashboard's thread is told.
enum News {
    Look(Box<Look>),
    Event(Box<Event>),
    /// Give the terminal back for now, and say so.
    Rest(Sender<()>),
    GoOn,
    /// Give it back for good with this below, and say whether that was on the screen.
    End(String, Sender<bool>),
}

/// Where news are handed in.
#[derive(Clone)]
pub(super) struct Feed {
    news: SyncSender<News>,
    rope: Arc<UnixStream>,
}

impl Feed {
    /// Hands a decision in.
    pub(super) fn event(&self, event: Event) {
        // What is not taken is not shown; it is in the file of events all the same.
        let _ = self.tell(News::Event(Box::new(event)));
    }

    /// It never waits.
    fn tell(&self, news: News) -> Result<(), TrySendError<News>> {
        let told = self.news.try_send(news);
        // A bell that rings already need not be rung.
        let _ = (&*self.rope).write(b"!");
        told
    }
}

/// The dashboard as the watch sees it. Dropping it gives the terminal back.
pub(super) struct Live {
    feed: Feed,
    terminal: Terminal,
    /// Our own streams lead away from the terminal as long as this is there.
    detour: Option<Detour>,
    output: Option<Drain>,
    words: Drain,
    summary: String,
    /// For the case that the dashboard's thread has failed.
    keepsake: Option<Keepsake>,
}

impl Live {
    pub(super) fn feed(&self) -> Feed {
        self.feed.clone()
    }

    pub(super) fn look(&mut self, look: Look) {
        let told = self.feed.tell(News::Look(Box::new(look)));
        if let Err(TrySendError::Disconnected(_)) = told
            && self.detour.take().is_some()
        {
            say("watchdog: the dashboard has failed; the watch goes on");
        }
    }

    /// Gives the terminal back for now.
    pub(super) fn rest(&self) {
        let (done, wait) = mpsc::channel();
        if self.feed.tell(News::Rest(done)).is_ok() {
            let _ = wait.recv_timeout(FAREWELL);
        }
    }

    /// Takes it again.
    pub(super) fn go_on(&self) {
        let _ = self.feed.tell(News::GoOn);
    }

    /// Keeps how the run went, to be told when the terminal is given back.
    pub(super) fn sum_up(&mut self, peaks: &Peaks) {
        self.summary = text::peaks(peaks, &self.terminal);
    }

    /// Waits until all that the job has printed is read, and says what has become of its file.
    pub(super) fn finish_output(&mut self) -> Option<(String, io::Error)> {
        let output = self.output.as_ref()?;
        output.done.recv_timeout(LAST_WORDS).ok().flatten()
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        // What is said from here on is said on the terminal again; what was said is told below.
        screen::settle();
        drop(self.detour.take());
        let _ = self.words.done.recv_timeout(LAST_WORDS);
        let summary = std::mem::take(&mut self.summary);
        let (done, wait) = mpsc::channel();
        let ends = Instant::now() + FAREWELL;
        let end = || self.feed.tell(News::End(summary.clone(), done.clone()));
        while matches!(end(), Err(TrySendError::Full(_))) && Instant::now() < ends {
            thread::sleep(Duration::from_millis(10));
        }
        drop(done);
        match wait.recv_timeout(2 * FAREWELL) {
            Ok(true) => {}
            // It rests, or has failed: nobody drew it, so it is told in the plain way.
            ended => {
                if let (Err(_), Some(keepsake)) = (ended, &self.keepsake) {
                    keepsake.restore();
                }
                screen::show(said(&self.words.text, &self.terminal) + &summary);
            }
        }
    }
}
