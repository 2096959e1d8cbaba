//! Placement: a model and a rig in, a plan out.
//!
//! A [`Footprint`] knows what a placement costs (bytes by device, bytes read per token); the
//! planner only searches, so that the closed form and an exact reading of a weights file are
//! planned by the same code.

mod closed_form;
mod error;
#[cfg(test)]
mod evidence_tests;
mod exact;
mod explain;
mod flags;
mod footprint;
mod frontier;
mod memo;
mod planner;
mod problem;
mod remedies;
mod rig;
mod search;
#[cfg(test)]
mod tests;

pub use closed_form::{ClosedForm, ClosedFormSetting};
pub use error::PlanError;
pub use exact::Exact;
pub use footprint::{Footprint, Placement, Tier, Usage};
pub use frontier::{Frontier, FrontierRow, curve, frontier};
pub use planner::refuse;
pub use problem::{Problem, Rig, Subject, Wish};
pub use rig::{Bandwidths, Best, Rate, RigError, RigView};
pub use search::Search;
