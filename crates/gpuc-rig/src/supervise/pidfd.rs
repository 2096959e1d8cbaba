//! A process held so that its number cannot become another's.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

/// A process, ours or not.
#[derive(Debug)]
pub(super) struct Process {
    fd: OwnedFd,
}

impl Process {
    /// Takes hold of one that we may signal.
    pub(super) fn open(pid: i32) -> io::Result<Self> {
        let process = Self::hold(pid)?;
        process.signal(None)?;
        Ok(process)
    }

    /// Takes hold of any.
    #[allow(unsafe_code)]
    pub(super) fn hold(pid: i32) -> io::Result<Self> {
        // SAFETY: the call takes two numbers and returns a new descriptor or an error.
        let raw = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        let raw = Errno::result(raw)?;
        let raw = i32::try_from(raw).map_err(io::Error::other)?;
        // SAFETY: the kernel has just given us this descriptor, and nobody else knows it.
        let fd = unsafe { OwnedFd::from_raw_fd(raw) };
        Ok(Self { fd })
    }

    /// Sends a signal, or with none only asks whether one could be sent.
    #[allow(unsafe_code)]
    pub(super) fn signal(&self, signal: impl Into<Option<Signal>>) -> nix::Result<()> {
        let number = signal.into().map_or(0, |s| s as i32);
        let none = std::ptr::null::<libc::siginfo_t>();
        // SAFETY: the descriptor is ours and open; a null siginfo asks for the plain one.
        let done = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.fd.as_raw_fd(),
                number,
                none,
                0,
            )
        };
        Errno::result(done).map(drop)
    }

    /// Becomes readable when it ends.
    pub(super) fn bell(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Whether it has ended, reaped or not.
    pub(super) fn has_ended(&self) -> bool {
        let mut fds = [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)];
        matches!(poll(&mut fds, PollTimeout::ZERO), Ok(n) if n > 0)
    }
}
