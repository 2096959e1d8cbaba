//! What a terminal sends for the keys that mean something here.

/// A key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// End the job, or the watch.
    Quit,
    /// Show or hide what the keys do.
    Help,
    /// Give the job's output the whole screen, or take it back.
    Output,
    /// Show a longer or a shorter time.
    Window,
    /// Draw everything anew.
    Redraw,
    /// Further up in the job's output by so many lines; down where it is negative.
    Lines(i32),
    /// Further up by so many screens; down where it is negative.
    Screens(i32),
    /// To the oldest line that is kept.
    Oldest,
    /// To the newest line, and on with the ones to come.
    Newest,
    /// Further right in long lines by so many columns; left where it is negative.
    Columns(i32),
    /// Leave what is laid over the screen.
    Back,
}

/// The keys in what a terminal has sent; anything else is passed over.
///
/// A sequence that is cut at the end of `bytes` is none: a terminal sends each in one piece.
pub fn keys(bytes: &[u8]) -> Vec<Key> {
    let mut out = Vec::new();
    let mut rest = bytes;
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        let key = match first {
            b'q' | 3 => Some(Key::Quit),
            b'?' | b'h' => Some(Key::Help),
            b'o' => Some(Key::Output),
            b't' => Some(Key::Window),
            b'k' => Some(Key::Lines(1)),
            b'j' => Some(Key::Lines(-1)),
            b'g' => Some(Key::Oldest),
            b'G' => Some(Key::Newest),
            b' ' => Some(Key::Screens(-1)),
            b'b' => Some(Key::Screens(1)),
            12 => Some(Key::Redraw),
            27 => {
                let (key, taken) = escaped(rest);
                rest = rest.get(taken..).unwrap_or_default();
                key
            }
            _ => None,
        };
        out.extend(key);
    }
    out
}

/// What stands behind an escape, and how many bytes it takes.
fn escaped(rest: &[u8]) -> (Option<Key>, usize) {
    let [b'[' | b'O', body @ ..] = rest else {
        // Alone it is the key itself; before a letter it is that letter with Alt.
        return (rest.is_empty().then_some(Key::Back), rest.len().min(1));
    };
    let Some(end) = body.iter().position(|b| (0x40..=0x7e).contains(b)) else {
        return (None, rest.len());
    };
    let key = match (body.get(..end).unwrap_or_default(), body.get(end)) {
        (_, Some(b'A')) => Some(Key::Lines(1)),
        (_, Some(b'B')) => Some(Key::Lines(-1)),
        (_, Some(b'C')) => Some(Key::Columns(8)),
        (_, Some(b'D')) => Some(Key::Columns(-8)),
        (_, Some(b'H')) | (b"1" | b"7", Some(b'~')) => Some(Key::Oldest),
        (_, Some(b'F')) | (b"4" | b"8", Some(b'~')) => Some(Key::Newest),
        (b"5", Some(b'~')) => Some(Key::Screens(1)),
        (b"6", Some(b'~')) => Some(Key::Screens(-1)),
        _ => None,
    };
    (key, end + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_apart_from_what_else_is_sent() {
        // (what a terminal sends, the keys)
        let cases: [(&[u8], &[Key]); 9] = [
            (b"q", &[Key::Quit]),
            (b"\x1b[A\x1b[B", &[Key::Lines(1), Key::Lines(-1)]),
            (b"\x1bOA\x1b[5~", &[Key::Lines(1), Key::Screens(1)]),
            (b"\x1b[1;5C", &[Key::Columns(8)]),
            (b"\x1b", &[Key::Back]),
            (b"\x1bq", &[]),
            (b"\x1b[200~", &[]),
            (b"\x1b[", &[]),
            (b"\xff\x00xG", &[Key::Newest]),
        ];
        for (bytes, want) in cases {
            assert_eq!(keys(bytes), want, "{bytes:?}");
        }
    }
}
