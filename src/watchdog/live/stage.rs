//! What a dashboard needs, found before the job starts, and how it begins.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal as _, PipeReader};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Instant;

use gpuc_core::error::{Code, Fault};
use gpuc_core::launch::shell_line;
use gpuc_rig::supervise::{Console, Detour, Streams, roomy_pipe};
use gpuc_show::dashboard::About;
use gpuc_show::text::Terminal;

use super::drain::Drain;
use super::show::{Show, Sources};
use super::{Feed, Live};
use crate::deliver::unwritable;
use crate::screen;
use crate::watchdog::settings::Settings;

/// News that wait for a thread that is late; more are dropped.
const MOST_NEWS: usize = 256;

/// All that is needed for a dashboard, found before the job starts.
pub(in crate::watchdog) struct Stage {
    console: Console,
    terminal: Terminal,
    /// What the job is to print into, until it has started.
    theirs: Option<(OwnedFd, OwnedFd)>,
    ours: Option<PipeReader>,
    file: Option<(String, File)>,
}

impl Stage {
    /// Finds the terminal and what goes to it; nothing changes yet.
    pub(in crate::watchdog) fn prepare(settings: &Settings) -> Result<Self, Fault> {
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
    pub(in crate::watchdog) fn streams(&mut self) -> Streams {
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
    pub(in crate::watchdog) fn open(
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
        let sources = Sources {
            inbox,
            bell,
            output: output.as_ref().map(|o| Arc::clone(&o.text)),
            words: Arc::clone(&words.text),
        };
        let mut show = Show::new(self.console, self.terminal, about, sources, started);
        let detour = Detour::take(&saying)?;
        show.enter()?;
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
