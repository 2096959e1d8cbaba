//! One sample: the worst of several GPUs, and what it means against the limits.

use super::limit::Limit;
use super::reading::{GpuReading, HostReading};
use crate::document::{Breach, Level, Safety, Sample, Thresholds};
use crate::units::round_to;

impl GpuReading {
    /// Whether any limit can be held against this GPU.
    pub fn is_watchable(&self) -> bool {
        self.temp_c.is_some()
            || percent(self.power_w, self.power_limit_w).is_some()
            || percent(self.vram_used_mib, self.vram_total_mib).is_some()
    }
}

/// A part of a whole in percent; a whole of nothing has no parts.
fn percent(part: Option<f64>, whole: Option<f64>) -> Option<f64> {
    let (part, whole) = (part?, whole?);
    let pct = 100.0 * part / whole;
    (whole > 0.0 && pct.is_finite()).then_some(pct)
}

/// A part, its whole, and the share in percent, rounded as it is reported and compared.
type Pair = (f64, f64, f64);

/// The pair with the largest share; the first of equals.
fn worst(pairs: impl Iterator<Item = (Option<f64>, Option<f64>)>) -> Option<Pair> {
    pairs
        .filter_map(|(part, whole)| Some((part?, whole?, round_to(percent(part, whole)?, 1))))
        .fold(None, |worst: Option<Pair>, pair| match worst {
            Some(w) if w.2 >= pair.2 => Some(w),
            _ => Some(pair),
        })
}

fn largest(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    values.flatten().reduce(f64::max)
}

/// The worst of all GPUs, each percentage beside its own GPU's pair of numbers, and the host. What
/// is known of the job is not filled in.
///
/// `gpus` is `None` when no GPU could be asked at all.
pub fn sample(gpus: Option<&[GpuReading]>, host: &HostReading) -> Sample {
    let all = gpus.unwrap_or_default();
    let power = worst(all.iter().map(|g| (g.power_w, g.power_limit_w)));
    let vram = worst(all.iter().map(|g| (g.vram_used_mib, g.vram_total_mib)));
    let used = match (host.total_mib, host.avail_mib) {
        (Some(total), Some(avail)) => percent(Some(total - avail), Some(total)),
        _ => None,
    };
    let swapped = match (host.swap_total_mib, host.swap_free_mib) {
        (Some(total), Some(free)) => percent(Some(total - free), Some(total)),
        _ => None,
    };
    let in_group = host
        .group
        .and_then(|g| percent(Some(g.held_mib), Some(g.limit_mib)).map(|pct| (pct, g)));
    let mut gpu_throttle_reasons: Vec<String> = Vec::new();
    for reason in all.iter().flat_map(|g| &g.throttle_reasons) {
        if !gpu_throttle_reasons.contains(reason) {
            gpu_throttle_reasons.push(reason.clone());
        }
    }
    let several = all.len() > 1;
    let mut notes: Vec<String> = Vec::new();
    for (i, gpu) in all.iter().enumerate() {
        for note in &gpu.notes {
            notes.push(if several {
                format!("GPU {i}: {note}")
            } else {
                note.clone()
            });
        }
    }
    notes.extend(host.notes.iter().cloned());
    Sample {
        gpu_power_w: power.map(|p| p.0),
        gpu_power_limit_w: power.map(|p| p.1),
        gpu_power_pct: power.map(|p| p.2),
        gpu_temp_c: largest(all.iter().map(|g| g.temp_c)),
        gpu_vram_used_mib: vram.map(|v| v.0),
        gpu_vram_total_mib: vram.map(|v| v.1),
        gpu_vram_pct: vram.map(|v| v.2),
        gpu_util_pct: largest(all.iter().map(|g| g.util_pct)),
        gpu_count: u64::try_from(all.len()).ok().filter(|n| *n > 0),
        host_mem_pct: used.map(|p| round_to(p, 1)),
        host_avail_mib: host.avail_mib.map(|m| round_to(m, 1)),
        mem_source: host.source,
        gpu_throttle_reasons,
        gpu_ecc_errors: all
            .iter()
            .filter_map(|g| g.ecc_errors)
            .reduce(u64::saturating_add),
        gpu_xids: all.iter().flat_map(|g| g.xids.iter().copied()).collect(),
        job_vram_mib: None,
        job_rss_mib: None,
        swap_pct: swapped.map(|p| round_to(p, 1)),
        psi_full_avg10: host.psi_full_avg10,
        cgroup_mem_pct: in_group.map(|(pct, _)| round_to(pct, 1)),
        cgroup_mem_held_mib: in_group.map(|(_, g)| round_to(g.held_mib, 1)),
        cgroup_mem_limit_mib: in_group.map(|(_, g)| round_to(g.limit_mib, 1)),
        notes,
    }
}

/// Every metric near or past its limit, in the order of the limits.
pub fn judge(s: &Sample, t: &Thresholds) -> Vec<Breach> {
    let mut out = Vec::new();
    for limit in Limit::ALL {
        let (Some(metric), Some(value), Some(line)) =
            (limit.metric(), limit.value(s), limit.get(t))
        else {
            continue;
        };
        let warn = if limit == Limit::HostAvailable {
            // A fraction of 0 would put this line at infinity, which no document can hold.
            Some(line / t.warn_fraction).filter(|warn| warn.is_finite())
        } else {
            Some(line * t.warn_fraction)
        };
        let (threshold, level) = if limit.is_past(value, line) {
            (line, Level::Abort)
        } else if let Some(warn) = warn.filter(|warn| limit.is_past(value, *warn)) {
            (warn, Level::Warn)
        } else {
            continue;
        };
        out.push(Breach {
            metric: metric.to_owned(),
            value,
            threshold: round_to(threshold, 1),
            level,
        });
    }
    out
}

/// The verdict that breaches add up to.
pub(super) fn verdict(breaches: &[Breach]) -> Safety {
    match breaches.iter().map(|b| b.level).max() {
        None => Safety::Ok,
        Some(Level::Warn) => Safety::Warn,
        Some(Level::Abort) => Safety::Abort,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn gpu(row: [f64; 6]) -> GpuReading {
        let [power, limit, temp, used, total, util] = row.map(Some);
        GpuReading {
            power_w: power,
            power_limit_w: limit,
            temp_c: temp,
            vram_used_mib: used,
            vram_total_mib: total,
            util_pct: util,
            ..GpuReading::default()
        }
    }

    fn host(total: f64, avail: f64) -> HostReading {
        HostReading {
            total_mib: Some(total),
            avail_mib: Some(avail),
            ..HostReading::default()
        }
    }

    fn found(s: &Sample, t: &Thresholds) -> Vec<(String, f64, f64, Level)> {
        judge(s, t)
            .into_iter()
            .map(|b| (b.metric, b.value, b.threshold, b.level))
            .collect()
    }

    #[test]
    fn each_percentage_keeps_its_own_gpus_numbers() {
        let gpus = [
            gpu([440.0, 450.0, 40.0, 100.0, 24564.0, 5.0]),
            gpu([20.0, 450.0, 60.0, 24500.0, 24564.0, 7.0]),
        ];
        let s = sample(Some(&gpus), &host(64000.0, 32000.0));
        assert_eq!((s.gpu_power_w, s.gpu_power_pct), (Some(440.0), Some(97.8)));
        assert_eq!(
            (s.gpu_vram_used_mib, s.gpu_vram_pct),
            (Some(24500.0), Some(99.7))
        );
        assert_eq!(
            (s.gpu_temp_c, s.gpu_util_pct, s.gpu_count),
            (Some(60.0), Some(7.0), Some(2))
        );
        assert_eq!(
            (s.host_mem_pct, s.host_avail_mib),
            (Some(50.0), Some(32000.0))
        );
    }

    #[test]
    fn half_a_pair_is_no_pair_and_zero_is_a_reading() {
        let mut half = gpu([120.0, 450.0, 55.0, 0.0, 24564.0, 0.0]);
        half.power_limit_w = None;
        let s = sample(Some(&[half]), &HostReading::default());
        assert_eq!(
            (s.gpu_power_w, s.gpu_power_limit_w, s.gpu_power_pct),
            (None, None, None)
        );
        assert_eq!(
            (s.gpu_vram_used_mib, s.gpu_vram_pct),
            (Some(0.0), Some(0.0))
        );
        let s = sample(
            Some(&[gpu([20.0, 0.0, 30.0, 0.0, 0.0, 0.0])]),
            &HostReading::default(),
        );
        assert_eq!(
            (s.gpu_power_w, s.gpu_vram_total_mib, s.gpu_vram_pct),
            (None, None, None)
        );
        let s = sample(None, &HostReading::default());
        assert_eq!((s.gpu_count, s.host_mem_pct), (None, None));
    }

    #[test]
    fn limits_are_met_at_the_limit_itself() {
        let t = Thresholds::default();
        let cases = [
            (
                Sample {
                    gpu_temp_c: Some(78.2),
                    ..Sample::default()
                },
                None,
            ),
            (
                Sample {
                    gpu_temp_c: Some(78.3),
                    ..Sample::default()
                },
                Some((78.3, Level::Warn)),
            ),
            (
                Sample {
                    gpu_temp_c: Some(87.0),
                    ..Sample::default()
                },
                Some((87.0, Level::Abort)),
            ),
            (
                Sample {
                    host_avail_mib: Some(2223.0),
                    ..Sample::default()
                },
                None,
            ),
            (
                Sample {
                    host_avail_mib: Some(2222.2),
                    ..Sample::default()
                },
                Some((2222.2, Level::Warn)),
            ),
            (
                Sample {
                    host_avail_mib: Some(2000.0),
                    ..Sample::default()
                },
                Some((2000.0, Level::Abort)),
            ),
        ];
        for (s, want) in cases {
            let got = found(&s, &t).pop().map(|(_, _, line, level)| (line, level));
            assert_eq!(got, want, "{s:?}");
        }
    }

    #[test]
    fn a_percentage_is_judged_as_it_is_shown() {
        let s = sample(
            Some(&[gpu([427.28, 450.0, 55.0, 8000.0, 24564.0, 33.0])]),
            &HostReading::default(),
        );
        assert_eq!(s.gpu_power_pct, Some(95.0));
        assert_eq!(
            found(&s, &Thresholds::default()),
            [("gpu_power_pct".to_owned(), 95.0, 95.0, Level::Abort)]
        );
    }

    #[test]
    fn breaches_come_in_the_order_of_the_limits() {
        let gpus = [gpu([449.0, 450.0, 90.0, 24500.0, 24564.0, 100.0])];
        let s = sample(Some(&gpus), &host(64000.0, 100.0));
        let metrics: Vec<String> = judge(&s, &Thresholds::default())
            .into_iter()
            .map(|b| b.metric)
            .collect();
        assert_eq!(
            metrics,
            [
                "gpu_power_pct",
                "gpu_temp_c",
                "gpu_vram_pct",
                "host_mem_pct",
                "host_avail_mib"
            ]
        );
    }

    #[test]
    fn a_warn_fraction_of_zero_warns_without_infinities() {
        let t = Thresholds {
            warn_fraction: 0.0,
            ..Thresholds::default()
        };
        let s = Sample {
            gpu_temp_c: Some(1.0),
            host_avail_mib: Some(64000.0),
            ..Sample::default()
        };
        assert_eq!(
            found(&s, &t),
            [("gpu_temp_c".to_owned(), 1.0, 0.0, Level::Warn)]
        );
    }

    proptest! {
        /// Worse readings never give a better verdict.
        #[test]
        fn verdicts_are_monotone(temp in 0.0..200.0f64, more in 0.0..50.0f64, avail in 0.0..1e5f64) {
            let t = Thresholds::default();
            let at = |temp, avail| {
                let s = Sample {
                    gpu_temp_c: Some(temp),
                    host_avail_mib: Some(avail),
                    ..Sample::default()
                };
                verdict(&judge(&s, &t))
            };
            prop_assert!(at(temp, avail) <= at(temp + more, avail));
            prop_assert!(at(temp, avail) <= at(temp, (avail - more).max(0.0)));
        }

        /// Whatever a driver reports, the sample can be printed.
        #[test]
        fn samples_are_json(row in proptest::array::uniform6(-1e308..1e308f64)) {
            let s = sample(Some(&[gpu(row)]), &host(row[0], row[1]));
            for x in [s.gpu_power_pct, s.gpu_vram_pct, s.host_mem_pct].into_iter().flatten() {
                prop_assert!(x.is_finite());
            }
        }
    }
}
