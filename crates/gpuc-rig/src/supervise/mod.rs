//! Running somebody else's process and stopping it for certain, and asking questions that may
//! never be answered.
//!
//! It decides nothing: when to stop, and why, is the caller's business.

mod birth;
mod cgroup;
mod console;
mod guardian;
mod job;
mod notify;
mod pidfd;
mod protect;
mod remedy;
mod scribe;
mod signals;
mod subject;
mod terminal;
mod tree;
mod worker;

pub use cgroup::{Cgroup, CgroupError};
pub use console::{Console, ConsoleError, Detour, Keepsake, roomy_pipe};
pub use job::{Attendant, Ended, Job, SpawnError, Step, Stopped, Streams};
pub use notify::Notify;
pub use protect::Protection;
pub use remedy::{Remedy, RemedyError, UnderWay};
pub use scribe::Scribe;
pub(crate) use signals::attend;
pub use signals::{Forwarded, Signals, Stop, Wake};
pub use subject::Subject;
pub use worker::Worker;
