//! How a job's process comes to be: in its control group from its first moment on, where the kernel
//! can do that.
//!
//! To move a process that runs, the kernel has to wait until nobody can be in the middle of
//! forking, which takes it some 10 ms; to be born there takes none.

use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;

use nix::errno::Errno;
use nix::libc;
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork};

use super::cgroup::Cgroup;

/// Starts the command as a child of this process, which must have a single thread.
#[allow(unsafe_code)]
pub(super) fn start(command: &mut Command, cgroup: Option<&Cgroup>) -> io::Result<Pid> {
    // Closed by becoming the command; before that, what is said is why it could not.
    let (mut hear, mut say) = io::pipe()?;
    let (fork, is_inside) = match cgroup.map(fork_into) {
        Some(Ok(fork)) => (fork, true),
        // SAFETY: this process has one thread, so nothing can have been left locked.
        _ => (unsafe { fork() }?, false),
    };
    match fork {
        ForkResult::Parent { child } => {
            drop(say);
            let mut errno = [0; 4];
            if hear.read_exact(&mut errno).is_err() {
                return Ok(child);
            }
            while waitpid(child, None) == Err(Errno::EINTR) {}
            Err(io::Error::from_raw_os_error(i32::from_ne_bytes(errno)))
        }
        ForkResult::Child => {
            if let Some(cgroup) = cgroup.filter(|_| !is_inside) {
                cgroup.enter();
            }
            // It must not unwind into what its parent was doing.
            let failed = catch_unwind(AssertUnwindSafe(|| command.exec()));
            let errno = failed.ok().and_then(|e| e.raw_os_error());
            // Nobody who could be told is left, should this fail.
            let _ = say.write_all(&errno.unwrap_or(libc::ENOEXEC).to_ne_bytes());
            // SAFETY: it only ends this process, without running what the parent registered.
            unsafe { libc::_exit(127) }
        }
    }
}

/// What `clone3` is told, in the order and with the names of the kernel's own record.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// The child begins in the control group that is named; the C library's name for it is cut short.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// A fork of this process, which must have a single thread, into a control group. Kernels before
/// 5.7 cannot, and what confines a container may forbid it.
#[allow(unsafe_code)]
fn fork_into(cgroup: &Cgroup) -> nix::Result<ForkResult> {
    let folder = cgroup.open().map_err(|_| Errno::EBADF)?;
    let args = CloneArgs {
        flags: CLONE_INTO_CGROUP,
        exit_signal: u64::from(libc::SIGCHLD.unsigned_abs()),
        cgroup: u64::from(folder.as_raw_fd().unsigned_abs()),
        ..CloneArgs::default()
    };
    // SAFETY: without CLONE_VM the child has memory of its own, and without a stack of its own goes
    // on where the parent is, as after a fork; nothing is locked, as there is one thread. The C
    // library does not hear of it, so its copy of the thread's number is the parent's: the child
    // makes no use of that before it becomes another program or ends.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) };
    Ok(match Errno::result(pid)? {
        0 => ForkResult::Child,
        pid => ForkResult::Parent {
            child: Pid::from_raw(i32::try_from(pid).map_err(|_| Errno::ERANGE)?),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervise::{Ended, Job, Signals, Stop, Streams};
    use nix::sys::wait::WaitStatus;
    use std::path::Path;
    use std::time::Duration;

    #[test]
    #[allow(unsafe_code)]
    fn a_process_is_born_in_its_group() {
        let Ok(cgroup) = Cgroup::make(Path::new("/"), None) else {
            println!("skipped: no control group can be made here");
            return;
        };
        match fork_into(&cgroup) {
            // SAFETY: the one thing that this child does is to end.
            Ok(ForkResult::Child) => unsafe { libc::_exit(7) },
            Ok(ForkResult::Parent { child }) => {
                assert_eq!(waitpid(child, None), Ok(WaitStatus::Exited(child, 7)));
            }
            Err(why) => println!("skipped: this kernel does not do it ({why})"),
        }
        cgroup.remove();
    }

    #[test]
    fn one_that_cannot_be_born_there_moves_there() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["cgroup.kill", "cgroup.procs"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        // A folder like any other: the kernel refuses to have anything born in it.
        let cgroup = Cgroup::adopt(dir.path().to_owned(), None).unwrap();
        assert!(fork_into(&cgroup).is_err());
        let signals = Signals::take_over().unwrap();
        let args = ["-c".into(), "exit 3".into()];
        let (program, streams) = ("sh".as_ref(), Streams::default());
        let mut job = Job::spawn(&signals, program, &args, streams, Some(cgroup), None).unwrap();
        while !job.has_ended() {
            std::thread::yield_now();
        }
        let entered = std::fs::read_to_string(dir.path().join("cgroup.procs")).unwrap();
        assert_eq!(entered, "0");
        let (_, ended) = job.stop(Stop::Terminate, None, Duration::ZERO, &mut ());
        assert_eq!(ended, Some(Ended::Exit(3)));
    }
}
