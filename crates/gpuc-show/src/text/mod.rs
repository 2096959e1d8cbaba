//! Screens of text: the verdict first, then what it rests on, to the width of a terminal.

mod bar;
mod canvas;
mod clean;
mod concentration;
mod gauge;
mod history;
mod plan;
mod profile;
mod receipt;
mod scale;
mod watchdog;

use canvas::Canvas;
pub use clean::clean;
pub use concentration::concentration;
pub use history::history;
pub use plan::{PlanScreen, plan};
pub use profile::{gist, profile};
pub use receipt::receipt;
pub use watchdog::{look, peaks};

/// A table of which each line stays one: what is too wide is cut.
pub fn table(rows: &str, terminal: &Terminal) -> String {
    let mut canvas = Canvas::new(terminal);
    for row in rows.lines() {
        canvas.line([canvas::plain(row)]);
    }
    canvas.finish()
}

/// What a terminal can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terminal {
    /// Columns.
    pub width: usize,
    /// Whether escape sequences colour it.
    pub colour: bool,
    /// Whether it shows more than ASCII.
    pub unicode: bool,
}

impl Default for Terminal {
    fn default() -> Self {
        Self {
            width: 80,
            colour: false,
            unicode: true,
        }
    }
}
