//! Frames as bytes for a terminal: only what has changed, in one piece.

use std::fmt::Write as _;

use ratatui_core::buffer::{Buffer, Cell};
use ratatui_core::style::{Color, Modifier};

use super::frame::frame;
use super::state::Dashboard;
use crate::text::Terminal;

/// Terminals that know it show what lies between at once.
const TOGETHER: (&str, &str) = ("\x1b[?2026h", "\x1b[?2026l");
/// The parting frame is as high as this at the most: what is read afterwards is the summary.
const PARTING: u16 = 32;

/// Draws a dashboard over and over.
#[derive(Debug)]
pub struct Painter {
    terminal: Terminal,
    shown: Buffer,
    /// Whether what is on the terminal is not known.
    fresh: bool,
}

impl Painter {
    /// For a terminal that shows colours and more than ASCII, or does not.
    pub fn new(terminal: &Terminal) -> Self {
        Self {
            terminal: *terminal,
            shown: Buffer::default(),
            fresh: true,
        }
    }

    /// Whatever the terminal shows, it is drawn over.
    pub fn forget(&mut self) {
        self.fresh = true;
    }

    /// What makes a terminal of so many columns and rows show `dashboard`; nothing where it does.
    pub fn paint(&mut self, dashboard: &Dashboard, size: (u16, u16)) -> String {
        let frame = frame(dashboard, size, self.terminal.unicode);
        let mut out = String::new();
        if self.fresh || frame.area != self.shown.area {
            self.shown = Buffer::empty(frame.area);
            self.fresh = false;
            out += "\x1b[0m\x1b[2J";
        }
        let mut style = None;
        let mut after = None;
        for (x, y, cell) in self.shown.diff(&frame) {
            // What is wider on one terminal than on another moves nothing that stands behind it.
            if after != Some((x, y)) {
                let _ = write!(out, "\x1b[{};{}H", y + 1, x + 1);
            }
            self.cell(&mut out, &mut style, cell);
            after = is_plain(cell).then_some((x + 1, y));
        }
        self.shown = frame;
        if out.is_empty() {
            return out;
        }
        format!("{}{out}\x1b[0m{}", TOGETHER.0, TOGETHER.1)
    }

    fn cell(&self, out: &mut String, style: &mut Option<(Color, Modifier)>, cell: &Cell) {
        let now = (cell.fg, cell.modifier);
        if self.terminal.colour && *style != Some(now) {
            *out += "\x1b[0";
            for (modifier, code) in [(Modifier::BOLD, ";1"), (Modifier::REVERSED, ";7")] {
                if cell.modifier.contains(modifier) {
                    *out += code;
                }
            }
            *out += match cell.fg {
                Color::Red => ";31",
                Color::Green => ";32",
                Color::Yellow => ";33",
                Color::Cyan => ";36",
                Color::DarkGray => ";90",
                _ => "",
            };
            out.push('m');
            *style = Some(now);
        }
        *out += cell.symbol();
    }
}

/// Whether every terminal gives the cell one column.
fn is_plain(cell: &Cell) -> bool {
    let mut chars = cell.symbol().chars();
    let one = chars.next();
    let alone = chars.next().is_none();
    alone && one.is_some_and(|c| c.is_ascii() || ('\u{2500}'..='\u{259f}').contains(&c))
}

/// The last frame as lines, to stay when the dashboard is gone.
pub fn parting(dashboard: &Dashboard, size: (u16, u16), terminal: &Terminal) -> String {
    let frame = frame(dashboard, (size.0, size.1.min(PARTING)), terminal.unicode);
    let painter = Painter::new(terminal);
    let mut out = String::new();
    for row in frame.content.chunks(usize::from(frame.area.width).max(1)) {
        let blank = |cell: &Cell| cell.symbol() == " " && cell.modifier.is_empty();
        let used = row.iter().rposition(|c| !blank(c)).map_or(0, |at| at + 1);
        let mut style = None;
        let mut covered = 0;
        for cell in row.iter().take(used) {
            // Behind what takes two columns there is a cell that takes none.
            if covered == 0 {
                painter.cell(&mut out, &mut style, cell);
                covered = unicode_width::UnicodeWidthStr::width(cell.symbol()).max(1);
            }
            covered -= 1;
        }
        if style.is_some() {
            out += "\x1b[0m";
        }
        out.push('\n');
    }
    let kept = out.trim_end_matches('\n').len();
    out.truncate(kept);
    out.push('\n');
    out
}
