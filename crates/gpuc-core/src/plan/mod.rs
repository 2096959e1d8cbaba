//! Placement: a footprint and a rig in, a plan out.
//!
//! A [`Footprint`] knows what a placement costs (bytes by device, bytes read per token); the
//! planner only searches, so that the closed form and an exact reading of a weights file are
//! planned by the same code.

mod closed_form;
mod explain;
mod footprint;
mod planner;
mod rig;

pub use closed_form::{ClosedForm, ClosedFormSetting};
pub use footprint::{Footprint, Placement, Tier, Usage};
pub use planner::{PlanRequest, plan, refuse};
pub use rig::{Bandwidths, Rate, RigError, RigView};
