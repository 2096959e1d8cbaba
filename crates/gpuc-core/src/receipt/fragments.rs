//! Finds the JSON in a text that is not all JSON: log lines before, after and in between.
//!
//! One pass, linear in the text whatever it holds. Each complete array or object is found; where
//! an outer one breaks off (a table row printed into it, a file cut short), the complete ones
//! inside it are found instead. Whether they hold anything of use is not decided here.

/// Nesting that is followed; `serde_json` reads no deeper either.
const MAX_DEPTH: usize = 120;
/// The shortest object that could be a row; anything shorter is not worth keeping.
const SHORTEST: usize = 16;

/// Calls `found` with each maximal complete array or object of `text`, in order.
pub(super) fn each<'t>(text: &'t str, mut found: impl FnMut(&'t str)) {
    let bytes = text.as_bytes();
    let mut at = 0;
    let mut complete = Vec::new();
    while let Some(step) = bytes
        .get(at..)
        .and_then(|rest| rest.iter().position(|b| matches!(b, b'{' | b'[')))
    {
        at = skim(bytes, at + step, &mut complete);
        for (from, to) in complete.drain(..) {
            if let Some(fragment) = text.get(from..to) {
                found(fragment);
            }
        }
    }
}

/// What the grammar allows next.
#[derive(Clone, Copy)]
enum Next {
    Value,
    ValueOrEnd,
    Key,
    KeyOrEnd,
    Colon,
    CommaOrEnd,
}

/// Follows the JSON that starts at `start` until it is complete or is no JSON any more.
///
/// Returns where to look on; leaves the maximal complete containers met on the way.
fn skim(bytes: &[u8], start: usize, complete: &mut Vec<(usize, usize)>) -> usize {
    let mut open: Vec<(usize, bool)> = Vec::new();
    let mut at = start;
    let mut next = Next::Value;
    while let Some(&b) = bytes.get(at) {
        if b.is_ascii_whitespace() {
            at += 1;
            continue;
        }
        let inside_object = open.last().is_some_and(|(_, object)| *object);
        match (next, b) {
            (Next::Value | Next::ValueOrEnd, b'{' | b'[') => {
                if open.len() >= MAX_DEPTH {
                    return at;
                }
                open.push((at, b == b'{'));
                next = if b == b'{' {
                    Next::KeyOrEnd
                } else {
                    Next::ValueOrEnd
                };
                at += 1;
            }
            (Next::ValueOrEnd, b']') | (Next::KeyOrEnd, b'}') | (Next::CommaOrEnd, b']' | b'}') => {
                if (b == b'}') != inside_object {
                    return at;
                }
                at += 1;
                if let Some((from, _)) = open.pop() {
                    while complete.last().is_some_and(|(inner, _)| *inner > from) {
                        complete.pop();
                    }
                    if at - from >= SHORTEST {
                        complete.push((from, at));
                    }
                }
                if open.is_empty() {
                    return at;
                }
                next = Next::CommaOrEnd;
            }
            (Next::CommaOrEnd, b',') => {
                next = if inside_object {
                    Next::Key
                } else {
                    Next::Value
                };
                at += 1;
            }
            (Next::Colon, b':') => {
                next = Next::Value;
                at += 1;
            }
            (Next::Key | Next::KeyOrEnd | Next::Value | Next::ValueOrEnd, b'"') => {
                match string_end(bytes, at) {
                    Ok(end) => at = end,
                    Err(broken) => return broken,
                }
                next = match next {
                    Next::Key | Next::KeyOrEnd => Next::Colon,
                    _ => Next::CommaOrEnd,
                };
            }
            (Next::Value | Next::ValueOrEnd, b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => {
                at += bytes
                    .get(at..)
                    .unwrap_or_default()
                    .iter()
                    .take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'+' | b'.'))
                    .count();
                next = Next::CommaOrEnd;
            }
            // No JSON: what is complete so far is all there is, and this byte may start anew.
            _ => return at.max(start + 1),
        }
    }
    bytes.len()
}

/// The offset behind the string that starts at `start`, or where it turns out to be none.
fn string_end(bytes: &[u8], start: usize) -> Result<usize, usize> {
    let mut at = start + 1;
    while let Some(&b) = bytes.get(at) {
        match b {
            b'"' => return Ok(at + 1),
            b'\\' => at += 2,
            // JSON strings hold no raw line breaks, so a stray quote spoils one line at most.
            0..=0x1f => return Err(at),
            _ => at += 1,
        }
    }
    Err(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<&str> {
        let mut out = Vec::new();
        each(text, |f| out.push(f));
        out
    }

    #[test]
    fn json_is_found_among_log_lines() {
        let rows = r#"[{"n_gen": 16, "avg_ts": 2.5}, {"n_gen": 0}]"#;
        let cases = [
            rows.to_owned(),
            format!("load [info] {{ok}}\n{rows}\n[done] {{\"\n"),
            format!("a \"quote\nmore [1, 2 {rows} | tail |"),
            format!("]]}}}}{rows}[[[["),
        ];
        for text in cases {
            assert_eq!(all(&text), [rows], "{text}");
        }
    }

    #[test]
    fn an_array_that_breaks_off_leaves_its_complete_objects() {
        let a = r#"{"n_gen": 16, "s": [1, {"x": "]"}]}"#;
        let b = r#"{"n_gen": 32, "avg_ts": 1}"#;
        assert_eq!(
            all(&format!("[\n{a}| table |\n,{b}| t |\n\nbuild\n]")),
            [a, b]
        );
        assert_eq!(all(&format!("[{a}, {b}, {{\"n_gen\": ")), [a, b]);
        assert_eq!(all(&format!("{a}\n{b}\n")), [a, b]);
    }

    #[test]
    fn hostile_text_takes_linear_time() {
        // Quadratic behaviour on any of these would take hours, not milliseconds.
        let n = 2_000_000;
        for unit in [
            "[", "{", "{\"a\":[", "[\"", "[[],", "[1,", "\\\"[", "{\"", "]", "[[{}],",
        ] {
            let text = unit.repeat(n / unit.len());
            each(&text, |_| ());
        }
    }
}
