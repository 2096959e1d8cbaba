//! Reading a `config.json`: which values count as dimensions, and under which of their many names.
//!
//! It decides nothing about architectures; it only refuses what cannot be a dimension.

use serde_json::{Map, Value};

use super::error::ModelError;

/// A configuration's object, with the object around it when it was nested.
#[derive(Debug, Clone, Copy)]
pub(super) struct Config<'a> {
    map: &'a Map<String, Value>,
    outer: Option<&'a Map<String, Value>>,
}

/// Keys under which multimodal configurations keep their text model.
const NESTED: &[&str] = &[
    "text_config",
    "llm_config",
    "language_config",
    "text_model_config",
];

/// What a JSON value is, in a word or two.
pub(super) fn kind(v: &Value) -> &'static str {
    match v {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A value as an error shows it: numbers as they stand, the rest by its kind.
fn found(v: &Value) -> String {
    match v {
        Value::Number(n) => n.to_string(),
        other => kind(other).to_string(),
    }
}

fn as_count(key: &str, v: &Value) -> Result<u64, ModelError> {
    let bad = || ModelError::NotACount {
        key: key.to_string(),
        found: found(v),
    };
    let Value::Number(n) = v else {
        return Err(bad());
    };
    if let Some(u) = n.as_u64() {
        return Ok(u);
    }
    match n.as_f64() {
        // 2^53 is where a double stops naming each whole number.
        Some(f) if f >= 0.0 && f.fract() == 0.0 && f <= 9_007_199_254_740_992.0 => {
            Ok(crate::units::floor_bytes(f))
        }
        _ => Err(bad()),
    }
}

impl<'a> Config<'a> {
    /// The configuration of the text model: the object itself, or the one nested in it.
    pub(super) fn of(config: &'a Value) -> Result<Self, ModelError> {
        let Value::Object(map) = config else {
            return Err(ModelError::NotAnObject(kind(config)));
        };
        let top = Self { map, outer: None };
        if map.contains_key("hidden_size") {
            return Ok(top);
        }
        // Speech and vision models nest the text model, some of them twice.
        let around = top.object("thinker_config").map_or(map, |c| c.map);
        for key in NESTED {
            if let Some(Value::Object(inner)) = around.get(*key) {
                return Ok(Self {
                    map: inner,
                    outer: Some(map),
                });
            }
        }
        Ok(top)
    }

    /// The value under `key`, null counting as absent.
    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|v| !v.is_null())
    }

    /// The value under `key`, here or in the object around.
    pub(super) fn get_any(&self, key: &str) -> Option<&'a Value> {
        self.get(key)
            .or_else(|| self.outer?.get(key).filter(|v| !v.is_null()))
    }

    /// All keys of the text model's object.
    pub(super) fn keys(&self) -> impl Iterator<Item = &'a str> {
        self.map.keys().map(String::as_str)
    }

    /// Whether the text model was nested in another object.
    pub(super) fn is_nested(&self) -> bool {
        self.outer.is_some()
    }

    /// An object under `key`, as a configuration of its own.
    pub(super) fn object(&self, key: &str) -> Option<Config<'a>> {
        match self.get(key) {
            Some(Value::Object(map)) => Some(Config { map, outer: None }),
            _ => None,
        }
    }

    /// A whole number; a list of them counts as its largest.
    pub(super) fn count(&self, key: &str) -> Result<Option<u64>, ModelError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Array(items)) => {
                let mut most = None;
                for item in items.iter().filter(|v| !v.is_null()) {
                    most = most.max(Some(as_count(key, item)?));
                }
                match most {
                    None => Err(ModelError::Shape {
                        key: key.to_string(),
                        expected: "a whole number or a list of them",
                        found: "an empty list".into(),
                    }),
                    most => Ok(most),
                }
            }
            Some(v) => as_count(key, v).map(Some),
        }
    }

    /// The first of `keys` that is there and not 0; none if all are 0 or missing.
    pub(super) fn first(&self, keys: &[&str]) -> Result<Option<u64>, ModelError> {
        let mut found = None;
        for key in keys {
            // All are read, so that a bad one is refused wherever it stands.
            let value = self.count(key)?.filter(|n| *n != 0);
            found = found.or(value);
        }
        Ok(found)
    }

    /// A list of whole numbers.
    pub(super) fn counts(&self, key: &str) -> Result<Option<Vec<u64>>, ModelError> {
        match self.get(key) {
            Some(Value::Array(items)) => items
                .iter()
                .map(|v| as_count(key, v))
                .collect::<Result<_, _>>()
                .map(Some),
            _ => Ok(None),
        }
    }

    /// A list of switches: booleans, or numbers that stand for them.
    pub(super) fn switches(&self, key: &str) -> Option<Vec<bool>> {
        match self.get(key) {
            Some(Value::Array(items)) => items
                .iter()
                .map(|v| v.as_bool().or_else(|| v.as_f64().map(|x| x != 0.0)))
                .collect(),
            _ => None,
        }
    }

    /// A list of words; entries that are not text stand as "".
    pub(super) fn words(&self, key: &str) -> Option<Vec<&'a str>> {
        match self.get(key) {
            Some(Value::Array(items)) => {
                Some(items.iter().map(|v| v.as_str().unwrap_or("")).collect())
            }
            _ => None,
        }
    }

    /// A text.
    pub(super) fn text(&self, key: &str) -> Result<Option<&'a str>, ModelError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(s)) => Ok(Some(s)),
            Some(v) => Err(ModelError::NotText {
                key: key.to_string(),
                found: found(v),
            }),
        }
    }

    /// A text in the object around.
    pub(super) fn outer_text(&self, key: &str) -> Option<&'a str> {
        self.outer?.get(key)?.as_str()
    }

    /// Whether the object around says something under `key`.
    pub(super) fn outer_has(&self, key: &str) -> bool {
        self.outer
            .unwrap_or(self.map)
            .get(key)
            .is_some_and(|v| !v.is_null())
    }

    /// Whether the value under `key` is set, as the frameworks that write these files judge it:
    /// 0, "", [] and {} are not. `None` when the key is missing.
    pub(super) fn truth(&self, key: &str) -> Option<bool> {
        Some(match self.map.get(key)? {
            Value::Null => false,
            Value::Bool(b) => *b,
            Value::Number(n) => n.as_f64() != Some(0.0),
            Value::String(s) => !s.is_empty(),
            Value::Array(a) => !a.is_empty(),
            Value::Object(o) => !o.is_empty(),
        })
    }

    /// The same, null counting as missing and falling back on the object around.
    pub(super) fn truth_any(&self, key: &str) -> Option<bool> {
        let here = |map| {
            Config { map, outer: None }
                .truth(key)
                .filter(|_| map.get(key) != Some(&Value::Null))
        };
        here(self.map).or_else(|| here(self.outer?))
    }

    /// The model's own name for itself.
    pub(super) fn name(&self) -> Result<String, ModelError> {
        let top = Config {
            map: self.outer.unwrap_or(self.map),
            outer: None,
        };
        for key in ["_name_or_path", "model_type"] {
            if let Some(s) = top.text(key)?.filter(|s| !s.is_empty()) {
                return Ok(s.to_string());
            }
        }
        Ok("unknown".into())
    }

    /// Bytes of an unquantised weight.
    pub(super) fn dtype_bytes(&self) -> f64 {
        let text = |key| match self.get_any(key) {
            Some(Value::String(s)) if !s.is_empty() => Some(s.to_lowercase()),
            Some(Value::String(_)) | None => None,
            Some(_) => Some(String::new()),
        };
        let name = text("torch_dtype").or_else(|| text("dtype"));
        match name.as_deref() {
            Some("float32" | "float" | "fp32") => 4.0,
            Some("float8" | "fp8" | "e4m3" | "e5m2") => 1.0,
            _ => 2.0,
        }
    }
}
