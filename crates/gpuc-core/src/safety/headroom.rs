//! How much memory is left above the limits, and how soon it could be gone.

use std::time::Duration;

use super::reading::{GroupReading, HostReading};
use crate::document::Thresholds;

/// Faster than any program fills memory: what is left lasts at least as long as this says.
const FASTEST_FILL_MIB_PER_S: f64 = 6000.0;
/// The shortest time between two glances at the host.
const SHORTEST_GLANCE: Duration = Duration::from_millis(20);

/// MiB that can be filled before a limit is met; `None` where nothing is known of it.
fn headroom(t: &Thresholds, host: &HostReading) -> Option<f64> {
    let of_host = host.total_mib.zip(host.avail_mib).map(|(total, avail)| {
        let by_share = avail - total * (1.0 - t.host_mem_pct_max / 100.0);
        by_share.min(avail - t.host_avail_mib_min)
    });
    let of_group = host.group.zip(t.cgroup_mem_pct_max).map(|(group, max)| {
        // More than all of it cannot be held, whatever the limit says.
        group.limit_mib * (max / 100.0).min(1.0) - group.held_mib
    });
    let left = of_host.into_iter().chain(of_group).reduce(f64::min)?;
    Some(left.max(0.0))
}

/// How long the host may be left alone, at the fastest that memory can fill up to a limit.
pub(super) fn glance(t: &Thresholds, host: &HostReading, at_most: Duration) -> Duration {
    let Some(left) = headroom(t, host) else {
        return at_most;
    };
    let lasts = Duration::try_from_secs_f64(left / FASTEST_FILL_MIB_PER_S);
    lasts.unwrap_or(at_most).max(SHORTEST_GLANCE).min(at_most)
}

/// Whether memory is so far past its limit that a job cannot be given time to end: half of what
/// the limit keeps free is gone.
pub(super) fn cannot_wait(t: &Thresholds, host: &HostReading) -> bool {
    let of_host = || {
        let (total, avail) = host.total_mib.zip(host.avail_mib)?;
        let kept = total * (1.0 - t.host_mem_pct_max / 100.0);
        let half = kept.max(t.host_avail_mib_min) / 2.0;
        Some(half > 0.0 && avail <= half)
    };
    let of_group = || {
        let GroupReading {
            limit_mib,
            held_mib,
        } = host.group?;
        let half = limit_mib * (100.0 - t.cgroup_mem_pct_max?) / 200.0;
        Some(half > 0.0 && limit_mib - held_mib <= half)
    };
    of_host() == Some(true) || of_group() == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MOST: Duration = Duration::from_secs(1);

    fn host(avail: f64) -> HostReading {
        HostReading {
            total_mib: Some(64000.0),
            avail_mib: Some(avail),
            ..HostReading::default()
        }
    }

    fn in_group(held_mib: f64) -> HostReading {
        HostReading {
            group: Some(GroupReading {
                limit_mib: 10000.0,
                held_mib,
            }),
            ..host(48000.0)
        }
    }

    #[test]
    fn the_less_memory_is_left_the_sooner_it_is_looked_at() {
        let t = Thresholds::default();
        assert_eq!(glance(&t, &host(48000.0), MOST), MOST);
        // 10 % of 64000 MiB are kept free: 600 MiB are left, at 6000 a second.
        let soon = glance(&t, &host(7000.0), MOST).as_secs_f64();
        assert!((soon - 0.1).abs() < 1e-6, "{soon}");
        assert_eq!(glance(&t, &host(100.0), MOST), SHORTEST_GLANCE);
        assert_eq!(glance(&t, &HostReading::default(), MOST), MOST);
        assert!(!cannot_wait(&t, &host(6300.0)) && cannot_wait(&t, &host(3000.0)));
    }

    #[test]
    fn a_control_group_counts_where_it_has_a_limit_of_ours() {
        let mut t = Thresholds::default();
        assert_eq!(glance(&t, &in_group(9990.0), MOST), MOST);
        assert!(!cannot_wait(&t, &in_group(9990.0)));
        t.cgroup_mem_pct_max = Some(90.0);
        let soon = glance(&t, &in_group(8400.0), MOST).as_secs_f64();
        assert!((soon - 0.1).abs() < 1e-6, "{soon}");
        assert!(!cannot_wait(&t, &in_group(9400.0)) && cannot_wait(&t, &in_group(9500.0)));
        // Beyond 100 % it is switched off, and memory still ends at the limit.
        t.cgroup_mem_pct_max = Some(1000.0);
        assert_eq!(glance(&t, &in_group(10000.0), MOST), SHORTEST_GLANCE);
        assert!(!cannot_wait(&t, &in_group(10000.0)));
    }

    proptest! {
        /// Between two glances memory cannot fill past a limit, but for the shortest of them.
        #[test]
        fn memory_cannot_be_gone_within_a_glance(avail in 0.0..64000.0f64, held in 0.0..10000.0f64) {
            let t = Thresholds { cgroup_mem_pct_max: Some(95.0), ..Thresholds::default() };
            let mut host = in_group(held);
            host.avail_mib = Some(avail);
            let lasts = glance(&t, &host, MOST);
            prop_assert!(lasts >= SHORTEST_GLANCE && lasts <= MOST);
            let left = (avail - 6400.0).min(9500.0 - held);
            prop_assert!(lasts == SHORTEST_GLANCE || lasts.as_secs_f64() * FASTEST_FILL_MIB_PER_S <= left + 1e-3);
        }
    }
}
