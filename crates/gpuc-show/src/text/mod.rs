//! Screens of text: the verdict first, then what it rests on, to the width of a terminal.

mod bar;
mod canvas;
mod clean;
mod plan;
mod scale;

pub use clean::clean;
pub use plan::{PlanScreen, plan};

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
