//! Rows and timings out of JSON of any shape: found by their fields, at any depth.
//!
//! The text is read once and only what rows need is kept, so that a large file full of something
//! else costs no memory.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::row::{Cell, Cells, Form, MAX_ROWS, Row, Setting};
use super::server::Timing;

/// Text longer than this is no name of a model or a build.
const LONGEST_TEXT: usize = 4096;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) rows: Vec<Row>,
    pub(super) timings: Vec<Timing>,
    /// Whether any list of objects was there at all.
    pub(super) records: bool,
}

/// Reads one complete fragment; one that is no JSON after all is left out whole.
pub(super) fn read(fragment: &str, found: &mut Found) {
    read_within(fragment, found, false);
}

fn read_within(fragment: &str, found: &mut Found, quoted: bool) {
    let (rows, timings, records) = (found.rows.len(), found.timings.len(), found.records);
    let mut json = serde_json::Deserializer::from_str(fragment);
    let node = Node {
        found,
        arrays: 0,
        within_array: false,
        quoted,
    };
    if node
        .deserialize(&mut json)
        .and_then(|_| json.end())
        .is_err()
    {
        found.rows.truncate(rows);
        found.timings.truncate(timings);
        found.records = records;
    }
}

struct Node<'f> {
    found: &'f mut Found,
    /// Arrays around this value.
    arrays: usize,
    /// Whether the nearest container is an array.
    within_array: bool,
    /// Whether this is JSON that stood in a text of other JSON.
    quoted: bool,
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Cell;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Cell, D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Cell;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, v: bool) -> Result<Cell, E> {
        Ok(Cell::Flag(v))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Cell, E> {
        Ok(Cell::Number(v as f64))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Cell, E> {
        Ok(Cell::Number(v as f64))
    }

    fn visit_f64<E>(self, v: f64) -> Result<Cell, E> {
        Ok(Cell::Number(v))
    }

    fn visit_str<E>(self, v: &str) -> Result<Cell, E> {
        // Some records keep the whole output of llama-bench as a text.
        if !self.quoted && v.contains("\"avg_ts\"") {
            super::fragments::each(v, |inner| read_within(inner, self.found, true));
            return Ok(Cell::Nothing);
        }
        Ok(if v.len() <= LONGEST_TEXT {
            Cell::Text(v.to_owned())
        } else {
            Cell::Nothing
        })
    }

    fn visit_unit<E>(self) -> Result<Cell, E> {
        Ok(Cell::Nothing)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Cell, A::Error> {
        let (mut n, mut sum, mut numbers) = (0_u64, 0.0, true);
        loop {
            let node = Node {
                found: &mut *self.found,
                arrays: self.arrays + 1,
                within_array: true,
                quoted: self.quoted,
            };
            match seq.next_element_seed(node)? {
                None => break,
                Some(Cell::Number(x)) => {
                    n += 1;
                    sum += x;
                }
                Some(_) => numbers = false,
            }
        }
        Ok(if numbers && n > 0 {
            Cell::Series(n, sum / n as f64)
        } else {
            Cell::Nothing
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Cell, A::Error> {
        let direct = self.within_array && self.arrays == 1;
        self.found.records |= direct;
        let (first_row, first_timing) = (self.found.rows.len(), self.found.timings.len());
        let mut cells = Cells::default();
        while let Some(key) = map.next_key::<String>()? {
            let node = Node {
                found: &mut *self.found,
                arrays: self.arrays,
                within_array: false,
                quoted: self.quoted,
            };
            let cell = map.next_value_seed(node)?;
            cells.set(&key, &cell);
        }
        if self.found.rows.len() > first_row {
            let outer: Setting = cells.setting();
            for row in self.found.rows.iter_mut().skip(first_row) {
                row.setting.inherit(&outer);
            }
        }
        if cells.served.is_unfinished() {
            self.found.timings.truncate(first_timing);
        } else if cells.served.holds_any() && self.found.timings.len() < MAX_ROWS {
            self.found.timings.push(cells.served);
        }
        // A row that goes by its `test` alone counts in a list only, as other tools read it.
        let native = cells.n_gen.is_some() && cells.n_prompt.is_some();
        let room = MAX_ROWS.saturating_sub(self.found.rows.len());
        self.found.rows.extend(
            cells
                .rows()
                .into_iter()
                .filter(|row| direct || native || row.form == Form::Native)
                .take(room),
        );
        Ok(Cell::Nothing)
    }
}

#[cfg(test)]
mod tests {
    use super::super::row::Kind;
    use super::*;

    fn found(text: &str) -> Found {
        let mut out = Found::default();
        read(text, &mut out);
        out
    }

    #[test]
    fn rows_take_over_what_the_record_around_them_says() {
        let f = found(
            r#"{"model": "m.gguf", "records": [
                {"ngl": 24, "n_cpu_moe": 12, "rows": [
                    {"test": null, "n_prompt": 0, "n_gen": 32, "avg_ts": 38.5, "stddev_ts": 2.5}]},
                {"rows": [{"n_prompt": 128, "n_gen": 0, "avg_ts": 300, "n_cpu_moe": 3}],
                 "n_cpu_moe": 12}]}"#,
        );
        let [decode, prefill] = f.rows.as_slice() else {
            panic!("{:?}", f.rows)
        };
        assert_eq!((decode.kind, decode.rate), (Kind::Decode, Some(38.5)));
        assert_eq!(decode.setting.n_cpu_moe, Some(12));
        assert_eq!(decode.setting.n_gpu_layers, Some(24));
        assert_eq!(decode.setting.model.as_deref(), Some("m"));
        assert_eq!(prefill.setting.n_cpu_moe, Some(3), "its own setting wins");
    }

    #[test]
    fn summaries_of_one_record_are_two_rows() {
        let f = found(r#"[{"ngl": 48, "n_cpu_moe": 33, "pp_avg_ts": 155.9, "tg_avg_ts": 34.71}]"#);
        let kinds: Vec<_> = f.rows.iter().map(|r| (r.kind, r.rate)).collect();
        assert_eq!(
            kinds,
            [(Kind::Decode, Some(34.71)), (Kind::Prefill, Some(155.9))]
        );
    }

    #[test]
    fn rows_by_test_name_count_in_a_plain_list_only() {
        let row = r#"{"test": "tg128", "avg_ts": 30}"#;
        assert_eq!(found(&format!("[{row}]")).rows.len(), 1);
        assert_eq!(found(&format!("{{\"rows\": [{row}]}}")).rows.len(), 1);
        assert_eq!(found(row).rows.len(), 0);
        assert_eq!(found(&format!("[[{row}]]")).rows.len(), 0);
    }

    #[test]
    fn wrong_kinds_of_value_are_no_rates() {
        for bad in ["\"33.5\"", "true", "null", "-3", "[1]", "{}"] {
            let f = found(&format!(r#"[{{"test": "tg128", "avg_ts": {bad}}}]"#));
            assert_eq!(f.rows[0].rate, None, "{bad}");
            assert!(f.records);
        }
        assert!(
            found(r#"[{"test": "tg128", "avg_ts": 1e999}]"#)
                .rows
                .is_empty()
        );
    }

    #[test]
    fn output_kept_as_a_text_is_read() {
        let f = found(
            r#"{"n_cpu_moe": 7, "stdout": "log [\n{\"n_prompt\": 0, \"n_gen\": 8, \"avg_ts\": 4}]"}"#,
        );
        assert_eq!(f.rows.len(), 1);
        assert_eq!(f.rows[0].setting.n_cpu_moe, Some(7));
    }

    #[test]
    fn timings_of_unfinished_answers_are_left_out() {
        let f = found(
            r#"[{"stop": false, "timings": {"predicted_n": 1, "predicted_per_second": 9e5}},
                {"stop": true, "timings": {"predicted_n": 32, "predicted_per_second": 71}}]"#,
        );
        assert_eq!(f.timings.len(), 1);
    }
}
