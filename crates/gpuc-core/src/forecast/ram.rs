//! How fast RAM is, by how that is known: the law takes what the modules could deliver.

/// All cores together read about this share of what the modules could deliver.
const ALL_CORES_SHARE: f64 = 0.85;
/// A measurement that does not say how it was made got this share in the middle: 0.35 by one
/// thread (17.8 of 51.2 GB/s), 0.84 by STREAM (64.5 of 76.8), all of it at best.
const UNSTATED_SHARE: f64 = 0.6;
/// What two channels of a desktop deliver in the middle, GB/s: 51 with DDR4-3200, 90 with DDR5-5600.
const DESKTOP_GBPS: f64 = 65.0;

/// What a rate of RAM is a rate of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RamRate {
    /// What its modules could deliver.
    Modules,
    /// What all cores together read.
    AllCores,
    /// A measurement that does not say.
    Unstated,
}

impl RamRate {
    /// What the modules could deliver, of a rate of this kind; in the unit of the rate, GB/s.
    ///
    /// An unstated measurement may be of one thread or of all, so what it tells and what desktops
    /// have count alike.
    pub fn modules_gbps(self, gbps: f64) -> f64 {
        match self {
            Self::Modules => gbps,
            Self::AllCores => gbps / ALL_CORES_SHARE,
            Self::Unstated => (gbps / UNSTATED_SHARE * DESKTOP_GBPS).sqrt(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unstated_rate_is_drawn_to_what_desktops_have() {
        let of = |gbps| RamRate::Unstated.modules_gbps(gbps);
        assert!(of(17.8) > 40.0 && of(17.8) < 51.2);
        assert!(of(102.0) > 95.0 && of(102.0) < 115.0);
        assert!((RamRate::AllCores.modules_gbps(43.5) - 51.2).abs() < 0.1);
        assert_eq!(RamRate::Modules.modules_gbps(76.8), 76.8);
    }
}
