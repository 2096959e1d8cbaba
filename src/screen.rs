//! What goes to a terminal: which screens, how wide, in which characters, and words on standard
//! error.

#[cfg(target_os = "linux")]
use std::convert::Infallible;
use std::env;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
#[cfg(target_os = "linux")]
use std::sync::OnceLock;
#[cfg(target_os = "linux")]
use std::time::Duration;

use clap::ValueEnum;
use gpuc_core::error::Fault;
#[cfg(target_os = "linux")]
use gpuc_rig::supervise::Scribe;
use gpuc_show::text::{Terminal, clean};
use serde::Serialize;
use terminal_size::{Height, Width};

use crate::deliver::{deliver_json, deliver_text};

/// `--format`, for every command.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub(crate) struct FormatArgs {
    /// What standard output gets: a screen for people, or the document as JSON [default: text on a
    /// terminal, else json; nothing where the document goes to a file]
    #[arg(long, value_name = "FORMAT", value_enum, global = true)]
    format: Option<Format>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

impl FormatArgs {
    /// Whether the document is asked for by name.
    #[cfg(target_os = "linux")]
    pub(crate) fn wants_json(self) -> bool {
        self.format == Some(Format::Json)
    }

    /// Whether standard output gets a screen.
    pub(crate) fn wants_screen(self, out: Option<&Path>) -> bool {
        match self.format {
            Some(format) => format == Format::Text,
            None => out.is_none() && io::stdout().is_terminal(),
        }
    }

    /// Writes a document to `out` or to standard output, or shows it there as a screen; whether it
    /// did, so that nothing more need be said.
    pub(crate) fn deliver<T: Serialize>(
        self,
        document: &T,
        out: Option<&Path>,
        screen: impl FnOnce(&Terminal) -> String,
    ) -> Result<bool, Fault> {
        let shows = self.wants_screen(out);
        if out.is_some() || !shows {
            deliver_json(document, out)?;
        }
        if shows {
            deliver_text(&screen(&terminal()))?;
        }
        Ok(shows)
    }
}

/// What standard output can show.
pub(crate) fn terminal() -> Terminal {
    let stdout = io::stdout();
    let size = terminal_size::terminal_size_of(&stdout);
    described(stdout.is_terminal(), size)
}

/// What standard error can show, where it is a terminal.
#[cfg(target_os = "linux")]
pub(crate) fn terminal_of_errors() -> Option<Terminal> {
    let stderr = io::stderr();
    let size = terminal_size::terminal_size_of(&stderr);
    stderr.is_terminal().then(|| described(true, size))
}

/// What [`say`] can show, which lets no colour through.
pub(crate) fn words() -> Terminal {
    let size = terminal_size::terminal_size_of(io::stderr());
    described(false, size)
}

fn described(is_terminal: bool, size: Option<(Width, Height)>) -> Terminal {
    let columns = text("COLUMNS").and_then(|c| c.parse().ok());
    let width = columns.or(size.map(|(width, _)| usize::from(width.0)));
    Terminal {
        width: width.filter(|w| *w > 0).unwrap_or(80),
        colour: colour(is_terminal),
        unicode: unicode(),
    }
}

/// The value of a variable that is set and not empty.
fn text(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// <https://no-color.org> before <https://bixense.com/clicolors>, and both before what it is.
fn colour(is_terminal: bool) -> bool {
    if env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty()) {
        return false;
    }
    if text("CLICOLOR_FORCE").is_some_and(|v| v != "0") {
        return true;
    }
    is_terminal && text("TERM").is_some_and(|term| term != "dumb")
}

/// Whether the locale's characters are UTF-8, by the first of the variables that is set.
fn unicode() -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|v| text(v));
    cfg!(windows)
        || locale.is_some_and(|l| {
            let l = l.to_lowercase();
            l.contains("utf-8") || l.contains("utf8")
        })
}

/// Who writes to standard error while something is watched.
#[cfg(target_os = "linux")]
static APART: OnceLock<Scribe<String, Infallible>> = OnceLock::new();
/// How long words are waited for, as long as they are written at once.
#[cfg(target_os = "linux")]
const PATIENCE: Duration = Duration::from_millis(5);

/// From now on a terminal or a pipe that takes no more words holds nobody up.
#[cfg(target_os = "linux")]
pub(crate) fn set_apart() {
    let write = |text: String| {
        write_now(&text);
        Ok(())
    };
    if APART.get().is_none()
        && let Ok(scribe) = Scribe::start("words", PATIENCE, write)
    {
        // Set by another thread in this moment, that one serves.
        let _ = APART.set(scribe);
    }
}

/// Waits a while for the last words, for which nobody can wait any more.
pub(crate) fn settle() {
    #[cfg(target_os = "linux")]
    if let Some(scribe) = APART.get() {
        let _ = scribe.finish(Duration::from_secs(2));
    }
}

/// Words for people on standard error, each line with its end; names in them that would steer a
/// terminal do not reach one.
pub(crate) fn say(words: &str) {
    show(if io::stderr().is_terminal() {
        words.lines().map(|l| clean(l, true) + "\n").collect()
    } else if words.is_empty() || words.ends_with('\n') {
        words.to_owned()
    } else {
        format!("{words}\n")
    });
}

/// Writes to standard error as it is.
pub(crate) fn show(text: String) {
    #[cfg(target_os = "linux")]
    if let Some(scribe) = APART.get() {
        // What is not taken nobody has read for a long while.
        let _ = scribe.write(text);
        return;
    }
    write_now(&text);
}

/// Nobody has to listen: standard error that is closed changes no verdict.
fn write_now(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}
