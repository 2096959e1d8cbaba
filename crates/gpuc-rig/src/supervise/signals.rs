//! Signals as events: blocked, and read in one place by `poll`.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, kill, raise, signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::getpid;

/// A signal that asks us to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The terminal is gone.
    HangUp,
    /// Ctrl-C.
    Interrupt,
    /// Ctrl-\\.
    Quit,
    /// A plain `kill`.
    Terminate,
}

impl Stop {
    fn of(signal: Signal) -> Option<Self> {
        match signal {
            Signal::SIGHUP => Some(Self::HangUp),
            Signal::SIGINT => Some(Self::Interrupt),
            Signal::SIGQUIT => Some(Self::Quit),
            Signal::SIGTERM => Some(Self::Terminate),
            _ => None,
        }
    }

    pub(super) fn signal(self) -> Signal {
        match self {
            Self::HangUp => Signal::SIGHUP,
            Self::Interrupt => Signal::SIGINT,
            Self::Quit => Signal::SIGQUIT,
            Self::Terminate => Signal::SIGTERM,
        }
    }

    /// Its number.
    pub fn number(self) -> u8 {
        match self {
            Self::HangUp => 1,
            Self::Interrupt => 2,
            Self::Quit => 3,
            Self::Terminate => 15,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::HangUp => "SIGHUP",
            Self::Interrupt => "SIGINT",
            Self::Quit => "SIGQUIT",
            Self::Terminate => "SIGTERM",
        }
    }
}

/// What ended a wait. Any of it may be set, or none when time was up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wake {
    /// The signal that asks us to end.
    pub stop: Option<Stop>,
    /// A child has ended, stopped or gone on.
    pub child: bool,
    /// The terminal asks us to pause (Ctrl-Z).
    pub suspend: bool,
    /// Signals that mean nothing to us but may to the job.
    pub forward: Vec<Forwarded>,
    /// One of the others has become readable.
    pub rung: bool,
}

/// A signal to be handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forwarded(pub(super) Signal);

/// What is handed on as it comes. Not what a fault in ourselves raises, nor the pipe's signal that
/// a reader of ours causes by leaving.
const FORWARDED: [Signal; 12] = [
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
    Signal::SIGALRM,
    Signal::SIGVTALRM,
    Signal::SIGPROF,
    Signal::SIGIO,
    Signal::SIGPWR,
    Signal::SIGURG,
    Signal::SIGXCPU,
    Signal::SIGSTKFLT,
    Signal::SIGCONT,
];

/// The signals of this process, for as long as it runs.
#[derive(Debug)]
pub struct Signals {
    fd: SignalFd,
    original: SigSet,
    /// Whether there was a terminal when we started.
    terminal: bool,
}

impl Signals {
    /// Takes the signals over. Threads started later leave them alone; so call it first.
    ///
    /// What our parent made us ignore (`nohup` the hang-up, a script's `&` the interrupt) stays
    /// ignored: a blocked signal would reach us all the same.
    pub fn take_over() -> io::Result<Self> {
        let ignored = ignored();
        let mut caught = SigSet::empty();
        for wanted in [
            Signal::SIGINT,
            Signal::SIGHUP,
            Signal::SIGQUIT,
            Signal::SIGTSTP,
        ]
        .into_iter()
        .chain(FORWARDED)
        {
            if ignored & bit(wanted) == 0 {
                caught.add(wanted);
            }
        }
        caught.add(Signal::SIGTERM);
        caught.add(Signal::SIGCHLD);
        if ignored & bit(Signal::SIGCHLD) != 0 {
            default_child_signal()?;
        }
        let mut blocked = caught;
        // A job in the foreground must not stop us when we take the terminal back.
        blocked.add(Signal::SIGTTOU);
        // A log that is as large as it may be is one that cannot be written, and no reason to die.
        blocked.add(Signal::SIGXFSZ);
        let mut original = SigSet::empty();
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&blocked), Some(&mut original))?;
        for signal in &caught {
            original.remove(signal);
        }
        let fd = SignalFd::with_flags(&caught, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        Ok(Self {
            fd,
            original,
            terminal: has_terminal(),
        })
    }

    /// Waits for a signal, for one of the others to become readable, or until a moment.
    pub fn wait(&self, others: &[BorrowedFd<'_>], until: Option<Instant>) -> io::Result<Wake> {
        let mut fds = vec![self.fd.as_fd()];
        fds.extend(others);
        let mut ready = wait_for(&fds, until)?.into_iter();
        let signalled = ready.next() == Some(true);
        let mut wake = Wake {
            rung: ready.any(|is_ready| is_ready),
            ..Wake::default()
        };
        while signalled && let Some(info) = self.fd.read_signal()? {
            let raw = i32::try_from(info.ssi_signo).unwrap_or_default();
            match Signal::try_from(raw) {
                Ok(Signal::SIGCHLD) => wake.child = true,
                Ok(Signal::SIGTSTP) => wake.suspend = true,
                Ok(other) => match Stop::of(other) {
                    // A hang-up may mean less than that.
                    Some(stop) if wake.stop.is_none_or(|s| s == Stop::HangUp) => {
                        wake.stop = Some(stop);
                    }
                    Some(_) => {}
                    None => wake.forward.push(Forwarded(other)),
                },
                Err(_) => {}
            }
        }
        Ok(wake)
    }

    /// Whether the terminal that we were started on is gone: what else a hang-up may be is somebody's
    /// wish that we read our settings again.
    pub fn has_lost_its_terminal(&self) -> bool {
        self.terminal && !has_terminal()
    }

    /// Pauses this process until it is told to go on.
    pub fn pause() {
        // It cannot fail: the signal is valid and never blocked.
        let _ = raise(Signal::SIGSTOP);
    }

    /// Interrupts this process as Ctrl-C does; where that is ignored, as a plain `kill` does.
    pub fn interrupt() {
        let is_ignored = ignored() & bit(Signal::SIGINT) != 0;
        let signal = if is_ignored {
            Signal::SIGTERM
        } else {
            Signal::SIGINT
        };
        // Raised for the process, not for this thread: it is read in one place.
        let _ = kill(getpid(), signal);
    }

    /// Gives the command's process the signals that we were started with.
    ///
    /// A process inherits what is blocked: without this it would never see SIGTERM.
    pub fn restore_in(&self, command: &mut Command) {
        let original = self.original;
        restore(command, original);
    }
}

/// Whether this process has a terminal to be hung up on.
fn has_terminal() -> bool {
    let mut how = std::fs::File::options();
    how.read(true);
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut how, nix::libc::O_NOCTTY);
    how.open("/dev/tty").is_ok()
}

#[allow(unsafe_code)]
fn restore(command: &mut Command, mask: SigSet) {
    let set = move || Ok(sigprocmask(SigmaskHow::SIG_SETMASK, Some(&mask), None)?);
    // SAFETY: between fork and exec the closure makes one system call on a copy of a plain bit
    // set; it neither allocates nor locks.
    unsafe {
        command.pre_exec(set);
    }
}

/// For a tool that we ask something: nothing of what this thread has blocked is blocked in it, it is
/// no more spared than we were when memory is full, and it does not outlive us, however long it
/// takes to answer.
#[allow(unsafe_code)]
pub(crate) fn attend(command: &mut Command) {
    restore(command, SigSet::empty());
    super::protect::Protection::undo_in_tool(command);
    let leave_with_us = || Ok(prctl::set_pdeathsig(Signal::SIGKILL)?);
    // SAFETY: between fork and exec the closure makes one system call and nothing else.
    unsafe {
        command.pre_exec(leave_with_us);
    }
}

/// A child that ends while this signal is ignored is reaped unseen, and its status is lost.
#[allow(unsafe_code)]
fn default_child_signal() -> io::Result<()> {
    // SAFETY: no handler is installed, only the default is put back.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) }?;
    Ok(())
}

/// Waits for one of these to become readable, or until a moment; says which are.
pub(super) fn wait_for(fds: &[BorrowedFd<'_>], until: Option<Instant>) -> io::Result<Vec<bool>> {
    let mut fds: Vec<PollFd<'_>> = fds
        .iter()
        .map(|fd| PollFd::new(*fd, PollFlags::POLLIN))
        .collect();
    match poll(&mut fds, timeout(until)) {
        Ok(_) => Ok(fds.iter().map(|fd| fd.any() == Some(true)).collect()),
        Err(Errno::EINTR) => Ok(vec![false; fds.len()]),
        Err(e) => Err(e.into()),
    }
}

/// Never too early: what is left of a millisecond is waited for as well.
pub(super) fn timeout(until: Option<Instant>) -> PollTimeout {
    let Some(until) = until else {
        return PollTimeout::NONE;
    };
    let left = until.saturating_duration_since(Instant::now());
    let mut ms = left.as_millis();
    if u128::from(left.subsec_nanos() % 1_000_000) > 0 {
        ms += 1;
    }
    PollTimeout::try_from(ms).unwrap_or(PollTimeout::MAX)
}

fn bit(signal: Signal) -> u64 {
    1 << (signal as u32 - 1)
}

/// The signals that this process ignores, as the kernel lists them.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|l| l.strip_prefix("SigIgn:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or_default()
}
