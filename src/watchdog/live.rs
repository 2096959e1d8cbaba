//! `--tui`: the watch shown live on the terminal, by a thread of its own that nobody waits for.
//!
//! What happens is handed to it through a bounded channel, and dropped when that is full. What the
//! job prints, and what the watchdog would say on standard error, is read by two more threads, so
//! that nobody is held up by a terminal that takes nothing.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal as _, PipeReader, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, Sender, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use gpuc_core::document::{Event, Peaks};
use gpuc_core::error::{Code, Fault};
use gpuc_core::launch::shell_line;
use gpuc_rig::supervise::{Console, Detour, Keepsake, Signals, Streams, roomy_pipe};
use gpuc_show::dashboard::{About, Dashboard, Look, Painter, Scrollback, Wish, keys, parting};
use gpuc_show::text::{self, Terminal, clean};

use super::settings::Settings;
use crate::deliver::unwritable;
use crate::screen::{self, say};

/// How often the clock and the job's output are looked at.
const TICK: Duration = Duration::from_millis(100);
/// The least time between two frames.
const FRAME: Duration = Duration::from_millis(40);
/// News that wait for a thread that is late; more are dropped.
const MOST_NEWS: usize = 256;
/// How long the terminal may take to give itself back, and to take what is said at the end.
const FAREWELL: Duration = Duration::from_secs(1);
/// How long what a job has printed last may take to be read, when nothing of it is left.
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

/// All that is needed for a dashboard, found before the job starts.
pub(super) struct Stage {
    console: Console,
    terminal: Terminal,
    /// What the job is to print into, until it has started.
    theirs: Option<(OwnedFd, OwnedFd)>,
    ours: Option<PipeReader>,
    file: Option<(String, File)>,
}

impl Stage {
    /// Finds the terminal and what goes to it; nothing changes yet.
    pub(super) fn prepare(settings: &Settings) -> Result<Self, Fault> {
        let usage = |message, hint: &str| Fault::new(Code::InputUsage, message).with_hint(hint);
        let console = Console::open()?;
        if settings.json && io::stdout().is_terminal() {
            return Err(usage(
                "--tui and --json cannot share a terminal",
                "write the reports to a file with --json-out, or redirect standard output",
            ));
        }
        let mut stage = Self {
            console,
            terminal: screen::terminal_of_errors().unwrap_or_else(screen::terminal),
            theirs: None,
            ours: None,
            file: None,
        };
        let Some(job) = &settings.job else {
            return Ok(stage);
        };
        // One of its streams at least leads to the terminal.
        let (ours, theirs) = roomy_pipe().map_err(broken)?;
        let theirs = OwnedFd::from(theirs);
        stage.theirs = Some((theirs.try_clone().map_err(broken)?, theirs));
        stage.ours = Some(ours);
        if let Some(path) = &job.output {
            let file = File::create(path).map_err(|e| unwritable(path, e))?;
            stage.file = Some((path.display().to_string(), file));
        }
        Ok(stage)
    }

    /// The job's streams: what would come to the terminal comes to the dashboard, and nothing comes
    /// from the terminal. What is redirected stays as it is.
    pub(super) fn streams(&mut self) -> Streams {
        let nothing = File::open("/dev/null").ok().map(OwnedFd::from);
        let (stdout, stderr) = self.theirs.take().unzip();
        Streams {
            stdin: nothing.filter(|_| io::stdin().is_terminal()),
            stdout: stdout.filter(|_| io::stdout().is_terminal()),
            stderr: stderr.filter(|_| io::stderr().is_terminal()),
            no_terminal: true,
            // Without it only a kill of ours would be felt.
            keepsake: self.console.keepsake().ok(),
        }
    }

    /// Opens the dashboard, over the job of this number if there is one.
    pub(super) fn open(
        self,
        settings: &Settings,
        pid: Option<i32>,
        started: Instant,
    ) -> Result<Live, Fault> {
        let job = settings.job.as_ref();
        let command = job.map(|job| {
            // Where the program lies says less than what it is given.
            let program = Path::new(&job.program).file_name().unwrap_or(&job.program);
            let words = std::iter::once(program).chain(job.args.iter().map(OsString::as_os_str));
            let words: Vec<String> = words.map(|w| w.to_string_lossy().into_owned()).collect();
            shell_line(&words)
        });
        let about = About {
            command,
            pid,
            has_output: self.ours.is_some(),
            interval: settings.interval.as_secs_f64(),
        };
        self.begin(about, started).map_err(broken)
    }

    fn begin(self, about: About, started: Instant) -> io::Result<Live> {
        let output = self
            .ours
            .map(|ours| Drain::start("output", ours, self.file));
        let output = output.transpose()?;
        let (said, saying) = roomy_pipe()?;
        let words = Drain::start("words", said, None)?;
        let keepsake = self.console.keepsake().ok();
        let (feed, inbox) = mpsc::sync_channel(MOST_NEWS);
        let (bell, rope) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        rope.set_nonblocking(true)?;
        let mut show = Show {
            dashboard: Dashboard::new(about),
            painter: Painter::new(&self.terminal),
            terminal: self.terminal,
            console: self.console,
            inbox,
            bell,
            output: output.as_ref().map(|o| Arc::clone(&o.text)),
            words: Arc::clone(&words.text),
            said: 0,
            heard: 0,
            resting: false,
            dirty: true,
            drawn: None,
            started,
        };
        let detour = Detour::take(&saying)?;
        show.console.enter()?;
        thread::Builder::new()
            .name("dashboard".to_owned())
            .spawn(move || show.run())?;
        Ok(Live {
            feed: Feed {
                news: feed,
                rope: Arc::new(rope),
            },
            terminal: self.terminal,
            detour: Some(detour),
            output,
            words,
            summary: String::new(),
            keepsake,
        })
    }
}

fn broken(e: io::Error) -> Fault {
    Fault::new(Code::RuntimeUnexpected, "the dashboard cannot be opened").with_cause(e)
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

/// What was said while the dashboard was there.
fn said(words: &Mutex<Scrollback>, terminal: &Terminal) -> String {
    let (_, words) = held(words).kept();
    let mut out = String::new();
    for line in String::from_utf8_lossy(&words).lines() {
        out += &clean(line, terminal.unicode);
        out.push('\n');
    }
    out
}

/// Somebody who reads a pipe to its end, whatever else happens.
struct Drain {
    text: Arc<Mutex<Scrollback>>,
    /// Tells of the end, and of a file that could not be written.
    done: Receiver<Option<(String, io::Error)>>,
}

impl Drain {
    fn start(name: &str, mut from: PipeReader, file: Option<(String, File)>) -> io::Result<Self> {
        let text = Arc::new(Mutex::new(Scrollback::default()));
        let (end, done) = mpsc::channel();
        let shared = Arc::clone(&text);
        let read = move || {
            let mut file = file;
            let mut lost = None;
            let mut bytes = vec![0; 64 << 10];
            loop {
                let n = match from.read(&mut bytes) {
                    Ok(n @ 1..) => n,
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                    _ => break,
                };
                let new = bytes.get(..n).unwrap_or_default();
                if let Some((name, to)) = &mut file
                    && let Err(e) = to.write_all(new)
                {
                    lost = Some((std::mem::take(name), e));
                    file = None;
                }
                held(&shared).push(new);
            }
            let _ = end.send(lost);
        };
        thread::Builder::new().name(name.to_owned()).spawn(read)?;
        Ok(Self { text, done })
    }
}

fn held(text: &Mutex<Scrollback>) -> MutexGuard<'_, Scrollback> {
    text.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the dashboard's thread has.
struct Show {
    dashboard: Dashboard,
    painter: Painter,
    terminal: Terminal,
    console: Console,
    inbox: Receiver<News>,
    bell: UnixStream,
    output: Option<Arc<Mutex<Scrollback>>>,
    words: Arc<Mutex<Scrollback>>,
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
    fn run(mut self) {
        // A terminal that is gone ends the show; the watch goes on.
        while let Ok(true) = self.round() {}
    }

    /// Whether it goes on.
    fn round(&mut self) -> io::Result<bool> {
        let until = Instant::now() + TICK;
        if self.console.is_drawing() {
            self.console.listen(&[self.bell.as_fd()], until);
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
        let _ = (&self.bell).read(&mut [0; 64]);
        while let Ok(news) = self.inbox.try_recv() {
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
        if let Some(output) = &self.output {
            let output = held(output);
            self.dirty |= self.dashboard.output(&output);
        }
        let (first, bytes) = {
            let words = held(&self.words);
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
        let words = said(&self.words, &self.terminal);
        let all = format!("{frame}\n{words}{summary}");
        // One that takes nothing even now is not waited for any longer.
        self.console.leave(all.as_bytes(), FAREWELL);
        true
    }
}
