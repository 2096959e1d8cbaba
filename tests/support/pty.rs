//! Running a command on a terminal of its own.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use nix::pty::{Winsize, openpty};

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
