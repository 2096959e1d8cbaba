//! The terminal that a dashboard is drawn on: never waited for, and given back as it was.
//!
//! It is opened anew, so that what is set on it (that a write must not wait) does not reach those who
//! share the terminal with us.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use gpuc_core::error::{Code, Coded};
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::termios::{
    self, FlushArg, InputFlags, LocalFlags, SetArg, SpecialCharacterIndices, Termios,
};
use nix::unistd::{Pid, dup2_stderr, dup2_stdout, getpgrp, tcgetpgrp};

use super::signals::timeout;

/// What makes a terminal show a screen of its own without a cursor.
const ENTER: &[u8] = b"\x1b[?1049h\x1b[?25l";
/// What ends a sequence that was cut, and brings back what the terminal showed before.
const LEAVE: &[u8] = b"\x18\x1b[0m\x1b[?2026l\x1b[?25h\x1b[?1049l";

/// Why there is no terminal to draw on.
#[derive(Debug, thiserror::Error)]
pub enum ConsoleError {
    /// Neither stream leads to one.
    #[error("--tui needs a terminal, and neither standard error nor standard output is one")]
    NoTerminal,
    /// It is somebody else's at the moment.
    #[error("--tui needs the terminal, and this runs in its background")]
    Background,
    /// It says that it can be steered by nothing.
    #[error("--tui needs a terminal that can be drawn on, and TERM is {0:?}")]
    Dumb(String),
    /// It cannot be used.
    #[error("the terminal cannot be used")]
    Failed(#[from] io::Error),
}

impl Coded for ConsoleError {
    fn code(&self) -> Code {
        Code::InputUsage
    }
    fn hint(&self) -> Option<String> {
        Some(
            match self {
                Self::NoTerminal => "leave --tui away, and read --log or --events instead",
                Self::Background => "start it without &, or bring it to the foreground",
                Self::Dumb(_) => "set TERM to what the terminal is, as xterm-256color",
                Self::Failed(_) => "leave --tui away, or start it on another terminal",
            }
            .to_owned(),
        )
    }
}

/// A terminal.
#[derive(Debug)]
pub struct Console {
    tty: File,
    original: Termios,
    drawing: bool,
    /// What is still to be written.
    pending: Vec<u8>,
}

impl Console {
    /// The terminal of standard error, or else that of standard output; nothing about it changes.
    pub fn open() -> Result<Self, ConsoleError> {
        let number = if io::stderr().is_terminal() {
            2
        } else if io::stdout().is_terminal() {
            1
        } else {
            return Err(ConsoleError::NoTerminal);
        };
        let term = std::env::var("TERM").unwrap_or_default();
        if matches!(term.as_str(), "" | "dumb") {
            return Err(ConsoleError::Dumb(term));
        }
        let open = |path: PathBuf| {
            File::options()
                .read(true)
                .write(true)
                .custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK)
                .open(path)
        };
        // Another user's terminal, as after su, can be opened by its general name alone.
        let tty =
            open(format!("/proc/self/fd/{number}").into()).or_else(|_| open("/dev/tty".into()))?;
        let console = Self::on(tty)?;
        if console.is_ours() {
            Ok(console)
        } else {
            Err(ConsoleError::Background)
        }
    }

    fn on(tty: File) -> io::Result<Self> {
        Ok(Self {
            original: termios::tcgetattr(&tty)?,
            tty,
            drawing: false,
            pending: Vec::new(),
        })
    }

    /// What it takes to give the screen back when we cannot any more.
    pub fn keepsake(&self) -> io::Result<Keepsake> {
        Ok(Keepsake {
            tty: self.tty.try_clone()?,
            original: self.original.clone(),
            group: getpgrp(),
        })
    }

    /// Whether we are in its foreground. Where it is nobody's terminal, there is no background.
    pub fn is_ours(&self) -> bool {
        tcgetpgrp(&self.tty).map_or(true, |front| front == getpgrp())
    }

    /// Whether it shows our screen.
    pub fn is_drawing(&self) -> bool {
        self.drawing
    }

    /// Takes the screen. Keys come at once and unseen; Ctrl-C and Ctrl-Z stay signals.
    pub fn enter(&mut self) -> io::Result<()> {
        let mut raw = self.original.clone();
        raw.input_flags &= !(InputFlags::IXON
            | InputFlags::ICRNL
            | InputFlags::INLCR
            | InputFlags::IGNCR
            | InputFlags::ISTRIP);
        raw.local_flags &=
            !(LocalFlags::ECHO | LocalFlags::ECHONL | LocalFlags::ICANON | LocalFlags::IEXTEN);
        if tcgetpgrp(&self.tty).is_err() {
            // No signal would come of it, and the key would be lost.
            raw.local_flags &= !LocalFlags::ISIG;
        }
        for (at, value) in [
            (SpecialCharacterIndices::VMIN, 1),
            (SpecialCharacterIndices::VTIME, 0),
        ] {
            if let Some(slot) = raw.control_chars.get_mut(at as usize) {
                *slot = value;
            }
        }
        termios::tcsetattr(&self.tty, SetArg::TCSANOW, &raw)?;
        self.drawing = true;
        self.pending.extend(ENTER);
        Ok(())
    }

    /// Gives the screen back as it was, with `words` below what it showed, and waits no longer than
    /// this for a terminal that does not take them. Whether it took them.
    pub fn leave(&mut self, words: &[u8], most: Duration) -> bool {
        if !std::mem::take(&mut self.drawing) {
            return true;
        }
        if !self.pending.is_empty() {
            // It is behind: what it has not shown yet would only be in the way.
            let _ = termios::tcflush(&self.tty, FlushArg::TCOFLUSH);
            self.pending.clear();
        }
        self.pending.extend(LEAVE);
        // A line end begins a new line by itself as long as the terminal is as it was.
        let _ = termios::tcsetattr(&self.tty, SetArg::TCSANOW, &self.original);
        self.pending.extend(words);
        let ends = Instant::now() + most;
        while let Ok(false) = self.flush() {
            if Instant::now() >= ends {
                return false;
            }
            self.wait(ends.min(Instant::now() + Duration::from_millis(50)));
        }
        self.pending.is_empty()
    }

    /// Columns and rows; the usual ones where the terminal does not say.
    pub fn size(&self) -> (u16, u16) {
        match terminal_size::terminal_size_of(&self.tty) {
            Some((width, height)) if width.0 > 0 && height.0 > 0 => (width.0, height.0),
            _ => (80, 24),
        }
    }

    /// Whether everything that was given to it is written: if not, nothing more is to be drawn.
    pub fn flush(&mut self) -> io::Result<bool> {
        while !self.pending.is_empty() {
            match self.tty.write(&self.pending) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    self.pending.drain(..n);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(true)
    }

    /// Adds what is to be drawn.
    pub fn draw(&mut self, bytes: &[u8]) {
        self.pending.extend(bytes);
    }

    /// What was typed since; an error when the terminal is gone.
    pub fn typed(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = [0; 256];
        match self.tty.read(&mut bytes) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => Ok(bytes.get(..n).unwrap_or_default().to_vec()),
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) =>
            {
                Ok(Vec::new())
            }
            Err(e) => Err(e),
        }
    }

    /// Waits until it takes more of what is to be written, or until a moment.
    fn wait(&self, until: Instant) {
        wait_for(self.tty.as_fd(), PollFlags::POLLOUT, &[], until);
    }

    /// Waits for a key, for another to become readable, or until a moment.
    pub fn listen(&self, others: &[BorrowedFd<'_>], until: Instant) {
        let mut wanted = PollFlags::POLLIN;
        if !self.pending.is_empty() {
            wanted |= PollFlags::POLLOUT;
        }
        wait_for(self.tty.as_fd(), wanted, others, until);
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        // The way out of a panic.
        self.leave(b"", Duration::from_millis(200));
    }
}

/// A pipe with room for what a job prints in a burst, so that it is not held up while the other end
/// is busy.
pub fn roomy_pipe() -> io::Result<(io::PipeReader, io::PipeWriter)> {
    let (reader, writer) = io::pipe()?;
    // More than the usual is a favour.
    let _ = fcntl(&writer, FcntlArg::F_SETPIPE_SZ(1 << 20));
    Ok((reader, writer))
}

fn wait_for(tty: BorrowedFd<'_>, wanted: PollFlags, others: &[BorrowedFd<'_>], until: Instant) {
    let mut fds = vec![PollFd::new(tty, wanted)];
    fds.extend(others.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)));
    // Whatever ends it, the caller looks for itself.
    let _ = poll(&mut fds, timeout(Some(until)));
}

/// A terminal as it was, in somebody else's hands.
#[derive(Debug)]
pub struct Keepsake {
    tty: File,
    original: Termios,
    /// Whose it was.
    group: Pid,
}

impl Keepsake {
    /// Gives the screen back in place of the one who drew on it.
    pub fn restore(&self) {
        // What a shell has set meanwhile, for its next line, is right.
        if tcgetpgrp(&self.tty).map_or(true, |front| front == self.group) {
            let _ = termios::tcsetattr(&self.tty, SetArg::TCSANOW, &self.original);
        }
        // It does not wait; a terminal that takes nothing is left as it is.
        let _ = (&self.tty).write(LEAVE);
    }
}

/// Our own standard output and error where they are a terminal, led elsewhere until this is dropped.
#[derive(Debug)]
pub struct Detour {
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
}

impl Detour {
    /// Leads them into `to`.
    pub fn take(to: impl AsFd) -> io::Result<Self> {
        let mut out = Self {
            stdout: None,
            stderr: None,
        };
        if io::stdout().is_terminal() {
            io::stdout().flush()?;
            out.stdout = Some(io::stdout().as_fd().try_clone_to_owned()?);
            dup2_stdout(&to)?;
        }
        if io::stderr().is_terminal() {
            out.stderr = Some(io::stderr().as_fd().try_clone_to_owned()?);
            dup2_stderr(&to)?;
        }
        Ok(out)
    }
}

impl Drop for Detour {
    fn drop(&mut self) {
        if let Some(stdout) = &self.stdout {
            let _ = io::stdout().flush();
            let _ = dup2_stdout(stdout);
        }
        if let Some(stderr) = &self.stderr {
            let _ = dup2_stderr(stderr);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::OFlag;
    use nix::pty::openpty;

    /// A terminal that nobody reads, and our end of it.
    fn unread() -> (File, Console) {
        let pty = openpty(None, None).unwrap();
        fcntl(&pty.slave, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        (pty.master.into(), Console::on(pty.slave.into()).unwrap())
    }

    fn is_raw(tty: &File) -> bool {
        let flags = termios::tcgetattr(tty).unwrap().local_flags;
        !flags.intersects(LocalFlags::ECHO | LocalFlags::ICANON)
    }

    #[test]
    fn a_terminal_that_takes_nothing_is_not_waited_for() {
        let (master, mut console) = unread();
        console.enter().unwrap();
        assert!(is_raw(&master));
        while console.flush().unwrap() {
            console.draw(&[b'x'; 4096]);
        }
        // What is behind is dropped, so that there is room for what puts it right.
        assert!(console.leave(b"words", Duration::from_secs(100)));
        assert!(!is_raw(&master));
        let mut shown = Vec::new();
        while !shown.ends_with(b"\x1b[?1049lwords") {
            let mut part = [0; 4096];
            let n = (&master).read(&mut part).unwrap();
            shown.extend(&part[..n]);
        }
        console.enter().unwrap();
        assert!(!console.leave(&b"x".repeat(1 << 20), Duration::ZERO));
    }

    #[test]
    fn a_terminal_is_put_right_in_a_panic_and_by_a_keepsake() {
        let (master, mut console) = unread();
        console.enter().unwrap();
        let keepsake = console.keepsake().unwrap();
        assert!(is_raw(&master));
        keepsake.restore();
        assert!(!is_raw(&master));
        console.leave(b"", Duration::ZERO);
        console.enter().unwrap();
        let fell = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _console = console;
            panic!("on purpose");
        }));
        assert!(fell.is_err() && !is_raw(&master));
    }

    #[test]
    fn what_is_typed_comes_as_it_is() {
        let (mut master, mut console) = unread();
        console.enter().unwrap();
        master.write_all(b"q\x1b[A\r").unwrap();
        console.listen(&[], Instant::now() + Duration::from_secs(100));
        assert_eq!(console.typed().unwrap(), b"q\x1b[A\r");
        assert_eq!(console.typed().unwrap(), b"");
        assert_eq!(console.size(), (80, 24));
    }
}
