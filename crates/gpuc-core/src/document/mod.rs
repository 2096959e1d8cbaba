//! The JSON documents that pass between the five commands.
//!
//! Field names are the contract. Reading is tolerant: unknown keys are ignored and missing
//! optional ones take their defaults, so that older and newer files load. A value that was not
//! measured is `null`.

mod concentration;
mod event;
mod peaks;
mod plan;
mod point;
mod profile;
mod receipt;
mod trace;

pub use concentration::{CacheReplay, Concentration, LayerConcentration, Workload};
pub use event::{Event, Happening};
pub use peaks::{Breach, Level, LogLine, MemSource, Peaks, Report, Safety, Sample, Thresholds};
pub use plan::{Assumptions, DeviceMemory, Plan, Remedy, Verdict};
pub use point::{POINT_SCHEMA, Point};
pub use profile::{
    Bandwidth, BlockRun, Expert, Gpu, Hardware, KvGroup, Memory, Model, Platform, Profile,
    Quantization, SCHEMA_VERSION,
};
pub use receipt::{DepthRow, Receipt};
pub use trace::{LayerCounts, Trace};
pub(crate) use trace::{MAX_EXPERTS, MAX_LAYERS};
