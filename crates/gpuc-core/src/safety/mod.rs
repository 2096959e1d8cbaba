//! When is a rig in danger: limits, one sample held against them, and what a run adds up to.
//!
//! [`Watch::step`] is the whole decision: a function of the readings and of the time passed in.
//! What is then done about it is the supervisor's business.

mod action;
mod evaluate;
mod headroom;
mod hold;
mod job;
mod limit;
mod planned;
mod reading;
mod setting;
mod thresholds;
mod watch;

pub use action::{Action, ActionError, Actions, Place};
pub use evaluate::{judge, sample};
pub use hold::Durations;
pub use limit::{Limit, MOST_MIB};
pub use planned::{PlannedError, planned};
pub use reading::{
    GpuReading, GpuReadings, GroupReading, HostReading, HostWanted, JobReading, Reading,
};
pub use setting::{Kind, Setting};
pub use thresholds::{Config, ConfigError, LONGEST_S, Limits, config};
pub use watch::{Blindness, Watch};
