//! Calibration: from receipts to the share of the roofline that decode really gets, with a band.

mod estimate;
mod store;

pub use estimate::{Estimate, Regime, estimate};
pub use store::{StoreFile, points_in, seed};
