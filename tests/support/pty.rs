//! Running a command on a terminal of its own.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use nix::fcntl::OFlag;
use nix::pty::{Winsize, grantpt, openpty, posix_openpt, ptsname_r, unlockpt};

/// What a command left on its terminal, and the status it ended with.
pub struct OnTerminal {
    pub screen: String,
    pub status: i32,
}

/// A terminal of so many columns and rows: our end, and the command's.
pub fn terminal(columns: u16, rows: u16) -> (File, OwnedFd) {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let pty = openpty(&size, None).unwrap();
    (File::from(pty.master), pty.slave)
}

/// Everything that comes out of a terminal until nobody holds its other end.
pub fn drain(mut from: File) -> Vec<u8> {
    let mut all = Vec::new();
    let mut part = [0; 4096];
    // The end of a terminal is an error (EIO), not a zero.
    while let Ok(n @ 1..) = from.read(&mut part) {
        all.extend(part.iter().take(n));
    }
    all
}

/// Starts `command` on a terminal that it is the leader of, as a login does: when our end closes, it
/// is hung up on.
#[allow(unsafe_code)]
pub fn lead(mut command: Command) -> (File, Child) {
    // Nobody who is started meanwhile gets our end as well, which would keep the terminal open.
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let ours = posix_openpt(flags).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let theirs = File::options()
        .read(true)
        .write(true)
        .custom_flags(nix::libc::O_NOCTTY)
        .open(ptsname_r(&ours).unwrap())
        .unwrap();
    let ours = File::from(OwnedFd::from(ours));
    let take_the_terminal = || {
        nix::unistd::setsid()?;
        // SAFETY: the call takes numbers alone.
        let taken = unsafe { nix::libc::ioctl(0, nix::libc::TIOCSCTTY, 0) };
        Ok(nix::errno::Errno::result(taken).map(drop)?)
    };
    command
        .stdin(theirs.try_clone().unwrap())
        .stdout(theirs.try_clone().unwrap())
        .stderr(theirs);
    // SAFETY: between fork and exec the closure makes two system calls and nothing else.
    unsafe { command.pre_exec(take_the_terminal) };
    let child = command.spawn().unwrap();
    (ours, child)
}

/// Reads from a terminal until it has shown this.
pub fn read_until(from: &mut File, shown: &str) {
    let mut all = String::new();
    let mut part = [0; 4096];
    while !all.contains(shown) {
        let n = from.read(&mut part).unwrap_or(0);
        assert!(n > 0, "{shown}: {all}");
        all += &String::from_utf8_lossy(part.get(..n).unwrap_or_default());
    }
}

/// Runs `command` with a terminal for its output and its errors.
pub fn on_terminal(mut command: Command, columns: u16) -> OnTerminal {
    let (ours, theirs) = terminal(columns, 24);
    command
        .stdin(Stdio::null())
        .stdout(theirs.try_clone().unwrap())
        .stderr(theirs);
    let mut child: Child = command.spawn().unwrap();
    // It holds the other end open until it is dropped.
    drop(command);
    let screen = drain(ours);
    let status = child.wait().unwrap().code().unwrap_or(-1);
    let screen = String::from_utf8_lossy(&screen).replace("\r\n", "\n");
    OnTerminal { screen, status }
}
