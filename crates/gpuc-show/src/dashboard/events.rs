//! Decisions as lines.

use anstyle::Style;
use gpuc_core::document::{Event, Happening};

use crate::svg::metric::METRICS;
use crate::text::canvas::{BAD, FAINT, GOOD, PLAIN, STRONG, WARN};

/// A line about something that came to pass.
#[derive(Debug, Clone)]
pub(super) struct Line {
    /// Seconds after the start.
    pub(super) at: f64,
    pub(super) tone: Style,
    pub(super) what: &'static str,
    pub(super) text: String,
}

impl Line {
    /// Words that are no decision.
    pub(super) fn words(at: f64, text: &str) -> Self {
        Self {
            at,
            tone: FAINT,
            what: "says",
            text: text.to_owned(),
        }
    }
}

/// The line about a decision.
pub(super) fn line(event: &Event) -> Line {
    let (tone, what) = match event.event {
        Happening::Started => (PLAIN, "started"),
        Happening::Warning => (WARN, "near"),
        Happening::Breach => (BAD, "breach"),
        Happening::Recovered => (GOOD, "ok again"),
        Happening::Confirmed => (BAD, "confirmed"),
        Happening::Cleared => (GOOD, "cleared"),
        Happening::ActionStarted => (STRONG, "action"),
        Happening::ActionDone => (GOOD, "done"),
        Happening::ActionFailed => (BAD, "FAILED"),
        Happening::Reloaded => (PLAIN, "reloaded"),
        Happening::Signalled => (STRONG, "signal"),
        Happening::Term => (STRONG, "stop"),
        Happening::Kill => (BAD, "kill"),
        Happening::Reaped => (PLAIN, "gone"),
        Happening::Exit => (STRONG, "ended"),
    };
    let mut text = String::new();
    if let Some(action) = &event.action {
        text += &format!("{action}: ");
    } else if let (Some(key), Some(value)) = (&event.metric, event.value) {
        let metric = METRICS.iter().find(|m| m.key() == key);
        let words = |x: f64| metric.map_or_else(|| x.to_string(), |m| m.unit.words(x));
        let name = metric.map_or(key.as_str(), |m| m.short());
        let side = match event.event {
            Happening::Warning => "warning line",
            _ => "limit",
        };
        text += &format!("{name} {}", words(value));
        if let Some(line) = event.threshold
            && event.event != Happening::Recovered
        {
            text += &format!(", {side} {}", words(line));
        }
        // Of what is near its limit there is no more to say.
        if event.event != Happening::Warning {
            text += ": ";
        }
    }
    if event.event != Happening::Warning {
        text += &event.reason;
    }
    if let Some(status) = event.status {
        text += &format!(" (status {status})");
    }
    Line {
        at: event.elapsed_s,
        tone,
        what,
        text,
    }
}
