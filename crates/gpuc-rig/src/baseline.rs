//! The baseline database: what was measured on which day, kept in SQLite from run to run.
//!
//! One table, `measurements`. A day's profile of a card is one `source_file`; storing it again
//! replaces its rows.

use std::path::{Path, PathBuf};
use std::time::Duration;

use gpuc_core::error::{Code, Coded};
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Row, params};

/// One measured value.
#[derive(Debug, Clone, PartialEq)]
pub struct Measurement {
    /// What was measured, such as `pcie_h2d_gbps`.
    pub metric: &'static str,
    /// Its value.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
}

/// What the rows of one profile have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provenance {
    /// Where it was measured: inside a container, under WSL2, or as the user calls it.
    pub context: String,
    /// The profile's file, relative to the database.
    pub source_file: String,
    /// ISO date.
    pub date: String,
}

/// A measured value as it was stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// What was measured.
    pub metric: String,
    /// Its value.
    pub value: f64,
    /// Its unit.
    pub unit: String,
    /// Where it was measured.
    pub context: String,
    /// The profile's file, relative to the database.
    pub source_file: String,
    /// ISO date.
    pub date: String,
}

/// The baseline could not be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum BaselineError {
    /// SQLite says no.
    #[error("the baseline database {path} cannot be used")]
    Sql {
        /// The database.
        path: PathBuf,
        /// What it said.
        source: rusqlite::Error,
    },
    /// There is no database.
    #[error("there is no baseline database {0}")]
    None(PathBuf),
    /// The profile could not be kept beside the rows.
    #[error("the profile cannot be kept beside the baseline database")]
    Keep(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Coded for BaselineError {
    fn code(&self) -> Code {
        match self {
            Self::None(_) => Code::IoReadFailed,
            Self::Sql { .. } | Self::Keep(_) => Code::RuntimeEmitBaselineFailed,
        }
    }

    fn hint(&self) -> Option<String> {
        if matches!(self, Self::None(_)) {
            return Some("store a profile first, with --emit-baseline".into());
        }
        Some(
            "name a SQLite database, or a new file in a folder you may write, as --baseline-db"
                .into(),
        )
    }
}

const CREATE: &str = "CREATE TABLE IF NOT EXISTS measurements (
    id INTEGER PRIMARY KEY, metric TEXT, value REAL, unit TEXT, context TEXT, tool TEXT,
    source_file TEXT, note TEXT, wave_id INTEGER, measured_date TEXT)";

/// The newest campaign, in databases that number theirs.
const WAVE: &str = "SELECT id FROM waves ORDER BY wave_number DESC LIMIT 1";

const INSERT: &str = "INSERT INTO measurements
    (metric, value, unit, context, tool, source_file, note, wave_id, measured_date)
    VALUES (?1, ?2, ?3, ?4, 'gpu-container-profile', ?5, NULL, ?6, ?7)";

/// Stores one profile's measurements, in the place of those it stored before.
///
/// `keep` writes the profile itself beside the database; when it fails, no row is stored.
pub fn store<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
    database: &Path,
    measurements: &[Measurement],
    from: &Provenance,
    keep: impl FnOnce() -> Result<(), E>,
) -> Result<(), BaselineError> {
    let failed = |source| BaselineError::Sql {
        path: database.to_owned(),
        source,
    };
    let mut connection = Connection::open(database).map_err(failed)?;
    connection
        .busy_timeout(Duration::from_secs(5))
        .map_err(failed)?;
    let transaction = connection.transaction().map_err(failed)?;
    transaction.execute(CREATE, []).map_err(failed)?;
    let has_waves = transaction
        .query_row(
            "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'waves'",
            [],
            |_| Ok(()),
        )
        .optional()
        .map_err(failed)?;
    let wave: Option<i64> = match has_waves {
        Some(()) => transaction
            .query_row(WAVE, [], |row| row.get(0))
            .optional()
            .map_err(failed)?,
        None => None,
    };
    transaction
        .execute(
            "DELETE FROM measurements WHERE source_file = ?1",
            [&from.source_file],
        )
        .map_err(failed)?;
    for m in measurements {
        transaction
            .execute(
                INSERT,
                params![
                    m.metric,
                    m.value,
                    m.unit,
                    from.context,
                    from.source_file,
                    wave,
                    from.date
                ],
            )
            .map_err(failed)?;
    }
    keep().map_err(|e| BaselineError::Keep(e.into()))?;
    transaction.commit().map_err(failed)
}

/// All that is stored, oldest first; nothing is written.
pub fn history(database: &Path) -> Result<Vec<Stored>, BaselineError> {
    if !database.exists() {
        return Err(BaselineError::None(database.to_owned()));
    }
    let failed = |source| BaselineError::Sql {
        path: database.to_owned(),
        source,
    };
    let connection =
        Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(failed)?;
    connection
        .busy_timeout(Duration::from_secs(5))
        .map_err(failed)?;
    let mut statement = connection
        .prepare(
            "SELECT metric, value, unit, context, source_file, measured_date FROM measurements
             WHERE tool = 'gpu-container-profile' AND value IS NOT NULL
             ORDER BY measured_date, id",
        )
        .map_err(failed)?;
    let text = |row: &Row<'_>, at| {
        row.get::<_, Option<String>>(at)
            .map(Option::unwrap_or_default)
    };
    let rows = statement
        .query_map([], |row| {
            Ok(Stored {
                metric: text(row, 0)?,
                value: row.get(1)?,
                unit: text(row, 2)?,
                context: text(row, 3)?,
                source_file: text(row, 4)?,
                date: text(row, 5)?,
            })
        })
        .map_err(failed)?;
    rows.collect::<Result<_, _>>().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(value: f64) -> Vec<Measurement> {
        vec![Measurement {
            metric: "vram_total",
            value,
            unit: "MiB",
        }]
    }

    fn from(date: &str) -> Provenance {
        Provenance {
            context: "in-container".into(),
            source_file: format!("baselines/{date}-card.json"),
            date: date.into(),
        }
    }

    fn rows(database: &Path) -> Vec<(String, f64, String, Option<i64>)> {
        let connection = Connection::open(database).unwrap();
        let mut statement = connection
            .prepare("SELECT metric, value, measured_date, wave_id FROM measurements ORDER BY id")
            .unwrap();
        let rows = statement
            .query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))
            .unwrap();
        rows.map(Result::unwrap).collect()
    }

    #[test]
    fn a_profile_stored_twice_is_there_once() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("b.db");
        store(&database, &measured(1.0), &from("2026-01-02"), || {
            Ok::<_, String>(())
        })
        .unwrap();
        store(&database, &measured(2.0), &from("2026-01-02"), || {
            Ok::<_, String>(())
        })
        .unwrap();
        store(&database, &measured(3.0), &from("2026-01-03"), || {
            Ok::<_, String>(())
        })
        .unwrap();
        let want = [(2.0, "2026-01-02"), (3.0, "2026-01-03")];
        let got = rows(&database);
        assert_eq!(got.len(), 2);
        for ((metric, value, date, wave), want) in got.iter().zip(want) {
            assert_eq!(
                (metric.as_str(), *value, date.as_str(), *wave),
                ("vram_total", want.0, want.1, None)
            );
        }
    }

    #[test]
    fn the_newest_wave_is_named_where_there_are_waves() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("b.db");
        let connection = Connection::open(&database).unwrap();
        connection
            .execute_batch(
                "CREATE TABLE waves (id INTEGER PRIMARY KEY, wave_number INT);
                 INSERT INTO waves VALUES (7, 3), (9, 2);",
            )
            .unwrap();
        drop(connection);
        store(&database, &measured(1.0), &from("2026-01-02"), || {
            Ok::<_, String>(())
        })
        .unwrap();
        assert_eq!(rows(&database)[0].3, Some(7));
    }

    #[test]
    fn nothing_is_stored_when_the_profile_cannot_be_kept() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("b.db");
        store(&database, &measured(1.0), &from("2026-01-02"), || {
            Ok::<_, String>(())
        })
        .unwrap();
        let full = || Err("disk full");
        let e = store(&database, &measured(2.0), &from("2026-01-02"), full).unwrap_err();
        assert_eq!(e.code(), Code::RuntimeEmitBaselineFailed);
        assert_eq!(rows(&database)[0].1, 1.0);
    }

    #[test]
    fn what_is_no_such_database_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let garbage = folder.path().join("garbage.db");
        std::fs::write(
            &garbage,
            "this is a text file, quite long enough to be looked at",
        )
        .unwrap();
        let other = folder.path().join("other.db");
        let connection = Connection::open(&other).unwrap();
        connection
            .execute("CREATE TABLE measurements (id INTEGER PRIMARY KEY)", [])
            .unwrap();
        drop(connection);
        for database in [
            garbage,
            other,
            folder.path().join("no/b.db"),
            folder.path().into(),
        ] {
            assert!(
                store(&database, &measured(1.0), &from("2026-01-02"), || Ok::<
                    _,
                    String,
                >(
                    ()
                ))
                .is_err(),
                "{database:?}"
            );
        }
    }
}
