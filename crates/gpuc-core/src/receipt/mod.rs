//! The receipt: what a real run measured, held against the plan that it ran.
//!
//! Reading a measurement ([`Bench`]), choosing the rows that are the plan's run ([`measure`]), the
//! receipt itself ([`prove`]), and the calibration points that it leaves behind ([`points`]). Opening
//! files and writing them is not done here.

mod bench;
mod choose;
mod curve;
mod depths;
mod drift;
mod expected;
mod fragments;
mod history;
mod identity;
mod measure;
mod peaks;
mod prove;
mod row;
mod server;
mod store;
mod tables;
mod walk;
mod wanted;

pub use bench::Bench;
pub use choose::BenchError;
pub use curve::curve_table;
pub use depths::AtDepth;
pub use expected::Expected;
pub use history::{History, HistoryRow, history};
pub use measure::{Measured, measure};
pub use peaks::Envelope;
pub use prove::{PlanError, checked_plan, fold_peaks, fold_routing, prove, verdict};
pub use row::{Form, Kind, Row};
pub use server::Served;
pub use store::{Identity, NoPoint, Surroundings, file_name, points};
pub use wanted::Wanted;
