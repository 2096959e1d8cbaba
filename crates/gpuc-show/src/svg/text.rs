//! How wide a text is, roughly: fonts differ, so the guess is on the wide side.

/// The width of `text` at `size` pixels.
pub(crate) fn width(text: &str, size: f64) -> f64 {
    text.chars().map(|c| share(c) * size).sum()
}

/// Of an em, as the wider of the common faces without serifs have it.
fn share(c: char) -> f64 {
    match c {
        'i' | 'j' | 'l' | '.' | ',' | ':' | ';' | '\'' | '|' | '!' => 0.3,
        ' ' | 'f' | 't' | 'r' | 'I' | '(' | ')' | '[' | ']' | '/' | '-' => 0.38,
        'm' | 'M' | 'w' | 'W' | '@' | '%' => 0.92,
        'A'..='Z' => 0.7,
        c if c.is_ascii() => 0.6,
        '\u{a0}'..='\u{24f}' | '–' | '…' | '−' => 0.65,
        '\u{370}'..='\u{52f}' => 0.7,
        _ => 1.1,
    }
}

/// As much of `text` as fits into `most` pixels, with an ellipsis where some is left out.
pub(crate) fn fit(text: &str, size: f64, most: f64) -> String {
    if width(text, size) <= most {
        return text.to_owned();
    }
    let mut room = most - width("…", size);
    let mut out = String::new();
    for c in text.chars() {
        room -= share(c) * size;
        if room < 0.0 {
            break;
        }
        out.push(c);
    }
    out.truncate(out.trim_end().len());
    out + "…"
}

/// `text` in lines that fit into `most` pixels, `lines` at most.
pub(crate) fn wrap(text: &str, size: f64, most: f64, lines: usize) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut line = String::new();
    let mut words = text.split_whitespace().peekable();
    while let Some(word) = words.next() {
        let longer = if line.is_empty() {
            word.to_owned()
        } else {
            format!("{line} {word}")
        };
        if width(&longer, size) <= most {
            line = longer;
            continue;
        }
        if out.len() + 1 >= lines {
            // The last line takes the rest, and says that it is cut.
            let rest: Vec<&str> = std::iter::once(word).chain(words).take(100).collect();
            line = fit(format!("{line} {}", rest.join(" ")).trim(), size, most);
            break;
        }
        if !line.is_empty() {
            out.push(std::mem::take(&mut line));
        }
        line = fit(word, size, most);
    }
    if !line.is_empty() {
        out.push(line);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_where_it_ends() {
        assert_eq!(fit("short", 10.0, 100.0), "short");
        let cut = fit(&"word ".repeat(50), 10.0, 100.0);
        assert!(cut.ends_with('…') && width(&cut, 10.0) <= 100.0, "{cut}");
        let lines = wrap(&"one two three four ".repeat(20), 10.0, 120.0, 3);
        assert_eq!(lines.len(), 3);
        assert!(lines.iter().all(|l| width(l, 10.0) <= 120.0), "{lines:?}");
        assert!(lines[2].ends_with('…'));
        assert_eq!(wrap("a b", 10.0, 100.0, 2), ["a b"]);
        assert!(wrap("", 10.0, 100.0, 2).is_empty());
        assert!(wrap(&"x".repeat(500), 10.0, 100.0, 2)[0].ends_with('…'));
    }
}
