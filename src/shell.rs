//! The frame around a command: arguments in, exit status out, errors rendered in one place.

use std::panic::{self, UnwindSafe};
use std::process::ExitCode;

use clap::error::{ContextKind, ErrorKind};
use clap::{Command, Parser};
use gpuc_core::error::{Code, Fault};
use gpuc_core::exit::Exit;

use crate::screen::{say, settle};

/// What to do about a fault of ours.
const REPORT: &str = "please report it with the command line and the input files";

/// What every command's arguments can say.
pub trait CommonArgs: Parser {
    /// Whether the whole chain of causes is to be shown.
    fn debug(&self) -> bool;
}

/// Parses the arguments, runs the command, renders its error, and gives the process its status.
pub fn main_with<A: CommonArgs + UnwindSafe>(run: fn(A) -> anyhow::Result<Exit>) -> ExitCode {
    let args = match parsed::<A>() {
        Ok(args) => args,
        Err(e) => return ExitCode::from(usage(&e).status()),
    };
    let debug = args.debug();
    // A panic is a fault of ours; its text goes into the error instead of the default report.
    panic::set_hook(Box::new(|_| {}));
    let outcome = panic::catch_unwind(|| run(args)).unwrap_or_else(|payload| {
        let what = payload
            .downcast_ref::<&str>()
            .map(|s| (*s).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_default();
        Err(Fault::new(
            Code::RuntimeUnexpected,
            "this is a fault in gpu-container itself",
        )
        .with_cause(what)
        .into())
    });
    let exit = outcome.unwrap_or_else(|e| {
        render(&e, debug);
        Exit::BadInput
    });
    settle();
    ExitCode::from(exit.status())
}

fn parsed<A: CommonArgs>() -> Result<A, clap::Error> {
    let matches = taking_negatives(A::command()).try_get_matches()?;
    A::from_arg_matches(&matches)
}

/// A number below 0 reaches its flag, whose own words say what is expected there.
fn taking_negatives(command: Command) -> Command {
    command
        .mut_args(|arg| {
            let value = arg.get_action().takes_values() && !arg.is_positional();
            arg.allow_negative_numbers(value)
        })
        .mut_subcommands(taking_negatives)
}

fn render(e: &anyhow::Error, debug: bool) {
    let fault = e.downcast_ref::<Fault>();
    let code = fault.map_or(Code::RuntimeUnexpected, Fault::code);
    let message = fault.map_or_else(|| format!("{e:#}"), Fault::to_string);
    let mut text = format!("ERROR [{code}]: {message}\n");
    let ours = (code == Code::RuntimeUnexpected).then_some(REPORT);
    if let Some(hint) = fault.and_then(Fault::hint).or(ours) {
        text += &format!("  hint: {hint}\n");
    }
    let causes = fault.map(Fault::causes).unwrap_or_default();
    let shown = if debug { causes.len() } else { 1 };
    for cause in causes.iter().take(shown) {
        text += &format!("  cause: {cause}\n");
    }
    if debug {
        text += &format!("  debug: {e:?}\n");
    }
    say(&text);
}

/// Renders what clap has to say: help and version are no errors, all else is bad usage.
fn usage(e: &clap::Error) -> Exit {
    if matches!(e.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return match e.print() {
            Ok(()) => Exit::Ok,
            Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Exit::Ok,
            Err(_) => Exit::BadInput,
        };
    }
    let rendered = e.render().to_string();
    let message = rendered
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .take_while(|l| !l.starts_with("Usage:") && !l.starts_with("For more information"))
        .map(|l| l.trim_start_matches("error: "))
        .collect::<Vec<_>>()
        .join("; ")
        .replace(":; ", ": ");
    let mut text = format!("ERROR [{}]: {message}\n", Code::InputUsage);
    if let Some(usage) = e.get(ContextKind::Usage) {
        let usage = usage.to_string();
        text += &format!("  hint: {}; try --help\n", usage.trim());
    } else {
        text += "  hint: try --help\n";
    }
    say(&text);
    Exit::BadInput
}
