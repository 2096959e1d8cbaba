//! Reading the bytes of a `config.json`.

use serde_json::Value;

use super::error::ModelError;
use crate::{json, text};

/// The configuration in `bytes`.
///
/// Published files hold what JSON does not have: a bare `Infinity` as the end of an open range
/// (Nemotron-H's `time_step_limit`). It is read as text, so that it does no harm where nobody looks
/// and is refused where a dimension is expected.
pub fn read(bytes: &[u8]) -> Result<Value, ModelError> {
    let strict = match json::read(bytes) {
        Ok(value) => return Ok(value),
        Err(e) => e,
    };
    match text::decode(bytes).map(|t| quoted(&t)) {
        Ok(Some(changed)) => json::read(changed.as_bytes()).map_err(ModelError::NotJson),
        _ => Err(ModelError::NotJson(strict)),
    }
}

/// `text` with bare `Infinity`, `-Infinity` and `NaN` in quotes; none if there are none.
fn quoted(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len() + 8);
    let mut rest = text;
    let mut in_string = false;
    let mut changed = false;
    while let Some(c) = rest.chars().next() {
        if !in_string
            && let Some(word) = ["-Infinity", "Infinity", "NaN"]
                .into_iter()
                .find(|w| rest.starts_with(w))
        {
            out.push('"');
            out.push_str(word);
            out.push('"');
            rest = rest.get(word.len()..).unwrap_or("");
            changed = true;
            continue;
        }
        // An escaped character never ends a string.
        let taken = if in_string && c == '\\' {
            1 + rest.chars().nth(1).map_or(0, char::len_utf8)
        } else {
            if c == '"' {
                in_string = !in_string;
            }
            c.len_utf8()
        };
        out.push_str(rest.get(..taken)?);
        rest = rest.get(taken..)?;
    }
    changed.then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Code, Coded as _};
    use crate::model::analyze;

    #[test]
    fn infinity_is_survived_where_nobody_looks() {
        let text = r#"{"a": "NaN \" Infinity", "limit": [0.0, Infinity, -Infinity, NaN]}"#;
        let v = read(text.as_bytes()).unwrap();
        assert_eq!(v["a"], "NaN \" Infinity");
        assert_eq!(v["limit"][1], "Infinity");
        let v = read(br#"{"hidden_size": Infinity, "num_hidden_layers": 2}"#).unwrap();
        let e = analyze(&v, None, None).unwrap_err();
        assert_eq!(e.code(), Code::InputBadModelConfig);
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in ["", "nope", "{", "[Infinity", "\"\\"] {
            let e = read(text.as_bytes()).unwrap_err();
            assert_eq!(e.code(), Code::InputBadModelConfig, "{text}");
        }
    }
}
