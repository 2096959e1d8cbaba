//! Screens of text: the verdict first, then what it rests on, to the width of a terminal.

mod bar;
pub(crate) mod canvas;
mod clean;
mod concentration;
mod frontier;
mod gauge;
mod history;
mod plan;
mod profile;
mod receipt;
pub(crate) mod scale;
mod watchdog;

pub use clean::clean;
pub(crate) use clean::cut;
pub use concentration::concentration;
pub use frontier::frontier;
pub use history::history;
pub use plan::{PlanScreen, plan};
pub use profile::{gist, profile};
pub use receipt::receipt;
pub(crate) use watchdog::crossed;
pub use watchdog::{look, peaks};

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
