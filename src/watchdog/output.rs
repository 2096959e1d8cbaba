//! Where reports go: the report stream, the log, and a line for people on standard error.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use gpuc_core::document::{Event, Happening, LogLine, Report, Thresholds};
use gpuc_core::error::{Code, Fault};
use gpuc_core::exit::Exit;
use gpuc_core::safety::Place;
use gpuc_rig::supervise::{Attendant, Step};
use gpuc_show::svg::Track;
use gpuc_show::text;
use serde::Serialize;

use super::evidence::{self, Evidence};
use super::render;
use super::rotate::Rotating;
use super::settings::Settings;
use crate::check_writable;
use crate::deliver::{deliver_picture, deliver_text, unwritable};
use crate::screen;

/// One place that lines of JSON go to.
pub(super) struct Sink {
    name: String,
    to: Box<dyn Write>,
    pretty: bool,
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
            files.extend([&job.peaks_out, &job.svg]);
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
            stream.push(Sink {
                name: "standard output".to_owned(),
                to: Box::new(io::stdout()),
                pretty: settings.place == Place::Once,
            });
        }
        if let Some(path) = &settings.json_out {
            let file = File::create(path).map_err(|e| unwritable(path, e))?;
            stream.push(Sink::file(path, file));
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
        })
    }

    /// Hands out one report, made `at` after the start.
    pub(super) fn report(&mut self, at: Duration, report: &Report, settings: &Settings) {
        let mut failed = Vec::new();
        self.stream.retain_mut(|sink| match sink.write(report) {
            Ok(()) => true,
            Err(e) => {
                failed.push((sink.name.clone(), e));
                false
            }
        });
        for (name, e) in failed {
            self.sinks.lost(&name, e);
        }
        self.record(at, report);
        self.tell_people(report, settings);
    }

    /// Keeps a report that is no look of its own, one made while a job is stopped, out of the
    /// report stream.
    pub(super) fn record(&mut self, at: Duration, report: &Report) {
        let line = || LogLine::new(gpuc_rig::host::now(), at, report);
        self.sinks.line(&mut self.log, line);
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
            Place::Watch if !self.json => say(&render::line(report)),
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
        self.sinks.reader_gone && self.stream.is_empty() && self.log.is_none()
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
        self.evidence.tell(&mut self.sinks, event);
    }

    /// The watch has begun, over this job if there is one; `notes` say what is not as it could be.
    pub(super) fn begun(&mut self, pid: Option<i32>, notes: &str) {
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
        let aborted = status == Exit::Abort.status();
        self.evidence.measure(&mut self.sinks, false, aborted);
    }

    /// The status to end with: what could not be written turns no good status into a good one.
    pub(super) fn settle(self, exit: Exit) -> Result<Exit, Fault> {
        match self.sinks.failure {
            Some(fault) if exit.status() == 0 => Err(fault),
            _ => Ok(exit),
        }
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
    /// Writes one more line where there is somewhere to write it; a sink that fails is given up.
    pub(super) fn line<T: Serialize>(&mut self, to: &mut Option<Sink>, line: impl FnOnce() -> T) {
        let Some(sink) = to else { return };
        if let Err(e) = sink.write(&line()) {
            let name = std::mem::take(&mut sink.name);
            *to = None;
            self.lost(&name, e);
        }
    }

    fn lost(&mut self, name: &str, e: io::Error) {
        if e.kind() == io::ErrorKind::BrokenPipe {
            // Whoever read it has seen enough.
            self.reader_gone = true;
            return;
        }
        say(&format!(
            "warning: {name} cannot be written any more ({e}); the watch goes on"
        ));
        let fault = Fault::new(
            Code::IoWriteFailed,
            format!("{name} could not be written to its end"),
        )
        .with_hint("reports are missing there; check the free space")
        .with_cause(e);
        self.failure.get_or_insert(fault);
    }

    /// Adds a failure of another output.
    pub(super) fn failed(&mut self, fault: Fault) {
        say(&format!("warning: {fault}"));
        self.failure.get_or_insert(fault);
    }
}

impl Sink {
    /// A file that is appended to, and set aside when it has so many bytes.
    pub(super) fn append(path: &Path, limit: u64) -> Result<Self, Fault> {
        Ok(Self {
            name: path.display().to_string(),
            to: Box::new(Rotating::open(path, limit).map_err(|e| unwritable(path, e))?),
            pretty: false,
        })
    }

    fn file(path: &Path, file: File) -> Self {
        Self {
            name: path.display().to_string(),
            to: Box::new(file),
            pretty: false,
        }
    }

    fn write<T: Serialize>(&mut self, document: &T) -> io::Result<()> {
        let mut text = if self.pretty {
            serde_json::to_string_pretty(document)?
        } else {
            serde_json::to_string(document)?
        };
        text.push('\n');
        // One call for one line, so that lines of several writers do not mix.
        self.to.write_all(text.as_bytes())?;
        self.to.flush()
    }
}

/// A line for people. Standard error may be closed; that is no reason to stop watching.
pub(super) fn say(text: &str) {
    screen::say(text.trim_end());
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
