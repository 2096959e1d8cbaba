//! `run`: a job under the watch, stopped on every way out.

use std::io;
use std::os::fd::AsFd as _;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::time::Duration;

use gpuc_core::document::{Breach, Peaks};
use gpuc_core::error::{Code, Fault};
use gpuc_core::exit::Exit;
use gpuc_core::safety::Action;
use gpuc_core::units::round_to;
use gpuc_rig::host::Groups;
use gpuc_rig::supervise::{Cgroup, Ended, Job, Protection, SpawnError, Stop, Stopped, Streams};

use super::live::Stage;
use super::output::{Outputs, rendered};
use super::patrol::{Cause, Host, Patrol};
use super::remedies::Remedies;
use super::settings::{JobSettings, Settings};
use super::{patrol, stopped_by, take_over};
use crate::deliver_json;
use crate::screen::say;

/// How long the job goes on beside an action of the user's, which may want to see it alive.
const HEAD_START: Duration = Duration::from_secs(2);

/// How long what a job leaves behind may take to end by itself.
const LINGER: Duration = Duration::from_secs(2);

pub(super) fn supervise<'a>(settings: &'a Settings, host: Host<'a>) -> Result<Exit, Fault> {
    let Some(wanted) = &settings.job else {
        return Err(Fault::new(
            Code::RuntimeUnexpected,
            "there is no job to supervise",
        ));
    };
    // Everything that can be found wrong is found before the job starts.
    let mut remedies = Remedies::prepare(settings)?;
    Outputs::check(settings)?;
    let mut stage = settings.tui.then(|| Stage::prepare(settings)).transpose()?;
    let outputs = Outputs::open(settings)?;
    let signals = take_over()?;
    let protection = Protection::take();
    remedies.oom_score = protection.original();
    let cgroup = cgroup(wanted)?;
    let groups = cgroup.as_ref().map(|c| Groups::only(c.path()));
    // Before there are other threads: what holds the job is a fork of this process.
    let mut job = match Job::spawn(
        &signals,
        &wanted.program,
        &wanted.args,
        streams(settings, stage.as_mut())?,
        cgroup,
        protection.original(),
    ) {
        Ok(job) => job,
        Err(e) => return Ok(not_started(e)),
    };
    let mut patrol = patrol(settings, &signals, outputs, host)?;
    patrol.groups = groups;
    if let Some(stage) = stage {
        let live = stage.open(settings, Some(job.number()), patrol.started);
        patrol.outputs.show_on(live?);
    }
    patrol
        .outputs
        .begun(Some(job.number()), &unprotected(&protection));
    let walked = catch_unwind(AssertUnwindSafe(|| patrol.walk(Some(&mut job))));
    patrol.outputs.ending("the job ends, or is stopped");
    let end = match walked {
        Ok(Ok(Cause::Breach(which))) if !job.has_ended() => {
            breach(&mut job, &remedies, &mut patrol, &which)
        }
        Ok(Ok(Cause::Stop(stop))) => {
            say(&format!(
                "watchdog: {} received; stopping the job",
                stop.name()
            ));
            patrol.signalled(stop);
            let how = job.stop(stop, Some(&signals), wanted.grace, &mut patrol.outputs);
            End::stopped(stop, how)
        }
        Ok(Ok(Cause::Breach(_) | Cause::JobEnded | Cause::Done(_))) => {
            over(&mut job, &mut patrol, wanted)
        }
        Ok(Err(fault)) => End::failed(
            Failure::Fault(fault),
            plainly(&mut job, &mut patrol, wanted.grace),
        ),
        Err(panic) => End::failed(
            Failure::Panic(panic),
            plainly(&mut job, &mut patrol, wanted.grace),
        ),
    };
    drop(job);
    let status = end.exit.as_ref().map_or(2, |exit| exit.status());
    let ended = end.ended.clone();
    let peaks = Peaks {
        on_breach: settings.actions.to_string(),
        action_taken: end.action_taken,
        aborted: matches!(end.exit, Ok(Exit::Abort)),
        ended: Some(end.ended),
        elapsed_s: Some(round_to(patrol.started.elapsed().as_secs_f64(), 3)),
        ..patrol.watch.peaks().clone()
    };
    if let Some(path) = &wanted.peaks_out
        && let Err(fault) = deliver_json(&peaks, Some(path))
    {
        patrol.outputs.failed(fault);
    }
    patrol.outputs.sum_up(&peaks);
    if let Some(path) = &wanted.svg {
        patrol.outputs.draw(patrol.watch.thresholds(), path);
    }
    patrol.outputs.ended(status, &ended);
    match end.exit {
        Ok(exit) => patrol.outputs.settle(exit),
        Err(Failure::Fault(fault)) => Err(fault),
        Err(Failure::Panic(panic)) => resume_unwind(panic),
    }
}

/// What the job prints mixes neither with a report stream nor with a dashboard.
fn streams(settings: &Settings, stage: Option<&mut Stage>) -> Result<Streams, Fault> {
    let mut streams = stage.map_or_else(Streams::default, Stage::streams);
    if settings.json {
        let copy = match &streams.stderr {
            Some(stderr) => stderr.try_clone(),
            None => io::stderr().as_fd().try_clone_to_owned(),
        };
        let no_copy = |e| Fault::new(Code::RuntimeUnexpected, "standard error").with_cause(e);
        streams.stdout = Some(copy.map_err(no_copy)?);
    }
    Ok(streams)
}

/// A group for the job where one can be made; only a limit of memory insists on it.
fn cgroup(wanted: &JobSettings) -> Result<Option<Cgroup>, Fault> {
    if !wanted.cgroup {
        return Ok(None);
    }
    match Cgroup::make(Path::new("/"), wanted.memory_max) {
        Ok(cgroup) => Ok(Some(cgroup)),
        Err(e) if wanted.memory_max.is_some() => Err(e.into()),
        Err(_) => Ok(None),
    }
}

/// The statuses that a shell gives where a command cannot be started.
fn not_started(e: SpawnError) -> Exit {
    let exit = match e {
        SpawnError::NotFound { .. } => Exit::Job(127),
        SpawnError::NotExecutable { .. } => Exit::Job(126),
    };
    say(&rendered(&Fault::from(e)));
    exit
}

/// What could not be done to keep the watchdog alive, for the record.
pub(super) fn unprotected(protection: &Protection) -> String {
    let mut out = String::new();
    let all = [
        ("memory not locked", &protection.locked),
        ("not spared when memory is full", &protection.spared),
    ];
    for (what, done) in all {
        if let Err(why) = done {
            out += &format!("; {what}: {why}");
        }
    }
    out
}

fn plainly(job: &mut Job, patrol: &mut Patrol<'_>, grace: Duration) -> (Stopped, Option<Ended>) {
    let signals = patrol.signals;
    job.stop(Stop::Terminate, Some(signals), grace, &mut patrol.outputs)
}

/// Stops it, and goes on looking at the host: a job that fills it further gets no more time.
fn in_danger(job: &mut Job, patrol: &mut Patrol<'_>, grace: Duration) -> (Stopped, Option<Ended>) {
    let signals = patrol.signals;
    job.stop(Stop::Terminate, Some(signals), grace, patrol)
}

/// What went wrong inside the watchdog itself.
enum Failure {
    Fault(Fault),
    Panic(Box<dyn std::any::Any + Send>),
}

/// How a run ended.
struct End {
    exit: Result<Exit, Failure>,
    ended: String,
    action_taken: Option<String>,
}

impl End {
    fn stopped(stop: Stop, how: (Stopped, Option<Ended>)) -> Self {
        Self {
            exit: Ok(stopped_by(stop)),
            ended: format!("{} to the watchdog", stop.name()),
            action_taken: Some(stopping(how)),
        }
    }

    fn failed(failure: Failure, how: (Stopped, Option<Ended>)) -> Self {
        Self {
            exit: Err(failure),
            ended: "the watchdog failed".to_owned(),
            action_taken: Some(stopping(how)),
        }
    }
}

fn breach(job: &mut Job, remedies: &Remedies, patrol: &mut Patrol<'_>, breach: &Breach) -> End {
    let settings = patrol.settings;
    let grace = settings.job.as_ref().map_or(Duration::ZERO, |j| j.grace);
    let mut deeds = remedies.begin(patrol, breach, Some(job.number()));
    let mut waited = if settings.actions.job_first() {
        Ok(false)
    } else {
        deeds.wait(patrol, Some(HEAD_START))
    };
    let how = in_danger(job, patrol, grace);
    let mut taken = stopping(how);
    if settings.actions.iter().any(|a| *a == Action::KillJob) {
        taken = format!("kill-job: {taken}");
    }
    say(&format!("watchdog: {taken}"));
    if waited == Ok(false) {
        waited = deeds.wait(patrol, None);
    }
    if let Err(stop) = waited {
        return End::stopped(stop, how);
    }
    if deeds.failed() && !taken.starts_with("kill-job") {
        taken = format!("kill-job instead: {taken}");
    }
    let mut words = deeds.words();
    words.push(taken);
    End::aborted(words.join("; "))
}

impl End {
    fn aborted(action_taken: String) -> Self {
        Self {
            exit: Ok(Exit::Abort),
            ended: "aborted on a breach".to_owned(),
            action_taken: Some(action_taken),
        }
    }
}

/// The job has ended by itself; what it left running ends with the watch.
fn over(job: &mut Job, patrol: &mut Patrol<'_>, wanted: &JobSettings) -> End {
    let left = job.linger(patrol.signals, LINGER);
    if left > 0 {
        say(&format!(
            "watchdog: the job has ended and left {left} process(es) running; \
             stopping them, since nobody would watch them"
        ));
    }
    let (how, ended) = plainly(job, patrol, wanted.grace);
    let ended = ended.unwrap_or(Ended::Exit(u8::MAX));
    End {
        exit: Ok(Exit::Job(ended.status())),
        ended: end_text(ended),
        action_taken: (left > 0).then(|| format!("left-over processes: {}", stopping((how, None)))),
    }
}

fn end_text(ended: Ended) -> String {
    match ended {
        Ended::Exit(status) => format!("exit {status}"),
        Ended::Signal(n) => format!("signal {n}"),
    }
}

fn stopping((how, ended): (Stopped, Option<Ended>)) -> String {
    let how = match how {
        Stopped::AlreadyOver => "already over",
        Stopped::Terminated => "ended on SIGTERM",
        Stopped::Killed => "killed after the grace period",
        Stopped::StillThere => "STILL THERE after SIGKILL",
    };
    ended.map_or_else(|| how.to_owned(), |e| format!("{how} ({})", end_text(e)))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use gpuc_core::safety::HostReading;

    use super::*;
    use crate::watchdog::args::Args;

    #[test]
    fn a_panic_of_ours_stops_the_job_and_leaves_the_peaks() {
        let dir = tempfile::tempdir().unwrap();
        let pid = dir.path().join("pid");
        let peaks = dir.path().join("p.json");
        let script = format!("echo $$ > {}; exec sleep 100", pid.display());
        let all = [
            "gpu-container-watchdog".as_ref(),
            "run".as_ref(),
            "--peaks-out".as_ref(),
            peaks.as_os_str(),
            "sh".as_ref(),
            "-c".as_ref(),
            script.as_ref(),
        ];
        let settings = Settings::of(Args::try_parse_from(all).unwrap()).unwrap();
        let started = pid.clone();
        let host = Box::new(move |_| {
            let runs = std::fs::read_to_string(&started).is_ok_and(|s| s.ends_with('\n'));
            assert!(!runs, "on purpose");
            HostReading::default()
        });
        assert!(catch_unwind(AssertUnwindSafe(|| supervise(&settings, host))).is_err());
        let pid = std::fs::read_to_string(pid).unwrap();
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
        assert!(stat.is_err(), "{stat:?}");
        let peaks: Peaks = gpuc_core::json::read(&std::fs::read(peaks).unwrap()).unwrap();
        assert_eq!(peaks.ended.as_deref(), Some("the watchdog failed"));
    }
}
