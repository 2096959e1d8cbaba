use std::cell::Cell;

use clap::Parser as _;
use gpuc_core::safety::GpuReading;

use super::*;
use crate::watchdog::args::Args;

fn settings(args: &[&str]) -> Settings {
    let all = ["gpu-container-watchdog", "--interval", "1000"];
    Settings::of(Args::try_parse_from(all.iter().chain(args)).unwrap()).unwrap()
}

fn host(avail_mib: f64) -> HostReading {
    HostReading {
        total_mib: Some(64000.0),
        avail_mib: Some(avail_mib),
        ..HostReading::default()
    }
}

fn patrol<'a>(
    settings: &'a Settings,
    signals: &'a Signals,
    gpus: impl FnMut() -> GpuReadings + Send + 'static,
    mut host: impl FnMut() -> HostReading + 'a,
) -> Patrol<'a> {
    Patrol {
        settings,
        signals,
        gpus: Worker::start("gpus", gpus).unwrap(),
        host: Box::new(move |_| host()),
        groups: None,
        subject: None,
        job: None,
        grace: None,
        watch: settings.watch(),
        outputs: Outputs::open(settings).unwrap(),
        started: Instant::now(),
    }
}

fn fine() -> GpuReadings {
    GpuReadings::Read(vec![GpuReading {
        temp_c: Some(50.0),
        ..GpuReading::default()
    }])
}

#[test]
fn a_host_breach_does_not_wait_for_the_next_look() {
    let settings = settings(&["--watch"]);
    let signals = Signals::take_over().unwrap();
    let glances = Cell::new(0);
    let mut patrol = patrol(&settings, &signals, fine, || {
        glances.set(glances.get() + 1);
        host(if glances.get() < 4 { 48000.0 } else { 100.0 })
    });
    assert!(matches!(patrol.walk(None), Ok(Cause::Breach(b)) if b.metric.starts_with("host_")));
    assert_eq!(patrol.watch.peaks().min_host_avail_mib, Some(100.0));
    assert!(patrol.watch.peaks().samples <= 2);
}

#[test]
fn gpus_that_hang_are_asked_once_and_then_missing() {
    let settings = settings(&[
        "--watch",
        "--max-polls",
        "3",
        "--gpu-timeout",
        "0.05",
        "--interval",
        "0.5",
    ]);
    let signals = Signals::take_over().unwrap();
    let (_never, hang) = std::sync::mpsc::channel::<()>();
    let question = move || {
        let _ = hang.recv();
        fine()
    };
    let mut patrol = patrol(&settings, &signals, question, || host(48000.0));
    assert!(matches!(patrol.walk(None), Ok(Cause::Done(Safety::Ok))));
    assert_eq!(patrol.watch.peaks().samples, 3);
}

#[test]
fn a_question_that_panics_leaves_the_host_watched() {
    let settings = settings(&["--watch", "--max-polls", "2", "--interval", "0.5"]);
    let signals = Signals::take_over().unwrap();
    let mut patrol = patrol(
        &settings,
        &signals,
        || panic!("on purpose"),
        || host(7000.0),
    );
    assert!(matches!(patrol.walk(None), Ok(Cause::Done(Safety::Warn))));
}
