//! What a page keeps to itself: folders, and what a person's own command says.

use gpuc_core::document::Plan;
use serde_json::Value;

/// Texts that hold a command or a name of the user's behind the kind of an action.
const ACTIONS: [&str; 2] = ["on_breach", "action_taken"];

/// The document with every path cut to its last part and every action to its kind.
pub(super) fn masked(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(without_paths(&text)),
        Value::Array(all) => all.into_iter().map(masked).collect(),
        Value::Object(map) => {
            let entry = |(key, value): (String, Value)| match value {
                Value::String(text) if ACTIONS.contains(&key.as_str()) => {
                    (key, Value::String(kind(&text)))
                }
                value => (key, masked(value)),
            };
            Value::Object(map.into_iter().map(entry).collect())
        }
        other => other,
    }
}

/// The plan as its picture may tell it.
pub(super) fn plan(plan: &Plan) -> Plan {
    Plan {
        model_name: plan.model_name.as_deref().map(without_paths),
        message: plan.message.as_deref().map(without_paths),
        llama_flags: plan.llama_flags.as_deref().map(without_paths),
        ..plan.clone()
    }
}

/// What an action's kind is followed by when the rest is the user's own.
const OWN: [&str; 3] = ["command:", "docker-stop:", "://"];

/// An action or what came of it, up to what the user wrote: a command may hold anything.
fn kind(text: &str) -> String {
    let ends = OWN
        .iter()
        .filter_map(|own| Some(text.find(own)? + own.len()));
    match ends.min().and_then(|end| text.get(..end)) {
        Some(kind) => format!("{}…", without_paths(kind)),
        None => without_paths(text),
    }
}

/// `text` with every path from a root cut to its last part.
pub(super) fn without_paths(text: &str) -> String {
    // A value that is a path as a whole may have spaces in it.
    if starts_path(text) && !text.contains(['\n', '"', '\'']) && !text.contains(": ") {
        return last_part(text);
    }
    let mut out = String::new();
    let mut in_path = false;
    let ends = |c: char| c.is_whitespace() || "\"'`=,;()[]{}<>|".contains(c);
    for word in text.split_inclusive(ends) {
        let body = word.trim_end_matches(ends);
        let rest = word.get(body.len()..).unwrap_or_default();
        // A folder with a space in its name: what follows still belongs to the path.
        let goes_on = in_path && body.contains(['/', '\\']);
        if starts_path(body) || goes_on {
            out += &last_part(body);
            in_path = rest == " ";
        } else {
            out += body;
            in_path = in_path && rest == " " && !body.is_empty();
        }
        out += rest;
    }
    out
}

fn starts_path(text: &str) -> bool {
    let mut chars = text.chars();
    match (chars.next(), chars.next(), chars.next()) {
        (Some('/' | '~'), Some(_), _) => text.contains('/'),
        (Some('\\'), Some('\\'), _)
        | (Some('.'), Some('/'), _)
        | (Some('.'), Some('.'), Some('/')) => true,
        (Some(drive), Some(':'), Some('/' | '\\')) => drive.is_ascii_alphabetic(),
        _ => text.starts_with("file:/"),
    }
}

fn last_part(path: &str) -> String {
    let trimmed = path.trim_end_matches(['/', '\\', ':', '.']);
    let tail = path.get(trimmed.len()..).unwrap_or_default();
    let tail = tail.trim_matches(['/', '\\']);
    let last = trimmed.rsplit(['/', '\\']).next().unwrap_or_default();
    format!("…/{last}{tail}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_keep_their_last_part() {
        let cases = [
            ("/home/jo/models/x.gguf", "…/x.gguf"),
            ("/home/jo doe/my models/x.gguf", "…/x.gguf"),
            ("C:\\Users\\jo\\x.gguf", "…/x.gguf"),
            ("~/calibration", "…/calibration"),
            ("added: /home/jo/c/2026.json", "added: …/2026.json"),
            (
                "added: /home/jo doe/c/2026.json now",
                "added: …/jo …/2026.json now",
            ),
            ("-m '/srv/a b/x.gguf' -c 4096", "-m '…/a …/x.gguf' -c 4096"),
            ("360 GB/s at 35.0 tok/s", "360 GB/s at 35.0 tok/s"),
            ("Qwen/Qwen3-30B-A3B", "Qwen/Qwen3-30B-A3B"),
            ("forecast / ceiling", "forecast / ceiling"),
            ("wrote ../x/y.", "wrote …/y."),
            ("a\\b", "a\\b"),
            ("", ""),
        ];
        for (text, want) in cases {
            assert_eq!(without_paths(text), want, "{text}");
        }
    }

    #[test]
    fn a_command_is_kept_back() {
        let peaks = json!({
            "on_breach": "command:curl https://jo:secret@example.org",
            "action_taken": "kill-job: ended on SIGTERM (signal 15)",
            "ended": "exit 0",
            "inner": [{"on_breach": "docker-stop:jos-llama"}, {
                "on_breach": "alert,command:mail jo,kill:12",
                "action_taken": "kill-job: ended; command:mail jo: done",
            }],
        });
        let want = json!({
            "on_breach": "command:…",
            "action_taken": "kill-job: ended on SIGTERM (signal 15)",
            "ended": "exit 0",
            "inner": [{"on_breach": "docker-stop:…"}, {
                "on_breach": "alert,command:…",
                "action_taken": "kill-job: ended; command:…",
            }],
        });
        assert_eq!(masked(peaks), want);
    }
}
