//! Is a model's routing skewed enough for a per-expert cache?
//!
//! Counts of visits per layer and expert come in, from a trace or from an importance matrix; a
//! report with a verdict goes out. A per-token trace is replayed through caches as well, and held
//! against a rig: what would they buy?

mod bootstrap;
mod element;
mod imatrix;
mod per_token;
mod replay;
mod report;
mod trace;
mod worth;

pub use bootstrap::hot_fraction_interval;
pub use imatrix::{CountsTensor, ImatrixError, counts_tensors, imatrix_trace, is_old_imatrix};
pub use per_token::{LayerChoices, PerToken, PerTokenError};
pub use replay::{Policy, Replay, Served};
pub use report::{report, summary};
pub use trace::{TraceError, read_trace};
pub use worth::{ExpertLayer, OnRig, beside, replay};
