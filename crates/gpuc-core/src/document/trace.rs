//! trace.json: how often each layer sent a token to each of its experts.
//!
//! Reading follows the exporters that exist: a layer without counts carries none, an entry that is
//! no object is no layer, and a count with a fraction (a gate-weighted trace) is cut to the whole
//! count below it. What must be there is there or the trace is refused.

use std::fmt;

use serde::de::{self, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::json::number::{count, or_default};
use crate::units::floor_bytes;

/// Experts in one layer, at most: no model has nearly as many.
pub(crate) const MAX_EXPERTS: usize = 1 << 16;
/// Layers in one trace, at most.
pub(crate) const MAX_LAYERS: usize = 1 << 12;

/// Routing counts of one workload.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Trace {
    /// The model traced; the key must be there, its value may be null.
    #[serde(deserialize_with = "Option::deserialize")]
    pub model: Option<String>,
    /// Experts in a layer, as the model declares them.
    #[serde(deserialize_with = "required_count")]
    pub num_experts: u64,
    /// Experts a token is sent to.
    #[serde(deserialize_with = "count")]
    pub experts_per_token: Option<u64>,
    /// Tokens of the workload.
    #[serde(deserialize_with = "count")]
    pub n_tokens: Option<u64>,
    /// The layers with experts, in the file's order.
    #[serde(default, deserialize_with = "layers")]
    pub layers: Vec<LayerCounts>,
    /// Whether the counts are sums of gate weights instead of visits.
    #[serde(default, deserialize_with = "or_default")]
    pub gate_weighted: bool,
    /// ISO date.
    #[serde(default)]
    pub created: Option<String>,
    /// The rig, as its owner calls it.
    #[serde(default)]
    pub rig: Option<String>,
    /// Where the trace comes from.
    #[serde(default)]
    pub source: Option<String>,
}

/// The counts of one layer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LayerCounts {
    /// Which block of the model it is.
    #[serde(default, deserialize_with = "count")]
    pub layer_index: Option<u64>,
    /// Visits to each expert.
    #[serde(default, deserialize_with = "counts")]
    pub expert_counts: Vec<u64>,
}

impl LayerCounts {
    /// All visits of the layer.
    ///
    /// Both readers refuse a layer whose sum does not fit; one built otherwise saturates.
    pub fn total(&self) -> u64 {
        self.expert_counts
            .iter()
            .fold(0, |sum, n| sum.saturating_add(*n))
    }
}

fn required_count<'de, D: Deserializer<'de>>(d: D) -> Result<u64, D::Error> {
    count(d)?.ok_or_else(|| de::Error::custom("null where a whole number is needed"))
}

/// An array is read, what is empty in the way of its own kind is empty, and an object or a text
/// holds no layer; a number or `true` is a mistake.
fn layers<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<LayerCounts>, D::Error> {
    d.deserialize_any(Layers)
}

struct Layers;

impl<'de> Visitor<'de> for Layers {
    type Value = Vec<LayerCounts>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of layers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut all = Vec::new();
        while let Some(Entry(layer)) = seq.next_element()? {
            all.extend(layer);
            if all.len() > MAX_LAYERS {
                return Err(de::Error::custom(format!("more than {MAX_LAYERS} layers")));
            }
        }
        Ok(all)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Vec::new())
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }

    fn visit_bool<E: de::Error>(self, v: bool) -> Result<Self::Value, E> {
        nothing(!v, de::Unexpected::Bool(v), &self)
    }

    fn visit_u64<E: de::Error>(self, v: u64) -> Result<Self::Value, E> {
        nothing(v == 0, de::Unexpected::Unsigned(v), &self)
    }

    fn visit_i64<E: de::Error>(self, v: i64) -> Result<Self::Value, E> {
        nothing(v == 0, de::Unexpected::Signed(v), &self)
    }

    fn visit_f64<E: de::Error>(self, v: f64) -> Result<Self::Value, E> {
        nothing(v == 0.0, de::Unexpected::Float(v), &self)
    }
}

/// An empty list for a value that stands for nothing (`0`, `false`).
fn nothing<T, E: de::Error>(
    empty: bool,
    found: de::Unexpected<'_>,
    expected: &dyn de::Expected,
) -> Result<Vec<T>, E> {
    if empty {
        Ok(Vec::new())
    } else {
        Err(E::invalid_type(found, expected))
    }
}

/// One entry of `layers`: an object is a layer, anything else is skipped.
struct Entry(Option<LayerCounts>);

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(EntryVisitor)
    }
}

struct EntryVisitor;

impl<'de> Visitor<'de> for EntryVisitor {
    type Value = Entry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a layer")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Entry, A::Error> {
        let layer = LayerCounts::deserialize(de::value::MapAccessDeserializer::new(map))?;
        Ok(Entry(Some(layer)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Entry, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Entry(None))
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<Entry, E> {
        Ok(Entry(None))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Entry, E> {
        Ok(Entry(None))
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Entry, E> {
        Ok(Entry(None))
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Entry, E> {
        Ok(Entry(None))
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Entry, E> {
        Ok(Entry(None))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Entry, E> {
        Ok(Entry(None))
    }
}

fn counts<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u64>, D::Error> {
    d.deserialize_any(Counts)
}

struct Counts;

impl<'de> Visitor<'de> for Counts {
    type Value = Vec<u64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of counts")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<u64>, A::Error> {
        let mut all = Vec::new();
        let mut sum = 0u64;
        while let Some(Visits(n)) = seq.next_element()? {
            sum = sum
                .checked_add(n)
                .ok_or_else(|| de::Error::custom("the counts of a layer sum to more than 2^64"))?;
            all.push(n);
            if all.len() > MAX_EXPERTS {
                return Err(de::Error::custom(format!(
                    "more than {MAX_EXPERTS} experts in a layer"
                )));
            }
        }
        Ok(all)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Vec<u64>, E> {
        Ok(Vec::new())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vec<u64>, A::Error> {
        match map.next_key::<IgnoredAny>()? {
            None => Ok(Vec::new()),
            Some(_) => Err(de::Error::invalid_type(de::Unexpected::Map, &self)),
        }
    }

    fn visit_str<E: de::Error>(self, v: &str) -> Result<Vec<u64>, E> {
        nothing(v.is_empty(), de::Unexpected::Str(v), &self)
    }

    fn visit_bool<E: de::Error>(self, v: bool) -> Result<Vec<u64>, E> {
        nothing(!v, de::Unexpected::Bool(v), &self)
    }

    fn visit_u64<E: de::Error>(self, v: u64) -> Result<Vec<u64>, E> {
        nothing(v == 0, de::Unexpected::Unsigned(v), &self)
    }

    fn visit_i64<E: de::Error>(self, v: i64) -> Result<Vec<u64>, E> {
        nothing(v == 0, de::Unexpected::Signed(v), &self)
    }

    fn visit_f64<E: de::Error>(self, v: f64) -> Result<Vec<u64>, E> {
        nothing(v == 0.0, de::Unexpected::Float(v), &self)
    }
}

/// One count: a number, 0 or more, cut to a whole one.
struct Visits(u64);

impl<'de> Deserialize<'de> for Visits {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(VisitsVisitor)
    }
}

struct VisitsVisitor;

impl Visitor<'_> for VisitsVisitor {
    type Value = Visits;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a count from 0 to 2^64 - 1")
    }

    fn visit_u64<E: de::Error>(self, v: u64) -> Result<Visits, E> {
        Ok(Visits(v))
    }

    fn visit_i64<E: de::Error>(self, v: i64) -> Result<Visits, E> {
        u64::try_from(v)
            .map(Visits)
            .map_err(|_| E::invalid_value(de::Unexpected::Signed(v), &self))
    }

    fn visit_f64<E: de::Error>(self, v: f64) -> Result<Visits, E> {
        // 2^64 is the first value that `u64` cannot hold.
        if (0.0..18446744073709551616.0).contains(&v) {
            Ok(Visits(floor_bytes(v)))
        } else {
            Err(E::invalid_value(de::Unexpected::Float(v), &self))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::read;

    fn trace(layers: &str) -> Result<Trace, String> {
        let text = format!(
            r#"{{"model": "m", "num_experts": 2, "experts_per_token": 1, "n_tokens": 9,
                "layers": {layers}}}"#
        );
        read(text.as_bytes()).map_err(|e| e.to_string())
    }

    #[test]
    fn what_stands_for_no_layer_gives_none() {
        for layers in [
            "[]",
            "null",
            "\"abc\"",
            "{\"a\": [1]}",
            "0",
            "false",
            "[1, null, [2], \"x\"]",
        ] {
            assert_eq!(trace(layers).unwrap().layers, [], "{layers}");
        }
        for counts in ["[]", "null", "{}", "\"\"", "0", "false"] {
            let layer = format!(r#"[{{"expert_counts": {counts}}}]"#);
            assert_eq!(
                trace(&layer).unwrap().layers,
                [LayerCounts::default()],
                "{counts}"
            );
        }
    }

    #[test]
    fn counts_are_whole_and_not_negative() {
        let t = trace(r#"[{"layer_index": 3.0, "expert_counts": [3.7, 1, 0.2, 5e0], "x": 1}]"#)
            .unwrap();
        let want = LayerCounts {
            layer_index: Some(3),
            expert_counts: vec![3, 1, 0, 5],
        };
        assert_eq!(t.layers, [want]);
        let bad = [
            "5",
            "true",
            r#"[{"expert_counts": 5}]"#,
            r#"[{"expert_counts": true}]"#,
            r#"[{"expert_counts": "12"}]"#,
            r#"[{"expert_counts": {"1": 2}}]"#,
            r#"[{"expert_counts": [true]}]"#,
            r#"[{"expert_counts": [null]}]"#,
            r#"[{"expert_counts": ["3"]}]"#,
            r#"[{"expert_counts": [[3]]}]"#,
            r#"[{"expert_counts": [-2]}]"#,
            r#"[{"expert_counts": [-0.5]}]"#,
            r#"[{"expert_counts": [NaN]}]"#,
            r#"[{"expert_counts": [1e400]}]"#,
            r#"[{"expert_counts": [18446744073709551616]}]"#,
            r#"[{"expert_counts": [18446744073709551615, 1]}]"#,
            r#"[{"layer_index": "a", "expert_counts": [1]}]"#,
            r#"[{"layer_index": -1, "expert_counts": [1]}]"#,
        ];
        for layers in bad {
            let got = trace(layers);
            assert!(got.is_err(), "{layers}: {got:?}");
        }
    }

    #[test]
    fn a_trace_is_bounded() {
        let layers = |n: usize| format!("[{}{{}}]", "{},".repeat(n - 1));
        assert!(trace(&layers(MAX_LAYERS)).is_ok() && trace(&layers(MAX_LAYERS + 1)).is_err());
        let counts = |n: usize| format!(r#"[{{"expert_counts": [{}1]}}]"#, "1,".repeat(n - 1));
        assert!(trace(&counts(MAX_EXPERTS)).is_ok() && trace(&counts(MAX_EXPERTS + 1)).is_err());
    }

    #[test]
    fn a_trace_reads_back_as_it_was_written() {
        let t = Trace {
            model: None,
            num_experts: 2,
            experts_per_token: Some(1),
            n_tokens: None,
            layers: vec![LayerCounts {
                layer_index: None,
                expert_counts: vec![1, u64::MAX - 1],
            }],
            gate_weighted: true,
            created: Some("2026-01-01".into()),
            rig: None,
            source: Some("here".into()),
        };
        let text = crate::json::write(&t).unwrap();
        assert_eq!(read::<Trace>(text.as_bytes()).unwrap(), t);
    }
}
