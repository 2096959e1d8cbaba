//! gpu-container-watchdog: what it does once its arguments are parsed.

mod args;
mod chosen;
mod draw;
mod evidence;
mod gpus;
mod launch;
mod limits;
mod live;
mod output;
mod patrol;
mod remedies;
mod render;
mod rotate;
mod run;
mod settings;

use std::path::Path;
use std::time::Instant;

use gpuc_core::document::Safety;
use gpuc_core::error::{Code, Fault};
use gpuc_core::exit::Exit;
use gpuc_core::safety::Place;
use gpuc_rig::host::HostPressure;
use gpuc_rig::supervise::{Protection, Signals, Stop, Subject, Worker};

pub use args::Args;
pub(crate) use draw::read_track;
use live::Stage;
use output::Outputs;
use patrol::{Cause, Host, Patrol};
use remedies::Remedies;
use settings::Settings;

use crate::deliver_text;

/// Looks, watches or supervises, as the arguments say.
pub fn run(args: Args) -> anyhow::Result<Exit> {
    if let Some(args::Sub::Draw(wanted)) = &args.command {
        return Ok(draw::draw(&args, wanted)?);
    }
    let settings = Settings::of(args)?;
    if settings.print_config {
        settings.print()?;
        return Ok(Exit::Ok);
    }
    if settings.dry_run {
        Outputs::check(&settings)?;
        subject(&settings)?;
        deliver_text(&Remedies::prepare(&settings)?.plan(&settings))?;
        return Ok(Exit::Ok);
    }
    Ok(match settings.place {
        Place::Run => run::supervise(&settings, host())?,
        Place::Once | Place::Watch => monitor(&settings, host())?,
    })
}

fn host() -> Host<'static> {
    let mut pressure = HostPressure::new(Path::new("/"));
    Box::new(move |wanted| pressure.read(wanted))
}

fn monitor<'a>(settings: &'a Settings, host: Host<'a>) -> Result<Exit, Fault> {
    let mut remedies = Remedies::prepare(settings)?;
    Outputs::check(settings)?;
    let stage = settings.tui.then(|| Stage::prepare(settings)).transpose()?;
    let outputs = Outputs::open(settings)?;
    let subject = subject(settings)?;
    let signals = take_over()?;
    let mut notes = String::new();
    if settings.place == Place::Watch {
        let protection = Protection::take();
        remedies.oom_score = protection.original();
        notes = run::unprotected(&protection);
    }
    let mut patrol = patrol(settings, &signals, outputs, host)?;
    patrol.subject = subject;
    if let Some(stage) = stage {
        let live = stage.open(settings, settings.pid, patrol.started)?;
        patrol.outputs.show_on(live);
    }
    patrol.outputs.begun(settings.pid, &notes);
    let cause = patrol.walk(None)?;
    patrol.outputs.ending("the watch ends");
    let exit = match cause {
        Cause::Stop(stop) => {
            patrol.signalled(stop);
            stopped_by(stop)
        }
        Cause::Done(verdict) => verdict_exit(verdict),
        Cause::JobEnded => Exit::Ok,
        Cause::Breach(breach) => {
            let mut deeds = remedies.begin(&mut patrol, &breach, settings.pid);
            match deeds.wait(&mut patrol, None) {
                Ok(_) => Exit::Abort,
                Err(stop) => stopped_by(stop),
            }
        }
    };
    patrol.outputs.ended(exit.status(), "the watch has ended");
    patrol.outputs.settle(exit)
}

/// The process that a monitor is to watch as a job.
fn subject(settings: &Settings) -> Result<Option<Subject>, Fault> {
    let Some(pid) = settings.pid else {
        return Ok(None);
    };
    if u32::try_from(pid) == Ok(std::process::id()) {
        let message = format!("--pid {pid} names the watchdog itself");
        return Err(Fault::new(Code::InputUsage, message).with_hint("name the process of the job"));
    }
    Subject::open(pid).map(Some).map_err(|e| {
        let message = format!("--pid {pid}: there is no such process to watch");
        Fault::new(Code::InputUsage, message)
            .with_hint("give the number of a process that runs")
            .with_cause(e)
    })
}

fn take_over() -> Result<Signals, Fault> {
    Signals::take_over().map_err(|e| {
        Fault::new(Code::RuntimeUnexpected, "signals cannot be taken over").with_cause(e)
    })
}

fn patrol<'a>(
    settings: &'a Settings,
    signals: &'a Signals,
    outputs: Outputs,
    host: Host<'a>,
) -> Result<Patrol<'a>, Fault> {
    let gpus = Worker::start(
        "gpus",
        gpus::question(settings.gpu_timeout, settings.interval, settings.watched()),
    )
    .map_err(|e| Fault::new(Code::RuntimeUnexpected, "no thread can be started").with_cause(e))?;
    Ok(Patrol {
        settings,
        signals,
        gpus,
        host,
        groups: None,
        subject: None,
        job: None,
        grace: None,
        watch: settings.watch(),
        outputs,
        started: Instant::now(),
    })
}

fn verdict_exit(verdict: Safety) -> Exit {
    match verdict {
        Safety::Ok => Exit::Ok,
        Safety::Warn => Exit::Warn,
        Safety::Abort => Exit::Abort,
    }
}

fn stopped_by(stop: Stop) -> Exit {
    match stop {
        Stop::Interrupt => Exit::Interrupted,
        other => Exit::Signalled(other.number()),
    }
}
