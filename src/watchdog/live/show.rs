//! The thread that draws: it takes in what there is, and waits for nobody either.

use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use gpuc_rig::supervise::{Console, Signals};
use gpuc_show::dashboard::{About, Dashboard, Painter, Scrollback, Wish, keys, parting};
use gpuc_show::text::Terminal;

use super::drain::{held, said};
use super::{FAREWELL, News};

/// How often the clock and the job's output are looked at.
const TICK: Duration = Duration::from_millis(100);
/// The least time between two frames.
const FRAME: Duration = Duration::from_millis(40);

/// Where what is shown comes from.
pub(super) struct Sources {
    pub(super) inbox: Receiver<News>,
    /// Rings when there is something in it.
    pub(super) bell: UnixStream,
    pub(super) output: Option<Arc<Mutex<Scrollback>>>,
    pub(super) words: Arc<Mutex<Scrollback>>,
}

/// What the dashboard's thread has.
pub(super) struct Show {
    dashboard: Dashboard,
    painter: Painter,
    terminal: Terminal,
    console: Console,
    sources: Sources,
    /// Bytes of words that were looked at, and lines of them that are shown already.
    said: u64,
    heard: u64,
    /// Whether the terminal is given back for now.
    resting: bool,
    /// Whether there is something new to be drawn.
    dirty: bool,
    /// When the last frame was drawn, of which size, at which second.
    drawn: Option<(Instant, (u16, u16), u64)>,
    started: Instant,
}

impl Show {
    pub(super) fn new(
        console: Console,
        terminal: Terminal,
        about: About,
        sources: Sources,
        started: Instant,
    ) -> Self {
        Self {
            dashboard: Dashboard::new(about),
            painter: Painter::new(&terminal),
            terminal,
            console,
            sources,
            said: 0,
            heard: 0,
            resting: false,
            dirty: true,
            drawn: None,
            started,
        }
    }

    /// Takes the screen.
    pub(super) fn enter(&mut self) -> io::Result<()> {
        self.console.enter()
    }

    /// Shows what happens until it is told to end.
    pub(super) fn run(mut self) {
        // A terminal that is gone ends the show; the watch goes on.
        while let Ok(true) = self.round() {}
    }

    /// Whether it goes on.
    fn round(&mut self) -> io::Result<bool> {
        let until = Instant::now() + TICK;
        if self.console.is_drawing() {
            self.console.listen(&[self.sources.bell.as_fd()], until);
            for key in keys(&self.console.typed()?) {
                self.dirty = true;
                match self.dashboard.key(key) {
                    Some(Wish::Quit) => Signals::interrupt(),
                    Some(Wish::Redraw) => self.painter.forget(),
                    None => {}
                }
            }
        } else {
            thread::sleep(TICK);
            // Continued in the background, we wait until we are brought to the foreground.
            if !self.resting && self.console.is_ours() {
                self.console.enter()?;
                self.painter.forget();
                self.dirty = true;
            }
        }
        // The bell says only that there is something to look at.
        let _ = (&self.sources.bell).read(&mut [0; 64]);
        while let Ok(news) = self.sources.inbox.try_recv() {
            self.dirty = true;
            match news {
                News::Look(look) => self.dashboard.look(*look),
                News::Event(event) => self.dashboard.event(&event),
                News::Rest(done) => {
                    self.console.leave(b"", FAREWELL / 2);
                    self.resting = true;
                    let _ = done.send(());
                }
                News::GoOn => self.resting = false,
                News::End(summary, done) => {
                    let _ = done.send(self.end(&summary));
                    return Ok(false);
                }
            }
        }
        self.listen();
        self.draw()?;
        Ok(true)
    }

    /// Takes in what was printed and said.
    fn listen(&mut self) {
        if let Some(output) = &self.sources.output {
            let output = held(output);
            self.dirty |= self.dashboard.output(&output);
        }
        let (first, bytes) = {
            let words = held(&self.sources.words);
            if words.taken() == self.said {
                return;
            }
            self.said = words.taken();
            words.kept()
        };
        let mut lines: Vec<&[u8]> = bytes.split(|b| *b == b'\n').collect();
        // The last is not whole yet.
        lines.pop();
        for (number, line) in (first..).zip(lines) {
            if number >= self.heard {
                self.heard = number + 1;
                let line = String::from_utf8_lossy(line);
                // Our own are decisions, and shown as such.
                if !line.starts_with("watchdog: ") && !line.is_empty() {
                    self.dashboard.words(&line);
                    self.dirty = true;
                }
            }
        }
    }

    fn draw(&mut self) -> io::Result<()> {
        self.dashboard.tick(self.started.elapsed());
        if !self.console.is_drawing() || !self.console.flush()? {
            // What is shown next is the newest, whenever that is.
            return Ok(());
        }
        let size = self.console.size();
        let second = self.started.elapsed().as_secs();
        if let Some((at, before, then)) = self.drawn {
            let is_due = self.dirty || before != size || then != second;
            if !is_due || at.elapsed() < FRAME {
                return Ok(());
            }
        }
        self.drawn = Some((Instant::now(), size, second));
        self.dirty = false;
        let bytes = self.painter.paint(&self.dashboard, size);
        self.console.draw(bytes.as_bytes());
        self.console.flush()?;
        Ok(())
    }

    /// Leaves the last frame on the terminal, and below it what was said, and `summary`; whether the
    /// terminal was ours to leave it on.
    fn end(&mut self, summary: &str) -> bool {
        self.listen();
        if !self.console.is_drawing() || !self.console.is_ours() {
            return false;
        }
        let frame = parting(&self.dashboard, self.console.size(), &self.terminal);
        let words = said(&self.sources.words, &self.terminal);
        let all = format!("{frame}\n{words}{summary}");
        // One that takes nothing even now is not waited for any longer.
        self.console.leave(all.as_bytes(), FAREWELL);
        true
    }
}
