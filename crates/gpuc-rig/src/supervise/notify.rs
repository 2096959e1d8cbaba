//! Talking to the service manager that started us, as systemd's `sd_notify` does.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// What the manager tells us through, and what is none of a job's business.
pub(super) const VARIABLES: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// The manager's socket, where there is one.
#[derive(Debug)]
pub struct Notify {
    socket: UnixDatagram,
    every: Option<Duration>,
}

impl Notify {
    /// What the environment names; nothing where nobody listens.
    pub fn from_env() -> Option<Self> {
        let name = std::env::var_os("NOTIFY_SOCKET")?;
        let number = |key| std::env::var(key).ok()?.parse::<u64>().ok();
        let ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let micros = number("WATCHDOG_USEC").filter(|n| ours && *n > 0);
        // Twice as often as is asked for, as systemd's manual advises.
        let every = micros.map(|n| Duration::from_micros(n) / 2);
        let socket = connect(&name).ok()?;
        Some(Self { socket, every })
    }

    /// How often the manager wants to hear from us.
    pub fn every(&self) -> Option<Duration> {
        self.every
    }

    /// Tells it something, such as `READY=1`. A manager that is gone is no reason to stop.
    pub fn tell(&self, text: &str) {
        let _ = self.socket.send(text.as_bytes());
    }
}

fn connect(name: &OsStr) -> io::Result<UnixDatagram> {
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(abstracted) => SocketAddr::from_abstract_name(abstracted)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    // A manager that does not read must not hold up a watch.
    socket.set_nonblocking(true)?;
    socket.connect_addr(&address)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hear(address: &SocketAddr, name: &OsStr) -> String {
        let manager = UnixDatagram::bind_addr(address).unwrap();
        let notify = Notify {
            socket: connect(name).unwrap(),
            every: None,
        };
        notify.tell("READY=1");
        let mut bytes = [0; 64];
        let n = manager.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..n]).into_owned()
    }

    #[test]
    fn both_kinds_of_socket_are_spoken_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let address = SocketAddr::from_pathname(&path).unwrap();
        assert_eq!(hear(&address, path.as_os_str()), "READY=1");
        let name = format!("gpuc-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        assert_eq!(hear(&address, format!("@{name}").as_ref()), "READY=1");
        assert!(connect("/nonexistent/socket".as_ref()).is_err());
    }
}
