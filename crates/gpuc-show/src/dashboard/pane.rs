//! What the job prints, as lines to scroll through.

use super::scrollback::{Scrollback, line_ends};

/// Bytes of a line that are shown at the most.
const LONGEST: usize = 4096;

/// The lines, and where one looks at them.
#[derive(Debug, Clone, Default)]
pub(super) struct Pane {
    /// The number of the first line that is kept.
    first: u64,
    bytes: Vec<u8>,
    taken: u64,
    /// The line at the bottom where one has scrolled up; otherwise the newest is.
    bottom: Option<u64>,
    /// Columns that are scrolled past.
    pub(super) column: usize,
    /// Lines that the last frame had room for.
    room: std::cell::Cell<u64>,
}

/// Lines as they are shown.
pub(super) struct Shown {
    pub(super) lines: Vec<String>,
    /// Lines below them.
    pub(super) below: u64,
    /// Lines in all.
    pub(super) total: u64,
}

impl Pane {
    /// Whether there was something new to take.
    pub(super) fn take(&mut self, output: &Scrollback) -> bool {
        let is_new = output.taken() != self.taken;
        if is_new {
            (self.first, self.bytes) = output.kept();
            self.taken = output.taken();
        }
        is_new
    }

    /// Lines that there are, those that are kept no more included.
    fn total(&self) -> u64 {
        let ends = line_ends(&self.bytes);
        let open = self.bytes.last().is_some_and(|b| *b != b'\n');
        self.first + ends + u64::from(open)
    }

    /// Up by so many lines.
    pub(super) fn scroll(&mut self, lines: i64) {
        let total = self.total();
        let bottom = self.bottom.unwrap_or(total);
        let lowest = (self.first + self.room.get().max(1)).min(total);
        let moved = if lines >= 0 {
            bottom.saturating_sub(lines.unsigned_abs()).max(lowest)
        } else {
            bottom.saturating_add(lines.unsigned_abs())
        };
        self.bottom = (moved < total).then_some(moved);
    }

    /// Up by so many screens, of which one line stays.
    pub(super) fn turn(&mut self, screens: i64) {
        let screen = i64::try_from(self.room.get().saturating_sub(1).max(1)).unwrap_or(1);
        self.scroll(screens.saturating_mul(screen));
    }

    pub(super) fn follow(&mut self) {
        self.bottom = None;
        self.column = 0;
    }

    pub(super) fn shift(&mut self, columns: i32) {
        let by = usize::try_from(columns.unsigned_abs()).unwrap_or(0);
        self.column = if columns < 0 {
            self.column.saturating_sub(by)
        } else {
            self.column.saturating_add(by).min(LONGEST)
        };
    }

    /// The lines in so many rows.
    pub(super) fn shown(&self, rows: usize) -> Shown {
        self.room.set(rows as u64);
        let total = self.total();
        let bottom = self
            .bottom
            .map_or(total, |b| b.max(self.first + rows as u64))
            .min(total);
        let from = bottom.saturating_sub(rows as u64).max(self.first);
        let skipped = usize::try_from(from - self.first).unwrap_or(usize::MAX);
        let count = usize::try_from(bottom - from).unwrap_or(0);
        let lines = self.bytes.split(|b| *b == b'\n').skip(skipped).take(count);
        Shown {
            lines: lines.map(plain).collect(),
            below: total - bottom,
            total,
        }
    }
}

/// A line as a terminal would leave it, without what steers one: escape sequences are left out, what
/// stands before a carriage return is overwritten, tabs reach to the next eighth column.
fn plain(line: &[u8]) -> String {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let last = line.rsplit(|b| *b == b'\r').next().unwrap_or_default();
    let cut = last.get(..LONGEST).unwrap_or(last);
    let text = String::from_utf8_lossy(cut);
    let mut out = String::with_capacity(text.len());
    let mut columns = 0;
    let mut marks = 0;
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '\x1b' => skip_sequence(&mut rest),
            '\u{9b}' => skip_until(&mut rest, is_final),
            '\t' => {
                let wide = 8 - columns % 8;
                out.extend(std::iter::repeat_n(' ', wide));
                columns += wide;
            }
            '\u{8}' => {}
            c => {
                let wide = unicode_width::UnicodeWidthChar::width(c).unwrap_or(1);
                // Marks over a letter are few; a tower of them would leave its row.
                marks = if wide == 0 { marks + 1 } else { 0 };
                if marks <= 2 {
                    out.push(c);
                }
                columns += wide;
            }
        }
    }
    out
}

fn is_final(c: char) -> bool {
    ('@'..='~').contains(&c)
}

/// What follows an escape.
fn skip_sequence(rest: &mut std::str::Chars<'_>) {
    match rest.next() {
        Some('[') => skip_until(rest, is_final),
        Some(']' | 'P' | 'X' | '^' | '_') => {
            // A text of any length, up to a bell or an escape and a backslash.
            while let Some(c) = rest.next() {
                match c {
                    '\x07' | '\u{9c}' => return,
                    '\x1b' => {
                        rest.next();
                        return;
                    }
                    _ => {}
                }
            }
        }
        Some(' '..='/') => skip_until(rest, |c| ('0'..='~').contains(&c)),
        _ => {}
    }
}

fn skip_until(rest: &mut std::str::Chars<'_>, is_end: impl Fn(char) -> bool) {
    for c in rest.by_ref() {
        if is_end(c) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_shown_as_a_terminal_would_leave_it() {
        // (bytes, what is shown)
        let cases: [(&[u8], &str); 10] = [
            (b"plain", "plain"),
            (b"\x1b[1;32mgreen\x1b[0m end", "green end"),
            (b"10 %\r50 %\r100 %", "100 %"),
            (b"dos line\r", "dos line"),
            (b"a\tb", "a       b"),
            (b"\x1b]0;owned\x07title", "title"),
            (b"\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
            (b"\x1b(B\x1b=set", "set"),
            (b"\xff\xfe", "\u{fffd}\u{fffd}"),
            (
                "e\u{301}\u{301}\u{301}\u{301}".as_bytes(),
                "e\u{301}\u{301}",
            ),
        ];
        for (bytes, want) in cases {
            assert_eq!(plain(bytes), want);
        }
    }

    #[test]
    fn what_is_looked_at_stays_while_more_is_printed() {
        let mut all = Scrollback::default();
        let mut pane = Pane::default();
        for n in 0..100 {
            all.push(format!("line {n}\n").as_bytes());
        }
        pane.take(&all);
        assert_eq!(pane.shown(3).lines, ["line 97", "line 98", "line 99"]);
        pane.scroll(10);
        for n in 100..200 {
            all.push(format!("line {n}\n").as_bytes());
        }
        pane.take(&all);
        let shown = pane.shown(3);
        assert_eq!(shown.lines, ["line 87", "line 88", "line 89"]);
        assert_eq!((shown.below, shown.total), (110, 200));
        pane.scroll(i64::MAX);
        assert_eq!(pane.shown(3).lines.first().unwrap(), "line 0");
        pane.turn(-1);
        assert_eq!(pane.shown(3).lines.first().unwrap(), "line 2");
        pane.scroll(i64::MIN);
        assert_eq!(pane.shown(2).lines, ["line 198", "line 199"]);
    }
}
