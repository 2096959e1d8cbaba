//! trace.json as bytes -> a trace.

use crate::document::Trace;
use crate::error::{Code, Coded};
use crate::json::JsonError;
use crate::text;

/// Why a trace cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// No JSON, or not of a trace's shape.
    #[error("{name}: not a routing trace")]
    Json {
        /// The file.
        name: String,
        /// What the reader said.
        #[source]
        source: JsonError,
    },
    /// A list, a text, a number or null.
    #[error("{name}: a routing trace is a JSON object, this is something else")]
    NotAnObject {
        /// The file.
        name: String,
    },
}

impl Coded for TraceError {
    fn code(&self) -> Code {
        Code::IoTraceUnreadable
    }

    fn hint(&self) -> Option<String> {
        Some(
            "expected a JSON object with model, num_experts, experts_per_token, n_tokens and \
             layers [{layer_index, expert_counts}]"
                .into(),
        )
    }
}

/// The trace in `bytes`; `name` is the file's, for the message.
pub fn read_trace(bytes: &[u8], name: &str) -> Result<Trace, TraceError> {
    let json = |source| TraceError::Json {
        name: name.to_owned(),
        source,
    };
    let text = text::decode(bytes).map_err(|e| json(e.into()))?;
    let trace = serde_json::from_str(&text).map_err(|e| json(e.into()))?;
    // A derived reader takes an array for the fields in their order; a trace is an object.
    if text.trim_start().starts_with('{') {
        Ok(trace)
    } else {
        Err(TraceError::NotAnObject {
            name: name.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_an_object_with_the_keys_is_a_trace() {
        let good =
            r#"{"model": null, "num_experts": 0, "experts_per_token": null, "n_tokens": null}"#;
        assert!(read_trace(good.as_bytes(), "t").is_ok());
        let bom = [b"\xef\xbb\xbf", good.as_bytes()].concat();
        assert!(read_trace(&bom, "t").is_ok());
        let bad = [
            "",
            "[]",
            "null",
            "5",
            r#"["m", 3, 2, 10, [], false, null, null, null]"#,
            r#"{"num_experts": 3, "experts_per_token": 2, "n_tokens": 1}"#,
            r#"{"model": "m", "experts_per_token": 2, "n_tokens": 1}"#,
            r#"{"model": "m", "num_experts": 3, "n_tokens": 1}"#,
            r#"{"model": "m", "num_experts": 3, "experts_per_token": 2}"#,
            r#"{"model": "m", "num_experts": null, "experts_per_token": 2, "n_tokens": 1}"#,
            r#"{"model": "m", "num_experts": "3", "experts_per_token": 2, "n_tokens": 1}"#,
            r#"{"model": "m", "num_experts": 3.5, "experts_per_token": 2, "n_tokens": 1}"#,
            r#"{"model": "m", "num_experts": -3, "experts_per_token": 2, "n_tokens": 1}"#,
            r#"{"model": 5, "num_experts": 3, "experts_per_token": 2, "n_tokens": 1}"#,
        ];
        for text in bad {
            let e = read_trace(text.as_bytes(), "t").unwrap_err();
            assert_eq!(e.code(), Code::IoTraceUnreadable, "{text}");
        }
    }

    #[test]
    fn deep_nesting_is_refused_and_not_followed() {
        let deep = format!(r#"{{"x": {}"#, "[".repeat(100_000));
        assert!(read_trace(deep.as_bytes(), "t").is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_trace_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_trace(&bytes, "t");
        }

        #[test]
        fn a_damaged_trace_is_a_trace_or_an_error(at in 0usize..200, with in any::<u8>()) {
            let text = r#"{"model": "m", "num_experts": 3, "experts_per_token": 2, "n_tokens": 1,
                "layers": [{"layer_index": 0, "expert_counts": [3, 1.5, 2e3]}, null]}"#;
            let mut bytes = text.as_bytes().to_vec();
            if let Some(b) = bytes.get_mut(at) {
                *b = with;
            }
            let _ = read_trace(&bytes, "t").map(|t| crate::routing::report(&t, 0.9, 0.5));
        }
    }
}
