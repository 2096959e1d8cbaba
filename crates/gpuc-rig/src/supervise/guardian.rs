//! The process that holds a job's whole tree, and ends it when the watchdog is gone.
//!
//! It is the job's parent and the one to whom orphans come, so that nothing below it can get away.
//! It talks through a socket: what it says is how the job fares, and when the other end closes,
//! for whatever reason, it kills all that is left.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, getpid, setpgid};

use super::birth;
use super::cgroup::Cgroup;
use super::console::Keepsake;
use super::job::Ended;
use super::tree::Tree;

/// How long it tries to end what a killed watchdog leaves: some processes die late, those of
/// somebody else not at all.
const LAST: Duration = Duration::from_mins(1);

/// What the guardian says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// The job runs, under this number.
    Started(i32),
    /// It does not, for this reason of the system's.
    NotStarted(i32),
    /// The job itself has ended.
    Ended(Ended),
    /// The job itself was paused.
    Paused,
    /// Nothing is left.
    Empty,
}

impl News {
    fn bytes(self) -> [u8; 8] {
        let (kind, value) = match self {
            Self::Started(pid) => (1, pid),
            Self::NotStarted(errno) => (2, errno),
            Self::Ended(Ended::Exit(n)) => (3, i32::from(n)),
            Self::Ended(Ended::Signal(n)) => (4, i32::from(n)),
            Self::Paused => (5, 0),
            Self::Empty => (6, 0),
        };
        let [a, b, c, d] = i32::to_ne_bytes(value);
        [kind, 0, 0, 0, a, b, c, d]
    }

    fn of(bytes: [u8; 8]) -> Option<Self> {
        let [kind, _, _, _, a, b, c, d] = bytes;
        let value = i32::from_ne_bytes([a, b, c, d]);
        let narrow = u8::try_from(value).unwrap_or(u8::MAX);
        Some(match kind {
            1 => Self::Started(value),
            2 => Self::NotStarted(value),
            3 => Self::Ended(Ended::Exit(narrow)),
            4 => Self::Ended(Ended::Signal(narrow)),
            5 => Self::Paused,
            6 => Self::Empty,
            _ => return None,
        })
    }
}

/// The guardian as the watchdog sees it.
#[derive(Debug)]
pub(super) struct Guardian {
    pub(super) pid: Pid,
    socket: UnixStream,
    gone: bool,
}

impl Guardian {
    /// Starts it, and it the command.
    ///
    /// Best called before there are other threads: the new process has none of them.
    #[allow(unsafe_code)]
    pub(super) fn start(
        command: Command,
        cgroup: Option<&Cgroup>,
        keepsake: Option<&Keepsake>,
    ) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        // Should the guardian itself be killed, its tree comes to us.
        prctl::set_child_subreaper(true)?;
        // SAFETY: the child touches nothing that another thread could have left locked but the
        // allocator, which the C library keeps usable across a fork; it never returns from here.
        match unsafe { fork() }? {
            ForkResult::Parent { child } => Ok(Self {
                pid: child,
                socket: ours,
                gone: false,
            }),
            ForkResult::Child => {
                drop(ours);
                let held = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    hold(command, cgroup, &theirs)
                }));
                if let (Ok(Ok(Farewell::Gone)), Some(keepsake)) = (&held, keepsake) {
                    keepsake.restore();
                }
                if !matches!(held, Ok(Ok(Farewell::Released))) {
                    end_all(cgroup);
                }
                let status = i32::from(!matches!(held, Ok(Ok(_))));
                // SAFETY: it only ends this process, without running what the parent registered.
                unsafe { libc::_exit(status) }
            }
        }
    }

    /// Waits for news, and gives none when the guardian is gone.
    pub(super) fn wait(&mut self) -> Option<News> {
        let mut bytes = [0_u8; 8];
        if self.socket.read_exact(&mut bytes).is_ok() {
            return News::of(bytes);
        }
        self.gone = true;
        None
    }

    /// The next of the news that are there.
    pub(super) fn news(&mut self) -> Option<News> {
        let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        // Each is written whole, so what is readable at all is readable to its end.
        let ready = !self.gone && matches!(poll(&mut fds, PollTimeout::ZERO), Ok(n) if n > 0);
        if ready { self.wait() } else { None }
    }

    /// Whether it has ended without being told to.
    pub(super) fn is_gone(&self) -> bool {
        self.gone
    }

    /// Becomes readable when there are news.
    pub(super) fn bell(&self) -> Option<BorrowedFd<'_>> {
        (!self.gone).then(|| self.socket.as_fd())
    }

    /// Lets it go and leaves be what is still below it.
    pub(super) fn release(self) {
        let _ = (&self.socket).write_all(&[RELEASE]);
        self.dismiss(true);
    }

    /// Lets it go, so that it kills all below it, and waits for that as long as this.
    pub(super) fn dismiss_within(self, most: Duration) {
        self.hang_up();
        let ends = Instant::now() + most;
        while waitpid(self.pid, Some(WaitPidFlag::WNOHANG)) == Ok(WaitStatus::StillAlive)
            && Instant::now() < ends
        {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Not only closed: guardians started later hold a copy of our end.
    fn hang_up(&self) {
        // Should it be gone already, there is nobody to tell, and nothing to shut.
        let _ = (&self.socket).write_all(&[DISMISS]);
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    /// Lets it go. With `wait` it is waited for: right when its tree is known to be gone.
    pub(super) fn dismiss(self, wait: bool) {
        self.hang_up();
        while wait && waitpid(self.pid, None) == Err(Errno::EINTR) {}
    }
}

/// What is said to a guardian at last: that what is left may go on, or may not.
const RELEASE: u8 = b'r';
const DISMISS: u8 = b'd';

/// How the other end took its leave.
enum Farewell {
    /// Nothing may be left.
    Dismissed,
    /// It had no time to say anything: nothing may be left either.
    Gone,
    /// What is left may go on.
    Released,
}

impl Farewell {
    /// What stands in a socket that has become readable.
    fn read(mut socket: &UnixStream) -> Self {
        let mut word = [0];
        match (socket.read(&mut word), word) {
            (Ok(1), [RELEASE]) => Self::Released,
            (Ok(1), _) => Self::Dismissed,
            _ => Self::Gone,
        }
    }
}

/// Runs the job and tells of it until the other end closes.
fn hold(
    mut command: Command,
    cgroup: Option<&Cgroup>,
    socket: &UnixStream,
) -> io::Result<Farewell> {
    // Apart from the watchdog's group, so that what a terminal sends to that is not for us.
    setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
    prctl::set_child_subreaper(true)?;
    let _ = prctl::set_name(c"gpuc-guardian");
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None)?;
    let mut children = SigSet::empty();
    children.add(Signal::SIGCHLD);
    let signals = SignalFd::with_flags(&children, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
    let tell = |news: News| (&*socket).write_all(&news.bytes());
    let started = birth::start(&mut command, cgroup);
    // With it go the streams that are the job's alone.
    drop(command);
    let job = match started {
        Ok(job) => job,
        Err(e) => {
            tell(News::NotStarted(e.raw_os_error().unwrap_or(libc::ENOEXEC)))?;
            return Ok(Farewell::Dismissed);
        }
    };
    tell(News::Started(job.as_raw()))?;
    let_go_of_standard_streams();
    loop {
        let mut fds = [
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(socket.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
        let [_, other] = &fds;
        // What can be read is the end, one way or the other.
        if other.any().unwrap_or(true) {
            return Ok(Farewell::read(socket));
        }
        while signals.read_signal()?.is_some() {}
        if !reap(job, tell)? {
            tell(News::Empty)?;
            // Whoever listens will close its end now.
            let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
            while poll(&mut fds, PollTimeout::NONE) == Err(Errno::EINTR) {}
            return Ok(Farewell::read(socket));
        }
    }
}

/// Takes in whoever has ended. Without the job itself nobody else would. Whether any is left.
fn reap(job: Pid, tell: impl Fn(News) -> io::Result<()>) -> io::Result<bool> {
    loop {
        match next_change() {
            Ok(None) => return Ok(true),
            Ok(Some((pid, status))) if pid == job.as_raw() => tell(change(status))?,
            Ok(Some(_)) | Err(Errno::EINTR) => {}
            Err(_) => return Ok(false),
        }
    }
}

/// The next child that ended or was paused, and its raw status: one that a real-time signal ended
/// has no other.
#[allow(unsafe_code)]
fn next_change() -> nix::Result<Option<(i32, i32)>> {
    let mut status = 0;
    // SAFETY: the call writes one number into a variable of ours.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG | libc::WUNTRACED) };
    Ok(match Errno::result(pid)? {
        0 => None,
        pid => Some((pid, status)),
    })
}

fn change(status: i32) -> News {
    let narrow = |n: i32| u8::try_from(n).unwrap_or(u8::MAX);
    if libc::WIFSTOPPED(status) {
        News::Paused
    } else if libc::WIFSIGNALED(status) {
        News::Ended(Ended::Signal(narrow(libc::WTERMSIG(status))))
    } else {
        News::Ended(Ended::Exit(narrow(libc::WEXITSTATUS(status))))
    }
}

/// Kills until nothing is left.
fn end_all(cgroup: Option<&Cgroup>) {
    let tree = Tree::below(getpid());
    let ends = Instant::now() + LAST;
    let mut pause = Duration::from_millis(1);
    while matches!(reap(Pid::from_raw(0), |_| Ok(())), Ok(true)) && Instant::now() < ends {
        if let Some(cgroup) = cgroup {
            cgroup.kill();
        }
        tree.kill();
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
    if let Some(cgroup) = cgroup {
        cgroup.remove();
    }
}

/// Whoever reads what the job prints is to see its end when the job ends, not when we do.
#[allow(unsafe_code)]
fn let_go_of_standard_streams() {
    use std::os::fd::AsRawFd as _;
    let Ok(nowhere) = File::options().read(true).write(true).open("/dev/null") else {
        return;
    };
    for stream in 0..3 {
        // SAFETY: this process prints nothing; the call replaces a descriptor that it still has.
        unsafe { libc::dup2(nowhere.as_raw_fd(), stream) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_are_read_as_they_were_told() {
        for news in [
            News::Started(4242),
            News::NotStarted(2),
            News::Ended(Ended::Exit(255)),
            News::Ended(Ended::Signal(9)),
            News::Paused,
            News::Empty,
        ] {
            assert_eq!(News::of(news.bytes()), Some(news));
        }
        assert_eq!(News::of([0; 8]), None);
    }
}
