//! JSON in and out, strict where the contract is strict.
//!
//! Reading refuses NaN, infinities, nesting beyond 128 levels, and numbers of the
//! wrong kind; the helpers of [`number`] are what documents use for their fields.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::text::{self, TextError};

/// Why a document cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// The bytes are no text at all.
    #[error(transparent)]
    Text(#[from] TextError),
    /// The text is no JSON, or not of the document's shape.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
}

/// The document in `bytes`.
pub fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, JsonError> {
    Ok(serde_json::from_str(&text::decode(bytes)?)?)
}

/// The document as it is printed: two spaces of indent, a final newline.
pub fn write<T: Serialize>(document: &T) -> Result<String, JsonError> {
    let mut s = serde_json::to_string_pretty(document)?;
    s.push('\n');
    Ok(s)
}

/// Deserialisers for numeric fields: no text, no booleans, no fractions where a count is meant.
pub mod number {
    use serde::de::{self, Deserializer, Visitor};
    use serde::{Deserialize as _, Serializer};
    use std::fmt;

    struct Count;

    impl Visitor<'_> for Count {
        type Value = u64;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a whole number from 0 to 2^64 - 1")
        }
        fn visit_u64<E: de::Error>(self, v: u64) -> Result<u64, E> {
            Ok(v)
        }
        fn visit_i64<E: de::Error>(self, v: i64) -> Result<u64, E> {
            u64::try_from(v).map_err(|_| E::invalid_value(de::Unexpected::Signed(v), &self))
        }
        fn visit_f64<E: de::Error>(self, v: f64) -> Result<u64, E> {
            // Whole floats are accepted, as other writers of JSON print them; 2^53 is where a
            // double stops naming each whole number.
            if v >= 0.0 && v.fract() == 0.0 && v <= 9007199254740992.0 {
                Ok(crate::units::floor_bytes(v))
            } else {
                Err(E::invalid_value(de::Unexpected::Float(v), &self))
            }
        }
    }

    struct Maybe<V>(V);

    impl<'de> Visitor<'de> for Maybe<Count> {
        type Value = Option<u64>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.expecting(f)
        }
        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
        fn visit_none<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
        fn visit_some<D: Deserializer<'de>>(self, d: D) -> Result<Self::Value, D::Error> {
            d.deserialize_any(Count).map(Some)
        }
    }

    /// A whole number that may be null.
    pub fn count<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u64>, D::Error> {
        d.deserialize_option(Maybe(Count))
    }

    /// No reading is nearly as large, and what is computed from one of this size stays finite.
    const LARGEST: f64 = 1e100;

    struct NonNegative;

    impl Visitor<'_> for NonNegative {
        type Value = f64;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a finite number, 0 or more")
        }
        fn visit_u64<E: de::Error>(self, v: u64) -> Result<f64, E> {
            Ok(v as f64)
        }
        fn visit_i64<E: de::Error>(self, v: i64) -> Result<f64, E> {
            self.visit_f64(v as f64)
        }
        fn visit_f64<E: de::Error>(self, v: f64) -> Result<f64, E> {
            if (0.0..=LARGEST).contains(&v) {
                Ok(v)
            } else {
                Err(E::invalid_value(de::Unexpected::Float(v), &self))
            }
        }
    }

    impl<'de> Visitor<'de> for Maybe<NonNegative> {
        type Value = Option<f64>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.expecting(f)
        }
        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
        fn visit_none<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
        fn visit_some<D: Deserializer<'de>>(self, d: D) -> Result<Self::Value, D::Error> {
            d.deserialize_any(NonNegative).map(Some)
        }
    }

    /// A finite number, 0 or more, that may be null.
    pub fn non_negative<'de, D: Deserializer<'de>>(d: D) -> Result<Option<f64>, D::Error> {
        d.deserialize_option(Maybe(NonNegative))
    }

    /// A value that may be missing or null and then takes its default.
    pub fn or_default<'de, D, T>(d: D) -> Result<T, D::Error>
    where
        D: Deserializer<'de>,
        T: serde::Deserialize<'de> + Default,
    {
        Ok(Option::<T>::deserialize(d)?.unwrap_or_default())
    }

    /// Writes a whole float as the integer it is (`15000`, not `15000.0`).
    #[allow(clippy::trivially_copy_pass_by_ref, clippy::cast_possible_truncation)]
    pub fn plain<S: Serializer>(x: &Option<f64>, s: S) -> Result<S::Ok, S::Error> {
        match x {
            None => s.serialize_none(),
            Some(v) if v.fract() == 0.0 && v.abs() <= 9007199254740992.0 => {
                s.serialize_i64(*v as i64)
            }
            Some(v) => s.serialize_f64(*v),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Doc {
        #[serde(default, deserialize_with = "number::count")]
        n: Option<u64>,
        #[serde(default, deserialize_with = "number::non_negative")]
        x: Option<f64>,
    }

    #[test]
    fn numbers_are_strict() {
        let ok = [
            (r"{}", Doc { n: None, x: None }),
            (r#"{"n": null, "x": null}"#, Doc { n: None, x: None }),
            (
                r#"{"n": 48.0, "x": 3}"#,
                Doc {
                    n: Some(48),
                    x: Some(3.0),
                },
            ),
        ];
        for (text, want) in ok {
            assert_eq!(read::<Doc>(text.as_bytes()).unwrap(), want, "{text}");
        }
        let bad = [
            r#"{"n": 1.5}"#,
            r#"{"n": -1}"#,
            r#"{"n": "48"}"#,
            r#"{"n": true}"#,
            r#"{"n": 123456789012345678901234567890}"#,
            r#"{"x": NaN}"#,
            r#"{"x": Infinity}"#,
            r#"{"x": 1e999}"#,
            r#"{"x": -0.5}"#,
            r#"{"x": 1e101}"#,
            r#"{"x": "1"}"#,
        ];
        for text in bad {
            assert!(read::<Doc>(text.as_bytes()).is_err(), "{text}");
        }
    }
}
