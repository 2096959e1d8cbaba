//! The JSON Schemas of the documents.

use std::collections::BTreeMap;

use gpuc_core::document::{
    Concentration, Event, Expert, LogLine, Peaks, Plan, Point, Profile, Receipt, Report,
    Thresholds, Trace,
};
use gpuc_core::plan::Frontier;
use gpuc_core::receipt::History;
use schemars::{JsonSchema, Schema, schema_for};
use serde::Deserialize;

/// Where they are committed, seen from the workspace's root.
pub const FOLDER: &str = "schema/v0.1";

/// Each document's schema under its file's name.
pub fn all() -> Vec<(&'static str, Schema)> {
    vec![
        // What is passed on by `profile --from-profile` may hold null for the experts.
        ("profile", of::<Profile<Option<Expert>>>()),
        ("plan", of::<Plan>()),
        ("frontier", of::<Frontier>()),
        ("receipt", of::<Receipt>()),
        ("calibration-point", of::<Point>()),
        ("calibration-history", of::<History>()),
        ("concentration", of::<Concentration>()),
        ("trace", of::<Trace>()),
        ("peaks", of::<Peaks>()),
        ("watchdog-config", of::<WatchdogConfig>()),
        ("watchdog-report", of::<Report>()),
        ("watchdog-log-line", of::<LogLine>()),
        ("watchdog-event", of::<Event>()),
    ]
}

/// Limits for gpu-container-watchdog --config; what is not named keeps its default.
#[derive(Deserialize, JsonSchema)]
#[allow(dead_code, reason = "only its shape is wanted")]
struct WatchdogConfig {
    #[serde(flatten)]
    limits: Thresholds,
    /// Seconds that a limit must be passed before that is a breach, by the limit's name.
    #[serde(default)]
    sustain_s: BTreeMap<String, f64>,
}

fn of<T: JsonSchema>() -> Schema {
    schema_for!(T)
}

/// A schema as it is committed.
pub fn text(schema: &Schema) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(schema)? + "\n")
}
