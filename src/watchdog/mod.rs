//! gpu-container-watchdog: what it does once its arguments are parsed.

mod args;
mod draw;
mod gpus;
mod output;
mod patrol;
mod render;
mod run;
mod settings;

use std::path::Path;
use std::time::{Duration, Instant};

use gpuc_core::document::Safety;
use gpuc_core::error::{Code, Fault};
use gpuc_core::exit::Exit;
use gpuc_core::safety::{Action, HostReading, Place, Watch};
use gpuc_rig::host::HostPressure;
use gpuc_rig::supervise::{Remedy, Signals, Stop, UnderWay, Worker};

pub use args::Args;
pub(crate) use draw::read_track;
use output::{Outputs, say};
use patrol::{Cause, Patrol};
use settings::Settings;

/// Looks, watches or supervises, as the arguments say.
pub fn run(args: Args) -> anyhow::Result<Exit> {
    if let Some(args::Sub::Draw(wanted)) = &args.command {
        return Ok(draw::draw(&args, wanted)?);
    }
    let settings = Settings::of(args)?;
    Ok(match settings.place {
        Place::Run => run::supervise(&settings, host())?,
        Place::Once | Place::Watch => monitor(&settings, host())?,
    })
}

fn host() -> Box<dyn FnMut() -> HostReading> {
    let pressure = HostPressure::new(Path::new("/"));
    Box::new(move || pressure.read())
}

fn monitor<'a>(
    settings: &'a Settings,
    host: Box<dyn FnMut() -> HostReading + 'a>,
) -> Result<Exit, Fault> {
    let remedy = Remedy::prepare(&settings.action)?;
    let outputs = Outputs::open(settings)?;
    let signals = take_over()?;
    let mut patrol = patrol(settings, &signals, outputs, host)?;
    let exit = match patrol.walk(None)? {
        Cause::Stop(stop) => stopped_by(stop),
        Cause::Done(verdict) => verdict_exit(verdict),
        Cause::JobEnded => Exit::Ok,
        Cause::Breach if settings.action == Action::Alert => Exit::Abort,
        Cause::Breach => {
            let mut under_way = remedy.begin(&signals);
            match outcome(&mut under_way, &signals, &settings.action, ACTION_LASTS) {
                Ok(_) => Exit::Abort,
                Err(stop) => stopped_by(stop),
            }
        }
    };
    patrol.outputs.settle(exit)
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
    host: Box<dyn FnMut() -> HostReading + 'a>,
) -> Result<Patrol<'a>, Fault> {
    let gpus = Worker::start("gpus", gpus::question(settings.gpu_timeout)).map_err(|e| {
        Fault::new(Code::RuntimeUnexpected, "no thread can be started").with_cause(e)
    })?;
    Ok(Patrol {
        settings,
        signals,
        gpus,
        host,
        watch: Watch::new(settings.thresholds, settings.blindness, settings.sustain),
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

/// Longer than any action is given by itself.
const ACTION_LASTS: Duration = Duration::from_mins(1);
/// How often an action under way is looked at.
const ACTION_LOOK: Duration = Duration::from_millis(50);

/// Waits for an action, for `most` at the longest, and says what came of it.
///
/// A signal to us ends the wait: whoever sent it wants us gone.
fn outcome(
    under_way: &mut UnderWay<'_>,
    signals: &Signals,
    action: &Action,
    most: Duration,
) -> Result<Option<String>, Stop> {
    let ends = Instant::now() + most;
    loop {
        if let Some(outcome) = under_way.outcome() {
            let text = match outcome {
                Ok(done) => format!("{action}: {done}"),
                Err(why) => format!("{action} FAILED: {why}"),
            };
            say(&format!("watchdog: {text}"));
            return Ok(Some(text));
        }
        let now = Instant::now();
        if now >= ends {
            return Ok(None);
        }
        match signals.wait(&[], Some(ends.min(now + ACTION_LOOK))) {
            Ok(wake) => {
                if let Some(stop) = wake.stop {
                    return Err(stop);
                }
            }
            Err(_) => std::thread::sleep(ACTION_LOOK),
        }
    }
}
