//! Where reports go: the report stream, the log, and a line for people on standard error.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use gpuc_core::document::{LogLine, Report, Thresholds};
use gpuc_core::error::{Code, Fault};
use gpuc_core::exit::Exit;
use gpuc_core::safety::Place;
use gpuc_show::svg::Track;
use serde::Serialize;

use super::render;
use super::settings::Settings;
use crate::check_writable;
use crate::deliver::{deliver_picture, unwritable};

/// One place that lines of JSON go to.
struct Sink {
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
    reader_gone: bool,
    failure: Option<Fault>,
}

impl Outputs {
    /// Checks that what is to be written in the end, or would be, can be written.
    pub(super) fn check(settings: &Settings) -> Result<(), Fault> {
        let mut files = vec![&settings.json_out, &settings.log];
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
        let log = match &settings.log {
            Some(path) => {
                let file = File::options().append(true).create(true).open(path);
                Some(Sink::file(path, file.map_err(|e| unwritable(path, e))?))
            }
            None => None,
        };
        let drawn = settings.job.as_ref().and_then(|job| job.svg.as_ref());
        Ok(Self {
            stream,
            log,
            track: drawn.map(|_| Track::new()),
            place: settings.place,
            json: settings.json,
            said: None,
            reader_gone: false,
            failure: None,
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
        if let Some(mut sink) = self.log.take() {
            match sink.write(&LogLine::new(gpuc_rig::host::now(), at, report)) {
                Ok(()) => self.log = Some(sink),
                Err(e) => failed.push((sink.name, e)),
            }
        }
        if let Some(track) = &mut self.track {
            track.look(at.as_secs_f64(), report);
        }
        for (name, e) in failed {
            self.lost(&name, e);
        }
        self.tell_people(report, settings);
    }

    fn tell_people(&mut self, report: &Report, settings: &Settings) {
        match self.place {
            Place::Once if self.json => {}
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

    /// Whether nobody reads what this watch prints, and nothing else is done with it.
    pub(super) fn is_unheard(&self) -> bool {
        self.reader_gone && self.stream.is_empty() && self.log.is_none()
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
        say(&format!("warning: {fault}"));
        self.failure.get_or_insert(fault);
    }

    /// The status to end with: what could not be written turns no good status into a good one.
    pub(super) fn settle(self, exit: Exit) -> Result<Exit, Fault> {
        match self.failure {
            Some(fault) if exit.status() == 0 => Err(fault),
            _ => Ok(exit),
        }
    }
}

impl Sink {
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
    let _ = writeln!(io::stderr(), "{}", text.trim_end());
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
