//! The metrics of a watch that are drawn: what they are called and which limit they have.

use gpuc_core::document::{Sample, Thresholds};

/// One metric.
#[derive(Clone, Copy)]
pub(super) struct Metric {
    /// Its name in samples and breaches.
    pub(super) key: &'static str,
    pub(super) title: &'static str,
    pub(super) unit: &'static str,
    /// From the sample's unit to the one that is shown.
    pub(super) scale: f64,
    pub(super) places: usize,
    pub(super) read: fn(&Sample) -> Option<f64>,
    pub(super) limit: Limit,
}

/// Where a metric is acted upon.
#[derive(Clone, Copy)]
pub(super) enum Limit {
    Most(fn(&Thresholds) -> f64),
    Least(fn(&Thresholds) -> f64),
    None,
}

const PERCENT: Metric = Metric {
    key: "",
    title: "",
    unit: "%",
    scale: 1.0,
    places: 1,
    read: |_| None,
    limit: Limit::None,
};

pub(super) const METRICS: [Metric; 6] = [
    Metric {
        key: "gpu_power_pct",
        title: "GPU power, share of its limit",
        read: |s| s.gpu_power_pct,
        limit: Limit::Most(|t| t.power_pct_max),
        ..PERCENT
    },
    Metric {
        key: "gpu_temp_c",
        title: "GPU temperature",
        unit: "°C",
        places: 0,
        read: |s| s.gpu_temp_c,
        limit: Limit::Most(|t| t.gpu_temp_c_max),
        ..PERCENT
    },
    Metric {
        key: "gpu_vram_pct",
        title: "VRAM used",
        read: |s| s.gpu_vram_pct,
        limit: Limit::Most(|t| t.vram_pct_max),
        ..PERCENT
    },
    Metric {
        key: "gpu_util_pct",
        title: "GPU busy",
        places: 0,
        read: |s| s.gpu_util_pct,
        ..PERCENT
    },
    Metric {
        key: "host_mem_pct",
        title: "Host memory used",
        read: |s| s.host_mem_pct,
        limit: Limit::Most(|t| t.host_mem_pct_max),
        ..PERCENT
    },
    Metric {
        key: "host_avail_mib",
        title: "Host memory left",
        unit: "GiB",
        scale: 1.0 / 1024.0,
        read: |s| s.host_avail_mib,
        limit: Limit::Least(|t| t.host_avail_mib_min),
        ..PERCENT
    },
];
