//! Where reports go: the report stream, the log, and a line for people on standard error.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use gpuc_core::document::{Event, Happening, LogLine, Peaks, Report, Thresholds};
use gpuc_core::error::{Code, Fault};
use gpuc_core::exit::Exit;
use gpuc_core::safety::Place;
use gpuc_rig::supervise::{Attendant, Scribe, Step};
use gpuc_show::dashboard::Look;
use gpuc_show::svg::Track;
use gpuc_show::text;
use serde::Serialize;

use super::evidence::{self, Evidence};
use super::live::Live;
use super::render;
use super::rotate::Rotating;
use super::settings::Settings;
use crate::check_writable;
use crate::deliver::{deliver_picture, deliver_text, unwritable};
use crate::screen::{self, say};

/// How long a look waits for standard output, as long as that is read at once: a reader that is gone
/// may end the watch.
const PATIENCE: Duration = Duration::from_millis(5);
/// How long the end waits for what is still to be written.
pub(super) const LAST: Duration = Duration::from_secs(2);

/// One place that lines of JSON go to.
pub(super) struct Sink {
    name: String,
    pen: Pen,
    pretty: bool,
    /// How long a line is waited for.
    patience: Duration,
    /// How many lines were left out because those before them were not yet written.
    left_out: u64,
}

/// What writes the lines.
enum Pen {
    Here(Box<dyn Write + Send>),
    /// While something is watched: whoever reads too slowly must not hold up the watch.
    Apart(Scribe<Vec<u8>>),
    /// It could not be written to any more.
    Gone,
}

/// All of them. One that fails is given up, never the watch.
pub(super) struct Outputs {
    stream: Vec<Sink>,
    log: Option<Sink>,
    /// What is drawn at the end.
    track: Option<Track>,
    place: Place,
    json: bool,
    /// What the last line for people was about, so that it is not said again.
    said: Option<String>,
    sinks: Sinks,
    evidence: Evidence,
    /// What is shown live.
    dashboard: Option<Live>,
}

/// What has become of those that could not be written.
#[derive(Default)]
pub(super) struct Sinks {
    reader_gone: bool,
    failure: Option<Fault>,
}

impl Outputs {
    /// Checks that what is to be written in the end, or would be, can be written.
    pub(super) fn check(settings: &Settings) -> Result<(), Fault> {
        let mut files = vec![
            &settings.json_out,
            &settings.log,
            &settings.events,
            &settings.metrics_file,
        ];
        if let Some(job) = &settings.job {
            files.extend([&job.peaks_out, &job.svg, &job.output]);
        }
        files
            .into_iter()
            .flatten()
            .try_for_each(|path| check_writable(path))
    }

    /// Opens every file, so that one that cannot be written is known before anything starts.
    pub(super) fn open(settings: &Settings) -> Result<Self, Fault> {
        let mut stream = Vec::new();
        if settings.json {
            let pretty = settings.place == Place::Once;
            stream.push(Sink {
                pretty,
                patience: PATIENCE,
                ..Sink::new("standard output".to_owned(), io::stdout())
            });
        }
        if let Some(path) = &settings.json_out {
            let file = File::create(path).map_err(|e| unwritable(path, e))?;
            stream.push(Sink::new(path.display().to_string(), file));
        }
        let log = settings.log.as_ref();
        let drawn = settings.job.as_ref().and_then(|job| job.svg.as_ref());
        Ok(Self {
            stream,
            log: log
                .map(|path| Sink::append(path, settings.log_size))
                .transpose()?,
            track: drawn.map(|_| Track::new()),
            place: settings.place,
            json: settings.json,
            said: None,
            sinks: Sinks::default(),
            evidence: Evidence::open(settings)?,
            dashboard: None,
        })
    }

    /// Shows everything from now on live.
    pub(super) fn show_on(&mut self, live: Live) {
        self.evidence.feed = Some(live.feed());
        self.dashboard = Some(live);
    }

    /// Shows a look live, where that is asked for; `look` makes it.
    pub(super) fn show(&mut self, look: impl FnOnce() -> Look) {
        if let Some(live) = &mut self.dashboard {
            live.look(look());
        }
    }

    /// Gives the terminal back for as long as `pause` takes.
    pub(super) fn rest(&mut self, pause: impl FnOnce()) {
        if let Some(live) = &self.dashboard {
            live.rest();
        }
        pause();
        if let Some(live) = &self.dashboard {
            live.go_on();
        }
    }

    /// Tells people at a terminal how a run went.
    pub(super) fn sum_up(&mut self, peaks: &Peaks) {
        if let Some(live) = &mut self.dashboard {
            live.sum_up(peaks);
        } else if let Some(terminal) = screen::terminal_of_errors().filter(|_| !self.json) {
            screen::show(text::peaks(peaks, &terminal));
        }
    }

    /// Hands out one report, made `at` after the start.
    pub(super) fn report(&mut self, at: Duration, report: &Report, settings: &Settings) {
        for sink in &mut self.stream {
            self.sinks.line(sink, report);
        }
        self.stream.retain(|sink| !sink.is_gone());
        self.record(at, report);
        self.tell_people(report, settings);
    }

    /// Keeps a report that is no look of its own, one made while a job is stopped, out of the
    /// report stream.
    pub(super) fn record(&mut self, at: Duration, report: &Report) {
        if let Some(log) = &mut self.log {
            let line = LogLine::new(gpuc_rig::host::now(), at, report);
            self.sinks.line(log, &line);
        }
        if let Some(track) = &mut self.track {
            track.look(at.as_secs_f64(), report);
        }
        self.evidence.look(&mut self.sinks, at, report);
    }

    fn tell_people(&mut self, report: &Report, settings: &Settings) {
        match self.place {
            Place::Once if self.json => {}
            Place::Once if settings.screen => {
                let screen = text::look(report, &settings.limits.thresholds, &screen::terminal());
                if let Err(fault) = deliver_text(&screen) {
                    self.failed(fault);
                }
            }
            Place::Once => say(&render::full(report, &settings.limits.thresholds)),
            Place::Watch if !self.json && self.dashboard.is_none() => say(&render::line(report)),
            // A job's own standard error is not to be filled: only what has changed is said.
            Place::Watch | Place::Run => {
                let about = render::subject(report);
                if about != self.said {
                    if let Some(line) = render::change(report, self.said.is_some()) {
                        say(&line);
                    }
                    self.said = about;
                }
            }
        }
    }

    /// Whether nobody reads what this watch prints, and nothing else is done with it.
    pub(super) fn is_unheard(&self) -> bool {
        self.sinks.reader_gone
            && self.stream.is_empty()
            && self.log.as_ref().is_none_or(Sink::is_gone)
    }

    /// Draws what was reported, where that is asked for.
    pub(super) fn draw(&mut self, limits: &Thresholds, to: &Path) {
        let picture = self.track.as_ref().map(|t| t.picture(Some(limits)).svg());
        if let Some(Err(fault)) = picture.map(|svg| deliver_picture(&svg, to)) {
            self.failed(fault);
        }
    }

    /// Adds a failure of another output.
    pub(super) fn failed(&mut self, fault: Fault) {
        self.sinks.failed(fault);
    }

    /// Writes a decision down.
    pub(super) fn event(&mut self, event: Event) {
        if let Some(track) = &mut self.track {
            track.decided(self.evidence.elapsed(), event.event);
        }
        self.evidence.tell(&mut self.sinks, event);
    }

    /// The watch has begun, over this job if there is one; `notes` say what is not as it could be.
    ///
    /// From now on nothing that is written holds it up.
    pub(super) fn begun(&mut self, pid: Option<i32>, notes: &str) {
        if self.place != Place::Once {
            screen::set_apart();
            let sinks = self.stream.iter_mut().chain(&mut self.log);
            for sink in sinks.chain(self.evidence.sink()) {
                if let Err(e) = sink.set_apart() {
                    self.sinks.lost(sink, e);
                }
            }
            self.evidence.set_apart();
        }
        let what = pid.map_or_else(|| "watching".to_owned(), |n| format!("watching job {n}"));
        self.evidence.begun(&what);
        self.event(Event {
            pid,
            ..evidence::event(Happening::Started, format!("{what}{notes}"))
        });
    }

    /// A sign of life for the service manager where one is due; when the next one is.
    pub(super) fn live(&mut self) -> Option<Instant> {
        self.evidence.live()
    }

    /// The watch is about to end, for this reason.
    pub(super) fn ending(&mut self, why: &str) {
        self.evidence.ending(why);
    }

    /// It has ended.
    pub(super) fn ended(&mut self, status: u8, why: &str) {
        self.event(Event {
            status: Some(status),
            ..evidence::event(Happening::Exit, why)
        });
        if let Some((name, e)) = self.dashboard.as_mut().and_then(Live::finish_output) {
            self.sinks.failed(unwritable(Path::new(&name), e));
        }
        let aborted = status == Exit::Abort.status();
        self.evidence.measure(&mut self.sinks, false, aborted);
    }

    /// Waits a while for what is still to be written.
    fn close(&mut self) {
        let sinks = self.stream.iter_mut().chain(&mut self.log);
        for sink in sinks.chain(self.evidence.sink()) {
            self.sinks.close(sink);
        }
        self.evidence.close(&mut self.sinks);
    }

    /// The status to end with, when all is written or given up: what could not be written turns no
    /// good status into a good one.
    pub(super) fn settle(mut self, exit: Exit) -> Result<Exit, Fault> {
        self.close();
        match self.sinks.failure.take() {
            Some(fault) if exit.status() == 0 => Err(fault),
            _ => Ok(exit),
        }
    }
}

/// Every way out: what was found is not lost because something else failed.
impl Drop for Outputs {
    fn drop(&mut self) {
        self.close();
    }
}

/// Stands by while a job is stopped, when there is time.
impl Attendant for Outputs {
    fn hurry(&mut self) -> bool {
        self.live();
        false
    }

    fn step(&mut self, step: Step) {
        self.event(evidence::step(step));
    }
}

impl Sinks {
    /// Writes one more line; a sink that fails is given up.
    pub(super) fn line<T: Serialize>(&mut self, sink: &mut Sink, line: &T) {
        match sink.write(line) {
            Ok(true) => {}
            Ok(false) => {
                sink.left_out += 1;
                if sink.left_out == 1 {
                    let name = &sink.name;
                    say(&format!(
                        "warning: {name} is not read or written fast enough; reports are left out"
                    ));
                }
            }
            Err(e) => self.lost(sink, e),
        }
    }

    fn lost(&mut self, sink: &mut Sink, e: io::Error) {
        sink.pen = Pen::Gone;
        if e.kind() == io::ErrorKind::BrokenPipe {
            // Whoever read it has seen enough.
            self.reader_gone = true;
            return;
        }
        let name = &sink.name;
        say(&format!(
            "warning: {name} cannot be written any more ({e}); the watch goes on"
        ));
        let fault = sink
            .incomplete("reports are missing there; check the free space")
            .with_cause(e);
        self.failure.get_or_insert(fault);
    }

    /// Waits a while for what is still to be written.
    fn close(&mut self, sink: &mut Sink) {
        if let Pen::Apart(scribe) = std::mem::replace(&mut sink.pen, Pen::Gone) {
            match scribe.finish(LAST) {
                Ok(true) => {}
                Ok(false) => sink.left_out += 1,
                Err(e) => self.lost(sink, e),
            }
        }
        if sink.left_out > 0 {
            let fault = sink.incomplete("its reader, or the disk, does not keep up with the watch");
            self.failure.get_or_insert(fault);
        }
    }

    /// Adds a failure of another output.
    pub(super) fn failed(&mut self, fault: Fault) {
        say(&format!("warning: {fault}"));
        self.failure.get_or_insert(fault);
    }
}

impl Sink {
    fn new(name: String, to: impl Write + Send + 'static) -> Self {
        Self {
            name,
            pen: Pen::Here(Box::new(to)),
            pretty: false,
            patience: Duration::ZERO,
            left_out: 0,
        }
    }

    /// A file that is appended to, and set aside when it has so many bytes.
    pub(super) fn append(path: &Path, limit: u64) -> Result<Self, Fault> {
        let file = Rotating::open(path, limit).map_err(|e| unwritable(path, e))?;
        Ok(Self::new(path.display().to_string(), file))
    }

    /// Writes in a thread of its own from now on.
    fn set_apart(&mut self) -> io::Result<()> {
        if let Pen::Here(mut to) = std::mem::replace(&mut self.pen, Pen::Gone) {
            let write = move |line: Vec<u8>| put(&mut *to, &line);
            self.pen = Pen::Apart(Scribe::start("lines", self.patience, write)?);
        }
        Ok(())
    }

    fn is_gone(&self) -> bool {
        matches!(self.pen, Pen::Gone)
    }

    /// Whether the line was taken.
    fn write<T: Serialize>(&mut self, document: &T) -> io::Result<bool> {
        let mut text = if self.pretty {
            serde_json::to_vec_pretty(document)?
        } else {
            serde_json::to_vec(document)?
        };
        text.push(b'\n');
        match &mut self.pen {
            Pen::Here(to) => put(to, &text).map(|()| true),
            Pen::Apart(scribe) => scribe.write(text),
            // What became of it was said.
            Pen::Gone => Ok(true),
        }
    }

    fn incomplete(&self, hint: &str) -> Fault {
        Fault::new(
            Code::IoWriteFailed,
            format!("{} could not be written to its end", self.name),
        )
        .with_hint(hint)
    }
}

/// One call for one line, so that lines of several writers do not mix.
fn put(to: &mut dyn Write, line: &[u8]) -> io::Result<()> {
    to.write_all(line)?;
    to.flush()
}

/// An error as a command prints it, where it does not end the watchdog.
pub(super) fn rendered(fault: &Fault) -> String {
    let mut text = format!("ERROR [{}]: {fault}", fault.code());
    if let Some(hint) = fault.hint() {
        text += &format!("\n  hint: {hint}");
    }
    for cause in fault.causes().iter().take(1) {
        text += &format!("\n  cause: {cause}");
    }
    text
}
