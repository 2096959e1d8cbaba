//! A benchmark's output as rows: which format it is in is found out, not asked.

use super::fragments;
use super::row::{Kind, Row};
use super::server::Served;
use super::tables;
use super::walk::{self, Found};
use crate::text;

/// What a `--bench` file holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Bench {
    /// llama-bench's rows, in their order.
    pub rows: Vec<Row>,
    /// llama-server's own rates, when it is a server's answer.
    pub served: Option<Served>,
    /// Whether there was any list of records, be they rows or not.
    pub records: bool,
}

impl Bench {
    /// Reads llama-bench output (JSON, JSON lines, CSV, SQL, markdown), a llama-server answer with
    /// timings, or its /metrics; log lines may stand anywhere around and between.
    pub fn read(bytes: &[u8]) -> Self {
        Self::read_all(&[bytes.to_vec()])
    }

    /// The same of several files together: the rows of all, or all answers of a server.
    pub fn read_all(files: &[Vec<u8>]) -> Self {
        let texts: Vec<String> = files.iter().map(|bytes| lenient(bytes)).collect();
        let mut all = Self::default();
        for text in &texts {
            let (rows, records) = rows(text);
            all.rows.extend(rows);
            all.records |= records;
        }
        if all.rows.is_empty() {
            all.served = served(&texts.join("\n"));
        }
        all
    }

    /// Only what a server says of its own speed.
    pub fn read_server(bytes: &[u8]) -> Self {
        Self {
            served: served(&lenient(bytes)),
            ..Self::default()
        }
    }

    /// Whether nothing was found that could be a measurement.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.served.is_none() && !self.records
    }
}

/// Logs hold what they hold: a byte that is no text spoils its own line, not the run.
fn lenient(bytes: &[u8]) -> String {
    text::decode(bytes).unwrap_or_else(|_| String::from_utf8_lossy(bytes).into())
}

fn found(text: &str) -> Found {
    let mut found = Found::default();
    fragments::each(text, |fragment| walk::read(fragment, &mut found));
    found
}

fn served(text: &str) -> Option<Served> {
    Served::of_timings(&found(text).timings).or_else(|| Served::of_metrics(text))
}

/// The rows in a text, and whether it holds any list of records.
fn rows(text: &str) -> (Vec<Row>, bool) {
    let Found {
        mut rows, records, ..
    } = found(text);
    for table in [tables::csv, tables::sql, tables::markdown] {
        // A log may hold the same run twice, as JSON and as a table: once is enough.
        if rows.iter().any(measures_decode) {
            break;
        }
        let more = table(text);
        if rows.is_empty() || more.iter().any(measures_decode) {
            rows = more;
        }
    }
    (rows, records)
}

fn measures_decode(row: &Row) -> bool {
    row.kind == Kind::Decode && row.rate.is_some()
}
