//! What the GPUs are doing now, by NVML: each asked in a thread of its own, so that one that hangs
//! hides no other.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nvml_wrapper::Nvml;

use super::live::{Senses, fill};
use super::nvml::{Found, Slot, TOOL, why};
use super::probe::{Live, ProbeError, Watched};

/// Enough for the calls into a driver, and not so much that many threads are felt where memory is
/// locked.
const STACK: usize = 256 << 10;

const NO_THREAD: &str = "no thread can be started to ask it";

/// What a thread has to say.
enum Answer {
    /// This GPU's readings are in their place.
    Card(usize),
    /// How many GPUs there are.
    Count(Result<u32, String>),
}

/// A thread that asks one thing over and over.
#[derive(Debug)]
struct Asker {
    ask: Sender<()>,
    /// Since when an answer is owed.
    asked: Option<Instant>,
}

impl Asker {
    fn start(name: String, mut answer: impl FnMut() -> bool + Send + 'static) -> Option<Self> {
        let (ask, inbox) = mpsc::channel::<()>();
        let work = move || while inbox.recv().is_ok() && answer() {};
        let thread = thread::Builder::new().name(name).stack_size(STACK);
        thread.spawn(work).ok()?;
        Some(Self { ask, asked: None })
    }

    /// Asks, unless an answer is still owed.
    fn ask(&mut self, now: Instant) {
        if self.asked.is_none() && self.ask.send(()).is_ok() {
            self.asked = Some(now);
        }
    }
}

#[derive(Debug)]
struct Card {
    asker: Asker,
    /// The readings of this one GPU.
    found: Found<Live>,
    /// What it has said since that was last handed out.
    fresh: Option<Live>,
}

impl Card {
    /// What the round that was last begun has found out.
    fn so_far(&self) -> Option<Live> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.first().cloned()
    }
}

/// All GPUs that one NVML knows.
#[derive(Debug)]
pub(super) struct Cards {
    nvml: &'static Nvml,
    deadline: Duration,
    watched: Watched,
    counter: Option<Asker>,
    /// How many there are, as far as is known.
    count: Option<usize>,
    /// Why they could not be counted, when they last were.
    uncounted: Option<String>,
    known: Vec<Card>,
    answers: Receiver<Answer>,
    outbox: Sender<Answer>,
}

impl Cards {
    pub(super) fn new(nvml: &'static Nvml, deadline: Duration) -> Self {
        let (outbox, answers) = mpsc::channel();
        let count = outbox.clone();
        let counter = Asker::start("gpu-count".into(), move || {
            let counted = nvml.device_count().map_err(|e| why(&e));
            count.send(Answer::Count(counted)).is_ok()
        });
        let uncounted = counter.is_none().then(|| NO_THREAD.to_owned());
        Self {
            nvml,
            deadline,
            watched: Watched::default(),
            counter,
            count: None,
            uncounted,
            known: Vec::new(),
            answers,
            outbox,
        }
    }

    /// What is to be read of GPUs that are not known yet.
    pub(super) fn watch(&mut self, watched: Watched) {
        self.watched = watched;
    }

    /// Asks all that owe no answer. Once one has answered, the others are waited for until
    /// `patience` is over; before that, as long as a round may last.
    pub(super) fn live(&mut self, patience: Duration) -> Result<Vec<Live>, ProbeError> {
        let begun = Instant::now();
        while let Ok(answer) = self.answers.try_recv() {
            self.take(answer, None);
        }
        if let Some(counter) = &mut self.counter {
            counter.ask(begun);
        }
        for card in &mut self.known {
            card.asker.ask(begun);
        }
        loop {
            let open = |asker: &Asker| asker.asked == Some(begun);
            if !self
                .counter
                .iter()
                .chain(self.known.iter().map(|c| &c.asker))
                .any(open)
            {
                break;
            }
            let some = self.known.iter().any(|c| c.fresh.is_some());
            let lasts = if some {
                patience.min(self.deadline)
            } else {
                self.deadline
            };
            let left = (begun + lasts).saturating_duration_since(Instant::now());
            match self.answers.recv_timeout(left) {
                Ok(answer) => self.take(answer, Some(begun)),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        self.collect(begun)
    }

    fn take(&mut self, answer: Answer, round: Option<Instant>) {
        match answer {
            Answer::Card(index) => {
                if let Some(card) = self.known.get_mut(index) {
                    let asked = card.asker.asked.take();
                    // What was begun too long ago says little about now.
                    if asked.is_some_and(|t| t.elapsed() <= self.deadline) {
                        card.fresh = card.so_far();
                    }
                }
            }
            Answer::Count(counted) => {
                if let Some(counter) = &mut self.counter {
                    counter.asked = None;
                }
                match counted {
                    Ok(count) => {
                        self.uncounted = None;
                        self.count = usize::try_from(count).ok();
                        self.make_room(count, round);
                    }
                    Err(why) => self.uncounted = Some(why),
                }
            }
        }
    }

    /// A thread for each GPU that has none yet.
    fn make_room(&mut self, count: u32, round: Option<Instant>) {
        let so_far = u32::try_from(self.known.len()).unwrap_or(u32::MAX);
        for index in so_far..count {
            let (nvml, deadline) = (self.nvml, self.deadline);
            let found = Found::default();
            let (shared, outbox) = (Arc::clone(&found), self.outbox.clone());
            let mut senses = Senses::new(self.watched);
            let pending = Live::missing(&hung(deadline).to_string());
            let asker = Asker::start(format!("gpu-{index}"), move || {
                let mut place = shared.lock().unwrap_or_else(PoisonError::into_inner);
                place.clear();
                place.push(pending.clone());
                drop(place);
                let slot = Slot::new(&shared, 0);
                match nvml.device_by_index(index) {
                    Ok(device) => fill(&device, &slot, &mut senses),
                    Err(e) => slot.set(|live| *live = Live::missing(&why(&e))),
                }
                outbox.send(Answer::Card(index as usize)).is_ok()
            });
            let Some(mut asker) = asker else { return };
            if let Some(begun) = round {
                asker.ask(begun);
            }
            self.known.push(Card {
                asker,
                found,
                fresh: None,
            });
        }
    }

    fn collect(&mut self, begun: Instant) -> Result<Vec<Live>, ProbeError> {
        if let Some(why) = &self.uncounted {
            return Err(ProbeError::Failed {
                tool: TOOL,
                why: why.clone(),
            });
        }
        let Some(count) = self.count else {
            return Err(hung(self.deadline));
        };
        let deadline = self.deadline;
        let live = |card: &mut Card| {
            let told = card.fresh.take().or_else(|| {
                let asked = card.asker.asked?;
                let pending = asked.elapsed() < deadline;
                // What it said before it fell silent is new still in the round that asked.
                let live = card.so_far().filter(|_| pending || asked == begun)?;
                Some(Live { pending, ..live })
            });
            told.unwrap_or_else(|| Live::missing(&hung(deadline).to_string()))
        };
        let mut all: Vec<Live> = self.known.iter_mut().take(count).map(live).collect();
        // One for which no thread could be had.
        all.resize_with(count, || Live::missing(NO_THREAD));
        Ok(all)
    }
}

fn hung(after: Duration) -> ProbeError {
    ProbeError::Hung { tool: TOOL, after }
}
