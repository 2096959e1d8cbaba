//! Lines that fit: cut, wrapped, aligned and painted.

use anstyle::{AnsiColor, Style};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::{Terminal, clean};

/// Beyond it, lines get hard to read and bars tell no more.
const WIDEST: usize = 120;
/// Below it nothing can be aligned; such a terminal wraps.
const NARROWEST: usize = 24;

/// Good news.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default().bold();
/// Bad news.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
/// What needs attention.
pub(crate) const WARN: Style = AnsiColor::Yellow.on_default().bold();
/// A heading, or the number that matters.
pub(crate) const STRONG: Style = Style::new().bold();
/// What may be skipped.
pub(crate) const FAINT: Style = AnsiColor::BrightBlack.on_default();
/// Everything else.
pub(crate) const PLAIN: Style = Style::new();

/// Text in one style.
#[derive(Debug, Clone)]
pub(super) struct Piece(pub(super) Style, pub(super) String);

/// Plain text.
pub(super) fn plain(text: impl Into<String>) -> Piece {
    Piece(PLAIN, text.into())
}

/// Cells one by one, those of a style together.
pub(super) fn cells(cells: impl IntoIterator<Item = (char, Style)>) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    for (c, style) in cells {
        match pieces.last_mut() {
            Some(last) if last.0 == style => last.1.push(c),
            _ => pieces.push(Piece(style, c.into())),
        }
    }
    pieces
}

/// A screen as it is drawn, from above.
pub(super) struct Canvas {
    terminal: Terminal,
    out: String,
}

impl Canvas {
    pub(super) fn new(terminal: &Terminal) -> Self {
        Self {
            terminal: Terminal {
                width: terminal.width.clamp(NARROWEST, WIDEST),
                ..*terminal
            },
            out: String::new(),
        }
    }

    /// Columns that a line may take.
    pub(super) fn width(&self) -> usize {
        self.terminal.width
    }

    pub(super) fn unicode(&self) -> bool {
        self.terminal.unicode
    }

    pub(super) fn finish(self) -> String {
        self.out
    }

    pub(super) fn gap(&mut self) {
        self.out.push('\n');
    }

    /// A heading with a gap before it.
    pub(super) fn heading(&mut self, text: &str) {
        self.gap();
        self.line([Piece(STRONG, text.into())]);
    }

    /// The verdict in a word, and what it is about behind it.
    pub(super) fn verdict(&mut self, style: Style, word: &str, about: &str) {
        let badge = if self.terminal.colour {
            Piece(style.invert(), format!(" {word} "))
        } else {
            plain(word)
        };
        let indent = self.measure(&badge.1) + 2;
        let room = self.width().saturating_sub(indent).max(8);
        let mut lead = vec![badge, plain("  ")];
        for row in wrapped(&clean(about, self.unicode()), room) {
            lead.push(Piece(STRONG, row));
            self.line(std::mem::replace(
                &mut lead,
                vec![plain(" ".repeat(indent))],
            ));
        }
    }

    /// One line; what does not fit is cut.
    pub(super) fn line(&mut self, pieces: impl IntoIterator<Item = Piece>) {
        let mut left = self.width();
        for Piece(style, text) in pieces {
            let text = self.cut(&text, left);
            left = left.saturating_sub(text.width());
            self.paint(style, &text);
        }
        self.end_line();
    }

    /// `left` at the left edge, `right` at the right one.
    pub(super) fn spread(&mut self, left: Piece, right: Piece) {
        let right_width = self.measure(&right.1);
        let room = self.width().saturating_sub(right_width + 2);
        let Piece(style, text) = left;
        let text = self.cut(&text, room);
        let between = self.width().saturating_sub(text.width() + right_width);
        self.line([Piece(style, text), plain(" ".repeat(between)), right]);
    }

    /// Words over as many lines as they take, each behind `lead` or as much space.
    pub(super) fn wrap(&mut self, lead: Piece, style: Style, text: &str) {
        let indent = self.measure(&lead.1);
        let room = self.width().saturating_sub(indent).max(8);
        let mut lead = Some(lead);
        for row in wrapped(&clean(text, self.unicode()), room) {
            let before = lead.take().unwrap_or_else(|| plain(" ".repeat(indent)));
            self.line([before, Piece(style, row)]);
        }
    }

    /// Things side by side, each whole, over as many lines as they take.
    pub(super) fn flow(&mut self, indent: usize, items: Vec<Vec<Piece>>) {
        let mut row = vec![plain(" ".repeat(indent))];
        let mut used = indent;
        for item in items {
            let wide: usize = item.iter().map(|p| self.measure(&p.1)).sum();
            if used > indent && used + 3 + wide > self.width() {
                self.line(std::mem::replace(&mut row, vec![plain(" ".repeat(indent))]));
                used = indent;
            }
            if used > indent {
                row.push(plain("   "));
                used += 3;
            }
            used += wide;
            row.extend(item);
        }
        if used > indent {
            self.line(row);
        }
    }

    /// A line to copy: whole, however long it is.
    pub(super) fn verbatim(&mut self, text: &str) {
        let text = clean(text, self.unicode()).into_owned();
        self.paint(STRONG, &text);
        self.end_line();
    }

    /// Columns that `text` takes here.
    pub(super) fn measure(&self, text: &str) -> usize {
        clean(text, self.unicode()).width()
    }

    /// As much of `text` as fits `room` columns.
    pub(super) fn cut(&self, text: &str, room: usize) -> String {
        super::cut(&clean(text, self.unicode()), room, self.unicode())
    }

    fn paint(&mut self, style: Style, text: &str) {
        if self.terminal.colour && style != PLAIN && !text.trim().is_empty() {
            self.out += &format!("{style}{text}{style:#}");
        } else {
            self.out += text;
        }
    }

    fn end_line(&mut self) {
        let kept = self.out.trim_end_matches(' ').len();
        self.out.truncate(kept);
        self.out.push('\n');
    }
}

/// `text` in rows of at most `room` columns; a word is broken only where it is longer than a row.
fn wrapped(text: &str, room: usize) -> Vec<String> {
    let mut rows = Vec::new();
    let mut row = String::new();
    for word in text.split_whitespace() {
        let mut word = word;
        if !row.is_empty() && row.width() + 1 + word.width() > room {
            rows.push(std::mem::take(&mut row));
        }
        while row.is_empty() && word.width() > room {
            let mut used = 0;
            let fits = word
                .char_indices()
                .find(|(at, c)| {
                    used += c.width().unwrap_or(0);
                    used > room && *at > 0
                })
                .map_or(word.len(), |(at, _)| at);
            let (head, tail) = word.split_at(fits);
            rows.push(head.to_owned());
            word = tail;
        }
        if !row.is_empty() {
            row.push(' ');
        }
        row += word;
    }
    if !row.is_empty() {
        rows.push(row);
    }
    rows
}
