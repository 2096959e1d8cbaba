//! The limits by name: their keys, their flags, what they are held against.

use crate::document::{Sample, Thresholds};

/// One limit, or the share of all of them at which a warning starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// GPU power, % of the card's own limit.
    Power,
    /// GPU temperature, °C.
    Temperature,
    /// VRAM used, %.
    Vram,
    /// Host memory used, %.
    HostMemory,
    /// Host memory available, MiB.
    HostAvailable,
    /// Swap used, %.
    Swap,
    /// Share of time in which all tasks waited for memory, %.
    Pressure,
    /// Memory of the tightest control group that cannot be given back, % of its limit.
    Cgroup,
    /// VRAM of the job, MiB.
    JobVram,
    /// Resident memory of the job, MiB.
    JobRss,
    /// Share of a limit at which a warning starts.
    WarnFraction,
}

/// Percentages go up to here: what lies over 100 switches a limit off.
const MOST_PCT: f64 = 1000.0;
/// 2^40 MiB, more than any machine holds.
pub const MOST_MIB: f64 = 1099511627776.0;

impl Limit {
    /// All of them, in the order in which breaches are reported.
    pub const ALL: [Self; 11] = [
        Self::Power,
        Self::Temperature,
        Self::Vram,
        Self::HostMemory,
        Self::HostAvailable,
        Self::Swap,
        Self::Pressure,
        Self::Cgroup,
        Self::JobVram,
        Self::JobRss,
        Self::WarnFraction,
    ];

    /// The limit that a thresholds file calls `key`.
    pub fn of_key(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|l| l.key() == key)
    }

    /// The limit that is held against a metric.
    pub fn of_metric(metric: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|l| l.metric() == Some(metric))
    }

    /// Its key in a thresholds file.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Power => "power_pct_max",
            Self::Temperature => "gpu_temp_c_max",
            Self::Vram => "vram_pct_max",
            Self::HostMemory => "host_mem_pct_max",
            Self::HostAvailable => "host_avail_mib_min",
            Self::Swap => "swap_pct_max",
            Self::Pressure => "psi_full_avg10_max",
            Self::Cgroup => "cgroup_mem_pct_max",
            Self::JobVram => "job_vram_mib_max",
            Self::JobRss => "job_rss_mib_max",
            Self::WarnFraction => "warn_fraction",
        }
    }

    /// The flag that says the same.
    pub const fn flag(self) -> &'static str {
        match self {
            Self::Power => "--power-max",
            Self::Temperature => "--temp-max",
            Self::Vram => "--vram-max",
            Self::HostMemory => "--host-mem-max",
            Self::HostAvailable => "--host-avail-min",
            Self::Swap => "--swap-max",
            Self::Pressure => "--psi-max",
            Self::Cgroup => "--cgroup-mem-max",
            Self::JobVram => "--job-vram-max",
            Self::JobRss => "--job-rss-max",
            Self::WarnFraction => "--warn-fraction",
        }
    }

    /// The sample's field that it is held against.
    pub const fn metric(self) -> Option<&'static str> {
        Some(match self {
            Self::Power => "gpu_power_pct",
            Self::Temperature => "gpu_temp_c",
            Self::Vram => "gpu_vram_pct",
            Self::HostMemory => "host_mem_pct",
            Self::HostAvailable => "host_avail_mib",
            Self::Swap => "swap_pct",
            Self::Pressure => "psi_full_avg10",
            Self::Cgroup => "cgroup_mem_pct",
            Self::JobVram => "job_vram_mib",
            Self::JobRss => "job_rss_mib",
            Self::WarnFraction => return None,
        })
    }

    /// What the sample has to be held against it.
    pub fn value(self, s: &Sample) -> Option<f64> {
        match self {
            Self::Power => s.gpu_power_pct,
            Self::Temperature => s.gpu_temp_c,
            Self::Vram => s.gpu_vram_pct,
            Self::HostMemory => s.host_mem_pct,
            Self::HostAvailable => s.host_avail_mib,
            Self::Swap => s.swap_pct,
            Self::Pressure => s.psi_full_avg10,
            Self::Cgroup => s.cgroup_mem_pct,
            Self::JobVram => s.job_vram_mib,
            Self::JobRss => s.job_rss_mib,
            Self::WarnFraction => None,
        }
    }

    /// Whether a reading is as bad as `line`, or worse.
    pub fn is_past(self, value: f64, line: f64) -> bool {
        if self == Self::HostAvailable {
            value <= line
        } else {
            value >= line
        }
    }

    /// Whether the readings of GPUs say something about it.
    pub const fn is_of_gpus(self) -> bool {
        matches!(
            self,
            Self::Power | Self::Temperature | Self::Vram | Self::JobVram
        )
    }

    /// Whether there need be none.
    pub const fn is_optional(self) -> bool {
        matches!(
            self,
            Self::Swap | Self::Pressure | Self::Cgroup | Self::JobVram | Self::JobRss
        )
    }

    /// The most that a thresholds file may ask for; 0 is the least.
    pub const fn most(self) -> f64 {
        match self {
            Self::HostAvailable | Self::JobVram | Self::JobRss => MOST_MIB,
            // A warning starts before its limit, or there is none.
            Self::WarnFraction => 1.0,
            _ => MOST_PCT,
        }
    }

    /// It in `t`, where it is set.
    pub fn get(self, t: &Thresholds) -> Option<f64> {
        match self {
            Self::Power => Some(t.power_pct_max),
            Self::Temperature => Some(t.gpu_temp_c_max),
            Self::Vram => Some(t.vram_pct_max),
            Self::HostMemory => Some(t.host_mem_pct_max),
            Self::HostAvailable => Some(t.host_avail_mib_min),
            Self::Swap => t.swap_pct_max,
            Self::Pressure => t.psi_full_avg10_max,
            Self::Cgroup => t.cgroup_mem_pct_max,
            Self::JobVram => t.job_vram_mib_max,
            Self::JobRss => t.job_rss_mib_max,
            Self::WarnFraction => Some(t.warn_fraction),
        }
    }

    /// Sets it in `t`; one that must be keeps its value when there is none.
    pub fn set(self, t: &mut Thresholds, value: Option<f64>) {
        let needed = match self {
            Self::Power => &mut t.power_pct_max,
            Self::Temperature => &mut t.gpu_temp_c_max,
            Self::Vram => &mut t.vram_pct_max,
            Self::HostMemory => &mut t.host_mem_pct_max,
            Self::HostAvailable => &mut t.host_avail_mib_min,
            Self::WarnFraction => &mut t.warn_fraction,
            Self::Swap => return t.swap_pct_max = value,
            Self::Pressure => return t.psi_full_avg10_max = value,
            Self::Cgroup => return t.cgroup_mem_pct_max = value,
            Self::JobVram => return t.job_vram_mib_max = value,
            Self::JobRss => return t.job_rss_mib_max = value,
        };
        *needed = value.unwrap_or(*needed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_is_its_own_and_is_a_field_of_the_document() {
        let mut t = Thresholds::default();
        for (i, limit) in Limit::ALL.into_iter().enumerate() {
            limit.set(&mut t, Some(i as f64));
        }
        let document = serde_json::to_value(t).unwrap();
        assert_eq!(document.as_object().unwrap().len(), Limit::ALL.len());
        for (i, limit) in Limit::ALL.into_iter().enumerate() {
            assert_eq!(limit.get(&t), Some(i as f64));
            assert_eq!(document[limit.key()], i as f64);
            assert_eq!(Limit::of_key(limit.key()), Some(limit));
            let metric = limit.metric();
            assert_eq!(metric.and_then(Limit::of_metric), metric.map(|_| limit));
            limit.set(&mut t, None);
            assert_eq!(limit.get(&t).is_none(), limit.is_optional());
        }
    }

    #[test]
    fn each_metric_is_a_field_of_the_sample() {
        for limit in Limit::ALL {
            let Some(metric) = limit.metric() else {
                continue;
            };
            let s: Sample = serde_json::from_value(serde_json::json!({ metric: 3.5 })).unwrap();
            assert_eq!(limit.value(&s), Some(3.5), "{metric}");
        }
    }
}
