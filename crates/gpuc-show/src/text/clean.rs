//! Text that comes from files and drivers, made harmless for a terminal.

use std::borrow::Cow;

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// `text` without what could steer a terminal or turn the line around (control characters, marks of
/// writing direction), and, without `unicode`, in ASCII.
///
/// Line ends and tabs become a space: where lines break is decided by who draws them.
pub fn clean(text: &str, unicode: bool) -> Cow<'_, str> {
    if text.bytes().all(|b| (b' '..0x7f).contains(&b)) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            ' '..='~' => out.push(c),
            '\n' | '\r' | '\t' => out.push(' '),
            c if steers(c) => out.push(if unicode {
                char::REPLACEMENT_CHARACTER
            } else {
                '?'
            }),
            c if unicode => out.push(c),
            c => out += ascii(c),
        }
    }
    Cow::Owned(out)
}

fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The nearest that ASCII has.
fn ascii(c: char) -> &'static str {
    match c {
        '\u{a0}' | '\u{202f}' => " ",
        '°' => "",
        '×' => "x",
        '·' | '‐'..='―' | '−' => "-",
        '±' => "+-",
        '≤' => "<=",
        '≥' => ">=",
        '…' => "...",
        '‘' | '’' => "'",
        '“' | '”' => "\"",
        'µ' | 'μ' => "u",
        _ => "?",
    }
}

/// As much of `text`, which is clean, as fits `room` columns; where some is missing it ends with an
/// ellipsis.
pub(crate) fn cut(text: &str, room: usize, unicode: bool) -> String {
    if text.width() <= room {
        return text.to_owned();
    }
    if room == 0 {
        return String::new();
    }
    let mut out = String::new();
    let mut used = 1;
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > room {
            break;
        }
        out.push(c);
    }
    out.push(if unicode { '…' } else { '~' });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_steers_the_terminal() {
        let hostile = "a\x1b[2J\u{9b}31mb\u{202e}c\u{7}\rd\ne\u{7f}\u{200b}";
        let shown = clean(hostile, true);
        assert_eq!(
            shown,
            "a\u{fffd}[2J\u{fffd}31mb\u{fffd}c\u{fffd} d e\u{fffd}\u{fffd}"
        );
        assert_eq!(clean(hostile, false), "a?[2J?31mb?c? d e??");
        assert_eq!(clean("Größe 中", true), "Größe 中");
        assert_eq!(clean("2×4 – 80 °C ± 1 中", false), "2x4 - 80 C +- 1 ?");
        assert!(matches!(clean("RTX 3060", true), Cow::Borrowed(_)));
    }
}
