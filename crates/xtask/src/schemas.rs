//! The JSON Schemas of the documents.

use gpuc_core::document::{
    Concentration, Event, Expert, LogLine, Peaks, Plan, Point, Profile, Receipt, Report,
    Thresholds, Trace,
};
use gpuc_core::plan::Frontier;
use gpuc_core::receipt::History;
use gpuc_core::safety::{Kind, LONGEST_S, Limit, Setting};
use schemars::{JsonSchema, Schema, json_schema, schema_for};
use serde_json::{Map, Value, json};

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
        ("watchdog-config", watchdog_config()),
        ("watchdog-report", of::<Report>()),
        ("watchdog-log-line", of::<LogLine>()),
        ("watchdog-event", of::<Event>()),
    ]
}

/// What `gpu-container-watchdog --config` reads. Not from a type: each value may also stand in an
/// object that says where it came from, and each number has its range.
fn watchdog_config() -> Schema {
    let limits = schema_for!(Thresholds);
    let described = |limit: Limit| {
        let mut schema = limits
            .pointer(&format!("/properties/{}", limit.key()))
            .cloned()
            .unwrap_or_default();
        if let Some(schema) = schema.as_object_mut() {
            schema.retain(|key, _| key == "description" || key == "default");
        }
        schema
    };
    let mut all = Map::new();
    let mut together = Map::new();
    let mut lasts = Map::new();
    for limit in Limit::ALL {
        let value = number(0.0, limit.most(), limit.is_optional());
        all.insert(limit.key().to_owned(), printed(&value, described(limit)));
        let same = json!({"$ref": format!("#/properties/{}", limit.key())});
        together.insert(limit.key().to_owned(), same);
        if limit.metric().is_some() {
            let value = printed(&number(0.0, LONGEST_S, false), json!({}));
            lasts.insert(limit.key().to_owned(), value);
        }
    }
    let together = json!({
        "description": "Limits in an object of their own, as --print-config prints them; one beside it goes over it.",
        "type": "object",
        "properties": together,
    });
    all.insert("limits".to_owned(), together);
    let lasts = json!({
        "description": "Seconds that a limit must be passed before that is a breach, by the limit's name.",
        "type": "object",
        "properties": lasts,
    });
    all.insert("sustain_s".to_owned(), lasts);
    for setting in Setting::ALL {
        let about = json!({"description": format!("As {}.", setting.flag())});
        all.insert(setting.key().to_owned(), printed(&values(setting), about));
    }
    json_schema!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "WatchdogConfig",
        "description": "Limits and other settings for gpu-container-watchdog --config; what is not named keeps its default.",
        "type": "object",
        "properties": all,
    })
}

/// A value, bare or as `--print-config` prints it.
fn printed(value: &Value, mut about: Value) -> Value {
    let with_origin = json!({
        "type": "object",
        "properties": {"value": value},
        "required": ["value"],
    });
    if let Some(about) = about.as_object_mut() {
        about.insert("anyOf".to_owned(), json!([value, with_origin]));
    }
    about
}

fn number(least: f64, most: f64, or_null: bool) -> Value {
    json!({"type": type_or_null("number", or_null), "minimum": least, "maximum": most})
}

fn type_or_null(name: &str, or_null: bool) -> Value {
    if or_null {
        json!([name, "null"])
    } else {
        json!(name)
    }
}

fn values(setting: Setting) -> Value {
    let or_null = setting.is_optional();
    match setting.kind() {
        Kind::UpTo(most) => number(0.0, most, or_null),
        Kind::Above0UpTo(most) => json!({
            "type": type_or_null("number", or_null),
            "exclusiveMinimum": 0.0,
            "maximum": most,
        }),
        Kind::Count(most) => json!({
            "type": type_or_null("integer", or_null),
            "minimum": 0,
            "maximum": most,
        }),
        Kind::Word(words) => json!({"enum": words}),
        Kind::Text => json!({"type": type_or_null("string", or_null), "minLength": 1}),
    }
}

fn of<T: JsonSchema>() -> Schema {
    schema_for!(T)
}

/// A schema as it is committed.
pub fn text(schema: &Schema) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(schema)? + "\n")
}
