//! Writing into a frame: within its bounds, cut with an ellipsis, harmless.

use anstyle::{AnsiColor, Color, Effects};
use ratatui_core::buffer::Buffer;
use ratatui_core::layout::Rect;
use ratatui_core::style::{self, Modifier};
use unicode_width::UnicodeWidthStr as _;

use crate::text::{clean, cut};

/// A style as the other screens have it, for a frame.
fn styled(style: anstyle::Style) -> style::Style {
    let mut out = style::Style::new();
    if let Some(Color::Ansi(colour)) = style.get_fg_color() {
        out = out.fg(match colour {
            AnsiColor::Red => style::Color::Red,
            AnsiColor::Green => style::Color::Green,
            AnsiColor::Yellow => style::Color::Yellow,
            AnsiColor::BrightBlack => style::Color::DarkGray,
            _ => style::Color::Cyan,
        });
    }
    let effects = style.get_effects();
    for (effect, modifier) in [
        (Effects::BOLD, Modifier::BOLD),
        (Effects::INVERT, Modifier::REVERSED),
    ] {
        if effects.contains(effect) {
            out = out.add_modifier(modifier);
        }
    }
    out
}

/// A row of a frame, written from left to right.
pub(super) struct Pen<'a> {
    buffer: &'a mut Buffer,
    x: u16,
    y: u16,
    end: u16,
    unicode: bool,
}

impl<'a> Pen<'a> {
    /// At the start of this row of an area; one outside the frame takes nothing.
    pub(super) fn new(buffer: &'a mut Buffer, area: Rect, row: u16, unicode: bool) -> Self {
        let row = area.y.saturating_add(row);
        let visible = area.intersection(buffer.area);
        let end = if (visible.y..visible.bottom()).contains(&row) {
            visible.right()
        } else {
            visible.x
        };
        Self {
            x: visible.x,
            y: row,
            end,
            buffer,
            unicode,
        }
    }

    /// Columns that are left.
    pub(super) fn room(&self) -> usize {
        usize::from(self.end.saturating_sub(self.x))
    }

    /// Writes `text`, cut where the row ends.
    pub(super) fn put(&mut self, style: anstyle::Style, text: &str) -> &mut Self {
        let text = cut(&clean(text, self.unicode), self.room(), self.unicode);
        self.write(style, &text);
        self
    }

    /// Leaves columns free.
    pub(super) fn skip(&mut self, columns: usize) -> &mut Self {
        let columns = u16::try_from(columns).unwrap_or(u16::MAX);
        self.x = self.x.saturating_add(columns).min(self.end);
        self
    }

    /// Writes `text` at the left of so many columns.
    pub(super) fn left(&mut self, style: anstyle::Style, text: &str, columns: usize) -> &mut Self {
        let text = self.fitted(text, columns);
        let rest = columns.saturating_sub(text.width());
        self.write(style, &text);
        self.skip(rest)
    }

    /// Writes `text` at the right of so many columns.
    pub(super) fn right(&mut self, style: anstyle::Style, text: &str, columns: usize) -> &mut Self {
        let text = self.fitted(text, columns);
        self.skip(columns.min(self.room()).saturating_sub(text.width()));
        self.write(style, &text);
        self
    }

    /// Writes `text` at the right edge, where there is room for all of it.
    pub(super) fn at_edge(&mut self, style: anstyle::Style, text: &str) {
        let text = clean(text, self.unicode).into_owned();
        if text.width() <= self.room() {
            let rest = self.room() - text.width();
            self.skip(rest).write(style, &text);
        }
    }

    /// Columns that `text` takes here.
    pub(super) fn measure(&self, text: &str) -> usize {
        clean(text, self.unicode).width()
    }

    fn fitted(&self, text: &str, columns: usize) -> String {
        let room = columns.min(self.room());
        cut(&clean(text, self.unicode), room, self.unicode)
    }

    fn write(&mut self, style: anstyle::Style, text: &str) {
        if self.x < self.end {
            let room = self.room();
            (self.x, _) = self
                .buffer
                .set_stringn(self.x, self.y, text, room, styled(style));
        }
    }
}
