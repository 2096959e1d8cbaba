//! Attention while something long is measured: a line per phase, and an ear for Ctrl-C.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use gpuc_core::exit::Exit;

#[derive(Debug, Default)]
struct State {
    /// The signal that asks us to end; 0 while none has.
    stop: AtomicU8,
    /// Whether something must be cleaned up before we may end.
    holding: AtomicBool,
}

/// What a measurement has to look to.
#[derive(Debug)]
pub(super) struct Attention {
    state: Arc<State>,
    terminal: bool,
}

impl Attention {
    /// Begins to listen. Called before any thread is started, so that none is hit by a signal.
    pub(super) fn begin() -> Self {
        let state = Arc::new(State::default());
        #[cfg(target_os = "linux")]
        listen(Arc::clone(&state));
        Self {
            state,
            terminal: std::io::stderr().is_terminal(),
        }
    }

    /// Says what is going on, to people who watch.
    pub(super) fn say(&self, what: &str) {
        if self.terminal {
            let _ = writeln!(std::io::stderr(), "profile: {what}");
        }
    }

    /// Does what leaves something behind when it is cut off: `work` must look at
    /// [`Attention::is_over`] and clean up by itself.
    pub(super) fn hold<T>(&self, work: impl FnOnce() -> T) -> T {
        self.state.holding.store(true, Ordering::SeqCst);
        let done = work();
        self.state.holding.store(false, Ordering::SeqCst);
        done
    }

    /// Whether we were asked to end.
    pub(super) fn is_over(&self) -> bool {
        self.state.stop.load(Ordering::SeqCst) != 0
    }

    /// The status to end with, when we were asked to.
    pub(super) fn exit(&self) -> Option<Exit> {
        match self.state.stop.load(Ordering::SeqCst) {
            0 => None,
            2 => Some(Exit::Interrupted),
            n => Some(Exit::Signalled(n)),
        }
    }
}

#[cfg(target_os = "linux")]
fn listen(state: Arc<State>) {
    use gpuc_rig::supervise::Signals;
    use std::time::{Duration, Instant};

    /// Cleaning up is killing a process and removing a file.
    const CLEANING: Duration = Duration::from_secs(10);

    // Without it Ctrl-C ends us all the same, only less tidily.
    let Ok(signals) = Signals::take_over() else {
        return;
    };
    let _ = std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            while let Ok(wake) = signals.wait(&[], None) {
                if wake.suspend {
                    Signals::pause();
                }
                let Some(stop) = wake.stop else {
                    continue;
                };
                state.stop.store(stop.number(), Ordering::SeqCst);
                let ends = Instant::now() + CLEANING;
                while state.holding.load(Ordering::SeqCst) && Instant::now() < ends {
                    std::thread::sleep(Duration::from_millis(5));
                }
                let exit = match stop.number() {
                    2 => Exit::Interrupted,
                    n => Exit::Signalled(n),
                };
                std::process::exit(exit.status().into());
            }
        });
}
