//! Reading what a job prints, and what the watchdog says, whatever becomes of the terminal.

use std::fs::File;
use std::io::{self, PipeReader, Read as _, Write as _};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use gpuc_show::dashboard::Scrollback;
use gpuc_show::text::{Terminal, clean};

/// What was said while the dashboard was there.
pub(super) fn said(words: &Mutex<Scrollback>, terminal: &Terminal) -> String {
    let (_, words) = held(words).kept();
    let mut out = String::new();
    for line in String::from_utf8_lossy(&words).lines() {
        out += &clean(line, terminal.unicode);
        out.push('\n');
    }
    out
}

/// Somebody who reads a pipe to its end, whatever else happens.
pub(super) struct Drain {
    pub(super) text: Arc<Mutex<Scrollback>>,
    /// Tells of the end, and of a file that could not be written.
    pub(super) done: Receiver<Option<(String, io::Error)>>,
}

impl Drain {
    pub(super) fn start(
        name: &str,
        mut from: PipeReader,
        file: Option<(String, File)>,
    ) -> io::Result<Self> {
        let text = Arc::new(Mutex::new(Scrollback::default()));
        let (end, done) = mpsc::channel();
        let shared = Arc::clone(&text);
        let read = move || {
            let mut file = file;
            let mut lost = None;
            let mut bytes = vec![0; 64 << 10];
            loop {
                let n = match from.read(&mut bytes) {
                    Ok(n @ 1..) => n,
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                    _ => break,
                };
                let new = bytes.get(..n).unwrap_or_default();
                if let Some((name, to)) = &mut file
                    && let Err(e) = to.write_all(new)
                {
                    lost = Some((std::mem::take(name), e));
                    file = None;
                }
                held(&shared).push(new);
            }
            let _ = end.send(lost);
        };
        thread::Builder::new().name(name.to_owned()).spawn(read)?;
        Ok(Self { text, done })
    }
}

pub(super) fn held(text: &Mutex<Scrollback>) -> MutexGuard<'_, Scrollback> {
    text.lock().unwrap_or_else(PoisonError::into_inner)
}
