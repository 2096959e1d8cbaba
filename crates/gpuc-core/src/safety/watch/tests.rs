//! The watch over time.

use super::*;
use crate::safety::GroupReading;

fn hot(temp_c: f64) -> GpuReading {
    GpuReading {
        temp_c: Some(temp_c),
        ..GpuReading::default()
    }
}

fn reading(gpus: GpuReadings) -> Reading {
    Reading {
        gpus,
        host: HostReading {
            total_mib: Some(64000.0),
            avail_mib: Some(48000.0),
            ..HostReading::default()
        },
        job: JobReading::default(),
    }
}

fn watch(polls: u32, aborts: bool) -> Watch {
    Watch::new(
        Thresholds::default(),
        Blindness { polls, aborts },
        Durations::default(),
    )
}

fn verdicts(w: &mut Watch, steps: impl IntoIterator<Item = GpuReadings>) -> Vec<Safety> {
    let step = |g| w.step(Duration::ZERO, &reading(g)).verdict;
    steps.into_iter().map(step).collect()
}

use GpuReadings::{Failed, NotAwaited, Read};
use Safety::{Abort, Ok, Warn};

#[test]
fn a_tool_that_never_answered_is_a_note() {
    let mut w = watch(3, true);
    for _ in 0..5 {
        let r = w.step(Duration::ZERO, &reading(Failed("no nvidia-smi".into())));
        assert_eq!(r.verdict, Ok);
        assert_eq!(r.sample.notes, ["no GPU reading: no nvidia-smi"]);
    }
    let mut w = watch(3, true);
    assert_eq!(
        verdicts(&mut w, vec![Read(vec![GpuReading::default()]); 5]),
        [Ok; 5]
    );
}

#[test]
fn one_that_answered_and_then_fails_warns_and_then_aborts() {
    let gone = || Failed("gone".into());
    let ok = || Read(vec![hot(50.0)]);
    let mut w = watch(3, true);
    let steps = [
        ok(),
        gone(),
        gone(),
        ok(),
        gone(),
        NotAwaited("x".into()),
        gone(),
        gone(),
    ];
    assert_eq!(
        verdicts(&mut w, steps),
        [Ok, Warn, Warn, Ok, Warn, Ok, Warn, Abort]
    );
    assert!(w.peaks().breached);
    assert_eq!(w.peaks().blind_polls, 5);
    let forever = [ok(), gone(), gone(), gone(), gone()];
    for mut w in [watch(3, false), watch(0, true)] {
        assert_eq!(
            verdicts(&mut w, forever.clone()),
            [Ok, Warn, Warn, Warn, Warn]
        );
    }
}

#[test]
fn each_way_of_going_blind_counts() {
    for lost in [
        Read(vec![]),
        Read(vec![hot(50.0)]),
        Read(vec![hot(50.0), GpuReading::default()]),
        Failed("hung".into()),
    ] {
        let mut w = watch(1, true);
        let steps = [Read(vec![hot(50.0), hot(40.0)]), lost.clone()];
        assert_eq!(verdicts(&mut w, steps), [Ok, Abort], "{lost:?}");
    }
}

#[test]
fn the_envelope_keeps_the_worst_of_each() {
    let mut w = watch(3, true);
    assert_eq!(w.peaks().stayed_within_envelope, None);
    w.step(Duration::from_millis(1500), &reading(Read(vec![hot(60.0)])));
    w.step(Duration::from_millis(2500), &reading(Read(vec![hot(50.0)])));
    let p = w.peaks();
    assert_eq!(
        (p.samples, p.peak_gpu_temp_c, p.elapsed_s),
        (2, Some(60.0), Some(2.5))
    );
    assert_eq!(
        (p.peak_host_mem_pct, p.min_host_avail_mib),
        (Some(25.0), Some(48000.0))
    );
    assert_eq!((p.breached, p.stayed_within_envelope), (false, Some(true)));
    w.step(Duration::ZERO, &reading(Read(vec![hot(90.0)])));
    w.step(Duration::ZERO, &reading(Read(vec![hot(50.0)])));
    let p = w.peaks();
    assert_eq!((p.breached, p.stayed_within_envelope), (true, Some(false)));
}

#[test]
fn the_host_alone_can_abort() {
    let w = watch(3, true);
    let host = |avail| HostReading {
        total_mib: Some(64000.0),
        avail_mib: Some(avail),
        ..HostReading::default()
    };
    assert!(!w.host_aborts(Duration::ZERO, &host(48000.0)));
    assert!(w.host_aborts(Duration::ZERO, &host(1500.0)));
}

#[test]
fn the_host_aborts_once_what_must_hold_has_held() {
    let mut durations = Durations::default();
    durations.give(Limit::Pressure, Duration::from_secs(5));
    let mut w = watch(3, true);
    let limits = Thresholds {
        psi_full_avg10_max: Some(20.0),
        ..Thresholds::default()
    };
    w.reload(limits, durations);
    assert_eq!(w.peaks().thresholds, limits);
    let mut r = reading(NotAwaited("x".into()));
    r.host.psi_full_avg10 = Some(30.0);
    let s = Duration::from_secs;
    assert!(!w.host_aborts(s(0), &r.host));
    assert_eq!(w.step(s(1), &r).verdict, Warn);
    assert!(!w.host_aborts(s(5), &r.host) && w.host_aborts(s(6), &r.host));
    assert_eq!(w.step(s(6), &r).verdict, Abort);
    r.host.psi_full_avg10 = None;
    let report = w.step(s(7), &r);
    assert_eq!(report.verdict, Ok);
    assert!(report.sample.notes.iter().any(|n| n.contains("pressure")));
}

#[test]
fn a_gpu_that_still_has_time_is_neither_lost_nor_back() {
    let pending = GpuReading {
        pending: true,
        ..GpuReading::default()
    };
    let mut w = watch(2, true);
    let steps = [
        Read(vec![hot(50.0), hot(40.0)]),
        Read(vec![hot(50.0), pending.clone()]),
        Read(vec![hot(50.0), GpuReading::default()]),
        Read(vec![hot(50.0), pending.clone()]),
        Read(vec![hot(50.0), GpuReading::default()]),
    ];
    assert_eq!(verdicts(&mut w, steps), [Ok, Ok, Warn, Ok, Abort]);
    // What the other GPUs say counts all along.
    let mut w = watch(2, true);
    assert_eq!(verdicts(&mut w, [Read(vec![pending, hot(90.0)])]), [Abort]);
}

type Worse = fn(&mut Reading);

#[test]
fn the_jobs_own_limits_and_the_swap_and_the_group() {
    let limits = Thresholds {
        swap_pct_max: Some(50.0),
        cgroup_mem_pct_max: Some(95.0),
        job_vram_mib_max: Some(1000.0),
        job_rss_mib_max: Some(500.0),
        ..Thresholds::default()
    };
    let fresh = || {
        Watch::new(
            limits,
            Blindness {
                polls: 3,
                aborts: true,
            },
            Durations::default(),
        )
    };
    let mut calm = reading(Read(vec![GpuReading {
        processes: Some(vec![(7, Some(899.0)), (8, Some(5000.0))]),
        ..hot(50.0)
    }]));
    calm.job = JobReading {
        processes: Some(vec![7]),
        numbers_are_the_hosts: true,
        since_the_start: true,
        rss_mib: Some(449.0),
    };
    calm.host.swap_total_mib = Some(1000.0);
    calm.host.swap_free_mib = Some(600.0);
    calm.host.group = Some(GroupReading {
        limit_mib: 100.0,
        held_mib: 80.0,
    });
    assert_eq!(fresh().step(Duration::ZERO, &calm).breaches, []);
    let change: [(&str, Worse); 4] = [
        ("swap_pct", |r| r.host.swap_free_mib = Some(500.0)),
        ("cgroup_mem_pct", |r| {
            r.host.group = Some(GroupReading {
                limit_mib: 100.0,
                held_mib: 95.0,
            });
        }),
        ("job_vram_mib", |r| r.job.processes = Some(vec![8])),
        ("job_rss_mib", |r| r.job.rss_mib = Some(500.0)),
    ];
    for (metric, worse) in change {
        let mut r = calm.clone();
        worse(&mut r);
        let mut w = fresh();
        let report = w.step(Duration::ZERO, &r);
        let found: Vec<_> = report
            .breaches
            .iter()
            .map(|b| (&*b.metric, b.level))
            .collect();
        assert_eq!(found, [(metric, Level::Abort)]);
        assert!(
            w.confirms(&report, &r) && !w.confirms(&report, &calm),
            "{metric}"
        );
    }
    let mut w = fresh();
    w.step(Duration::ZERO, &calm);
    let p = w.peaks();
    assert_eq!(
        (p.peak_job_vram_mib, p.peak_job_rss_mib),
        (Some(899.0), Some(449.0))
    );
    assert_eq!(
        (p.peak_swap_pct, p.peak_cgroup_mem_pct),
        (Some(40.0), Some(80.0))
    );
}

#[test]
fn power_must_hold_and_temperature_need_not() {
    let at_cap = |w: f64| GpuReading {
        power_w: Some(w),
        power_limit_w: Some(100.0),
        ..GpuReading::default()
    };
    let blindness = Blindness {
        polls: 3,
        aborts: true,
    };
    let mut durations = Durations::default();
    durations.give(Limit::Power, Duration::from_secs(10));
    let mut w = Watch::new(Thresholds::default(), blindness, durations);
    let mut at = |s, gpus| w.step(Duration::from_secs(s), &reading(gpus)).verdict;
    assert_eq!(at(0, Read(vec![at_cap(99.0)])), Warn);
    assert_eq!(at(9, Read(vec![at_cap(99.0)])), Warn);
    assert_eq!(at(10, Read(vec![at_cap(50.0)])), Ok);
    assert_eq!(at(11, Read(vec![at_cap(99.0)])), Warn);
    assert_eq!(at(15, NotAwaited("x".into())), Ok);
    assert_eq!(at(21, Read(vec![at_cap(99.0)])), Abort);
    assert_eq!(at(22, Read(vec![hot(90.0)])), Abort);
}

#[test]
fn a_breach_is_confirmed_by_what_is_still_past_its_limit_or_unknown() {
    let mut w = watch(3, true);
    let report = w.step(Duration::ZERO, &reading(Read(vec![hot(90.0)])));
    assert!(w.confirms(&report, &reading(Read(vec![hot(88.0)]))));
    assert!(w.confirms(&report, &reading(Failed("hangs".into()))));
    assert!(!w.confirms(&report, &reading(Read(vec![hot(50.0)]))));
}

#[test]
fn while_a_job_is_stopped_peaks_go_on_and_a_gpu_may_not_heat_up() {
    let mut w = watch(3, true);
    let s = Duration::from_secs;
    let at = |temp| reading(Read(vec![hot(temp)]));
    w.step(s(0), &at(88.0));
    for (temp, worse) in [(60.0, false), (92.0, false), (93.0, true)] {
        assert_eq!(w.look_on(s(1), &at(temp)).1, worse, "{temp}");
    }
    assert!(!w.look_on(s(2), &reading(NotAwaited("x".into()))).1);
    assert_eq!(
        (w.peaks().samples, w.peaks().peak_gpu_temp_c),
        (1, Some(93.0))
    );
    // Hotter, but within its limit.
    let mut w = watch(3, true);
    w.step(s(0), &at(50.0));
    assert!(!w.look_on(s(1), &at(80.0)).1);
}
