//! What a dashboard knows, and what keys change about it.

use std::time::Duration;

use gpuc_core::document::{Event, Happening, Report, Thresholds};
use gpuc_core::safety::GpuReading;

use super::events::{Line, line};
use super::history::History;
use super::key::Key;
use super::pane::Pane;
use super::scrollback::Scrollback;

/// Events that are kept.
const MOST_EVENTS: usize = 200;
/// Seconds that trajectories show, in turn; of the first the beginning alone while there is no more.
const WINDOWS: [u32; 3] = [300, 900, 60];
/// Seconds that a watch shows at its beginning.
const BEGINNING: u32 = 60;

/// What a watch is about.
#[derive(Debug, Clone, Default)]
pub struct About {
    /// The job as a command line; nothing where there is none.
    pub command: Option<String>,
    /// The number of its first process.
    pub pid: Option<i32>,
    /// Whether what it prints is shown.
    pub has_output: bool,
    /// Seconds from one look to the next.
    pub interval: f64,
}

/// One look.
#[derive(Debug, Clone)]
pub struct Look {
    /// When, since the start.
    pub at: Duration,
    /// What was found.
    pub report: Report,
    /// The GPUs one by one; nothing where they did not answer.
    pub gpus: Option<Vec<GpuReading>>,
    /// The job's processes.
    pub processes: Option<usize>,
    /// The limits in force.
    pub thresholds: Thresholds,
}

/// What a key asks of whoever shows the dashboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// End the job, or the watch.
    Quit,
    /// Draw everything anew.
    Redraw,
}

/// Where a watch stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Phase {
    Watching,
    /// The job is being stopped, or the watch is.
    Ending(String),
    /// How, and with which status.
    Ended(String, u8),
}

/// A live dashboard.
#[derive(Debug, Clone)]
pub struct Dashboard {
    pub(super) about: About,
    pub(super) now: Duration,
    pub(super) phase: Phase,
    pub(super) last: Option<Look>,
    pub(super) history: History,
    pub(super) events: Vec<Line>,
    pub(super) pane: Pane,
    /// Which of the windows.
    window: usize,
    pub(super) help: bool,
    /// Whether the job's output has the whole screen.
    pub(super) output_only: bool,
}

impl Dashboard {
    /// One that has seen nothing yet.
    pub fn new(about: About) -> Self {
        Self {
            about,
            now: Duration::ZERO,
            phase: Phase::Watching,
            last: None,
            history: History::default(),
            events: Vec::new(),
            pane: Pane::default(),
            window: 0,
            help: false,
            output_only: false,
        }
    }

    /// Lets time pass: so much since the start.
    pub fn tick(&mut self, now: Duration) {
        self.now = now;
    }

    /// Takes in a look.
    pub fn look(&mut self, look: Look) {
        self.now = self.now.max(look.at);
        self.history
            .look(look.at.as_secs_f64(), &look.report.sample);
        let before = self.last.take();
        let processes = before.and_then(|l| l.processes);
        self.last = Some(Look {
            processes: look.processes.or(processes),
            ..look
        });
    }

    /// Takes in a decision.
    pub fn event(&mut self, event: &Event) {
        match event.event {
            Happening::Signalled => {
                self.phase = Phase::Ending(format!("{} to the watchdog", event.reason));
            }
            Happening::Term if self.phase == Phase::Watching => {
                self.phase = Phase::Ending("the job is being stopped".to_owned());
            }
            Happening::Exit => {
                self.phase = Phase::Ended(event.reason.clone(), event.status.unwrap_or(0));
                // What stays on the terminal is the end.
                self.pane.follow();
            }
            _ => {}
        }
        self.keep(line(event));
    }

    /// Takes in words that the watchdog, or what it has started, would say on standard error.
    pub fn words(&mut self, words: &str) {
        self.keep(Line::words(self.now.as_secs_f64(), words));
    }

    fn keep(&mut self, line: Line) {
        if self.events.len() >= MOST_EVENTS {
            self.events.remove(0);
        }
        self.events.push(line);
    }

    /// Takes in what the job has printed; whether there is more of it than before.
    pub fn output(&mut self, output: &Scrollback) -> bool {
        self.pane.take(output)
    }

    /// Does what a key asks for; what it cannot do itself it gives back.
    pub fn key(&mut self, key: Key) -> Option<Wish> {
        match key {
            Key::Quit => return Some(Wish::Quit),
            Key::Redraw => return Some(Wish::Redraw),
            Key::Help => self.help = !self.help,
            Key::Back => {
                if !std::mem::take(&mut self.help) {
                    self.output_only = false;
                }
            }
            Key::Output => self.output_only = self.about.has_output && !self.output_only,
            Key::Window => self.window = (self.window + 1) % WINDOWS.len(),
            Key::Lines(n) => self.pane.scroll(i64::from(n)),
            Key::Screens(n) => self.pane.turn(i64::from(n)),
            Key::Oldest => self.pane.scroll(i64::MAX),
            Key::Newest => self.pane.follow(),
            Key::Columns(n) => self.pane.shift(n),
        }
        None
    }

    /// Seconds that trajectories show.
    pub(super) fn window(&self) -> f64 {
        let all = WINDOWS.get(self.window).copied().unwrap_or(BEGINNING);
        let is_young = self.window == 0 && self.now.as_secs() < u64::from(BEGINNING);
        f64::from(if is_young { BEGINNING } else { all })
    }
}
