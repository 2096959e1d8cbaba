//! When is a rig in danger: limits, one sample held against them, and what a run adds up to.
//!
//! [`Watch::step`] is the whole decision: a function of the readings and of the time passed in.
//! What is then done about it is the supervisor's business.

mod action;
mod evaluate;
mod thresholds;
mod watch;

pub use action::{Action, ActionError, Actions, Place};
pub use evaluate::{GpuReading, HostReading, judge, sample};
pub use thresholds::{ConfigError, Limits, config};
pub use watch::{Blindness, GpuReadings, Reading, Watch};
