use super::*;
use crate::supervise::Stop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

fn job(signals: &Signals, script: &str) -> Job {
    let args = ["-c".into(), script.into()];
    Job::spawn(
        signals,
        "sh".as_ref(),
        &args,
        Streams::default(),
        None,
        None,
    )
    .unwrap()
}

fn stop(job: &mut Job, signals: &Signals, grace: Duration) -> (Stopped, Option<Ended>) {
    job.stop(Stop::Terminate, Some(signals), grace, &mut ())
}

#[test]
fn a_job_dropped_in_a_panic_takes_its_tree_with_it() {
    let signals = Signals::take_over().unwrap();
    let job = job(&signals, "setsid sleep 100 & sleep 100");
    while job.tree().running() < 3 {
        std::thread::yield_now();
    }
    let numbers = job.reading().processes.unwrap();
    let fell = catch_unwind(AssertUnwindSafe(|| {
        let _job = job;
        panic!("on purpose");
    }));
    assert!(fell.is_err());
    for pid in numbers {
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }
}

#[test]
fn an_ended_job_gives_its_status_once_and_again() {
    let signals = Signals::take_over().unwrap();
    let mut job = job(&signals, "exit 3");
    while !job.has_ended() || !job.is_gone() {
        std::thread::yield_now();
    }
    let stopped = stop(&mut job, &signals, Duration::ZERO);
    assert_eq!(stopped, (Stopped::AlreadyOver, Some(Ended::Exit(3))));
    assert_eq!(
        stop(&mut job, &signals, Duration::ZERO).1,
        Some(Ended::Exit(3))
    );
}

#[test]
fn a_job_writes_where_it_is_told_to_and_may_have_a_session_of_its_own() {
    use std::io::Read as _;
    let signals = Signals::take_over().unwrap();
    let (mut ours, theirs) = io::pipe().unwrap();
    let streams = Streams {
        stdin: Some(std::fs::File::open("/dev/null").unwrap().into()),
        stdout: Some(theirs.try_clone().unwrap().into()),
        stderr: Some(theirs.into()),
        no_terminal: true,
        keepsake: None,
    };
    let script = "cat; cut -d' ' -f1,5,6,7 /proc/$$/stat; echo told >&2";
    let args = ["-c".into(), script.into()];
    let mut job = Job::spawn(&signals, "sh".as_ref(), &args, streams, None, None).unwrap();
    let pid = job.number();
    while !job.has_ended() || !job.is_gone() {
        std::thread::yield_now();
    }
    stop(&mut job, &signals, Duration::ZERO);
    let mut told = String::new();
    ours.read_to_string(&mut told).unwrap();
    // Its number, group and session, and no terminal.
    assert_eq!(told, format!("{pid} {pid} {pid} 0\ntold\n"));
}

/// Has no time, and remembers what was done.
#[derive(Default)]
struct Hurried(Vec<Step>);

impl Attendant for Hurried {
    fn hurry(&mut self) -> bool {
        true
    }
    fn step(&mut self, step: Step) {
        self.0.push(step);
    }
}

#[test]
fn there_is_no_grace_when_there_is_a_hurry() {
    let signals = Signals::take_over().unwrap();
    let mut job = job(&signals, "trap '' TERM; while :; do sleep 0.01; done");
    let grace = Duration::from_secs(1000);
    let mut hurried = Hurried::default();
    let how = job.stop(Stop::Terminate, Some(&signals), grace, &mut hurried);
    assert_eq!(hurried.0.first(), Some(&Step::Asked(Stop::Terminate)));
    assert_eq!(hurried.0.last(), Some(&Step::Gone));
    assert_ne!(how.0, Stopped::StillThere);
    assert!(how.1.is_some());
}
