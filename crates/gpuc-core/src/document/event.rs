//! events.jsonl: what a watch decided, and why.

use serde::{Deserialize, Serialize};

/// What was decided or came to pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Happening {
    /// The watch has begun; under `run` the job has been started.
    Started,
    /// A reading came near its limit, or went past one that it may be past for a while.
    Warning,
    /// A reading is past its limit, for as long as it takes to count.
    Breach,
    /// A reading is near no limit any more.
    Recovered,
    /// Looked at again before anything was done, a limit is still breached.
    Confirmed,
    /// Looked at again before anything was done, no limit is breached any more.
    Cleared,
    /// An action was begun.
    ActionStarted,
    /// An action was carried out.
    ActionDone,
    /// An action could not be carried out.
    ActionFailed,
    /// The limits were read again.
    Reloaded,
    /// A signal asked the watchdog to end.
    Signalled,
    /// The job was asked to end.
    Term,
    /// The job was killed.
    Kill,
    /// Nothing of the job is left.
    Reaped,
    /// The watchdog ends.
    Exit,
}

/// One line of the events file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Event {
    /// When, by the wall clock.
    pub t: String,
    /// Seconds since the watch began.
    pub elapsed_s: f64,
    /// What.
    pub event: Happening,
    /// Why, in words.
    pub reason: String,
    /// The reading it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    /// Its value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// The line it has crossed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// The action it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// The number of the job's first process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// The watchdog's exit status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u8>,
}
