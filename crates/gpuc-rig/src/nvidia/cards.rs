//! What the GPUs are doing now, by NVML: each asked apart, so that one that hangs hides no other.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nvml_wrapper::Nvml;

use super::askers::{Askers, Question};
use super::live::{Senses, fill};
use super::nvml::{Found, Slot, TOOL, renew, why};
use super::probe::{Live, ProbeError, Watched};

const NO_THREAD: &str = "no thread can be started to ask it";

/// What has been found out.
#[derive(Debug)]
enum Answer {
    /// This GPU's readings are in their place.
    Card(usize),
    /// How many GPUs there are.
    Count(Result<u32, String>),
    /// The driver was begun anew, if that could be done.
    Renewed(Result<(), String>),
}

#[derive(Debug)]
struct Card {
    /// Since when an answer is owed.
    asked: Option<Instant>,
    senses: Arc<Mutex<Senses>>,
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

    /// Asks for it from now on; what it says until then is what is `pending`.
    fn question(
        &mut self,
        index: u32,
        begun: Instant,
        nvml: &'static Nvml,
        pending: &Live,
    ) -> Question<Answer> {
        self.asked = Some(begun);
        let (found, senses) = (Arc::clone(&self.found), Arc::clone(&self.senses));
        *found.lock().unwrap_or_else(PoisonError::into_inner) = vec![pending.clone()];
        Box::new(move || {
            let slot = Slot::new(&found, 0);
            match nvml.device_by_index(index) {
                Ok(device) => {
                    // Nobody else asks this card before the answer is there.
                    let mut senses = senses.lock().unwrap_or_else(PoisonError::into_inner);
                    fill(&device, &slot, &mut senses);
                }
                Err(e) => slot.set(|live| *live = Live::missing(&why(&e))),
            }
            Answer::Card(index as usize)
        })
    }
}

/// All GPUs that one NVML knows.
#[derive(Debug)]
pub(super) struct Cards {
    nvml: &'static Nvml,
    deadline: Duration,
    watched: Watched,
    askers: Askers<Answer>,
    /// Since when their number is owed.
    counting: Option<Instant>,
    /// Whether the driver is being begun anew.
    renewing: bool,
    /// How many there are, as far as is known.
    count: Option<usize>,
    /// Why they could not be counted, when they last were.
    uncounted: Option<String>,
    known: Vec<Card>,
}

impl Cards {
    pub(super) fn new(nvml: &'static Nvml, deadline: Duration) -> Self {
        Self {
            nvml,
            deadline,
            watched: Watched::default(),
            askers: Askers::new(),
            counting: None,
            renewing: false,
            count: None,
            uncounted: None,
            known: Vec::new(),
        }
    }

    /// What is to be read of GPUs that are not known yet.
    pub(super) fn watch(&mut self, watched: Watched) {
        self.watched = watched;
    }

    /// Begins the driver anew, where nobody is still waiting for it.
    pub(super) fn renew(&mut self) {
        if self.is_waited_for(|_| true) || self.renewing {
            return;
        }
        let (nvml, known) = (self.nvml, std::mem::take(&mut self.known));
        let question: Question<Answer> = Box::new(move || {
            // They hold on to what the driver gave them.
            drop(known);
            Answer::Renewed(renew(nvml))
        });
        self.renewing = true;
        self.count = None;
        self.askers.ask([question]);
    }

    /// Whether somebody owes an answer to a question of such a moment.
    fn is_waited_for(&self, of: impl Fn(Instant) -> bool) -> bool {
        let cards = self.known.iter().filter_map(|card| card.asked);
        cards.chain(self.counting).any(of)
    }

    /// Asks all that owe no answer. Once one has answered, the others are waited for until
    /// `patience` is over; before that, as long as a round may last.
    pub(super) fn live(&mut self, patience: Duration) -> Result<Vec<Live>, ProbeError> {
        let begun = Instant::now();
        for answer in self.askers.heard() {
            self.take(answer, None);
        }
        if self.renewing {
            return Err(failed("it is being begun anew"));
        }
        let mut questions: Vec<Question<Answer>> = Vec::new();
        if self.counting.is_none() {
            self.counting = Some(begun);
            let nvml = self.nvml;
            questions.push(Box::new(move || {
                Answer::Count(nvml.device_count().map_err(|e| why(&e)))
            }));
        }
        questions.extend(self.questions(begun));
        if !self.askers.ask(questions) {
            return Err(failed(NO_THREAD));
        }
        while self.is_waited_for(|asked| asked == begun) {
            let some = self.known.iter().any(|c| c.fresh.is_some());
            let lasts = if some {
                patience.min(self.deadline)
            } else {
                self.deadline
            };
            if begun.elapsed() >= lasts {
                break;
            }
            for answer in self.askers.answers(begun + lasts) {
                self.take(answer, Some(begun));
            }
        }
        self.collect(begun)
    }

    /// About each card that owes no answer.
    fn questions(&mut self, begun: Instant) -> Vec<Question<Answer>> {
        let (nvml, pending) = (self.nvml, Live::missing(&hung(self.deadline).to_string()));
        let all = (0..).zip(&mut self.known);
        let idle = all.filter(|(_, card)| card.asked.is_none());
        idle.map(|(index, card)| card.question(index, begun, nvml, &pending))
            .collect()
    }

    fn take(&mut self, answer: Answer, round: Option<Instant>) {
        match answer {
            Answer::Card(index) => {
                if let Some(card) = self.known.get_mut(index) {
                    let asked = card.asked.take();
                    // What was begun too long ago says little about now.
                    if asked.is_some_and(|t| t.elapsed() <= self.deadline) {
                        card.fresh = card.so_far();
                    }
                }
            }
            Answer::Count(counted) => {
                self.counting = None;
                match counted {
                    Ok(count) => {
                        self.uncounted = None;
                        self.count = usize::try_from(count).ok();
                        self.make_room(round);
                    }
                    Err(why) => self.uncounted = Some(why),
                }
            }
            Answer::Renewed(done) => {
                self.renewing = false;
                self.uncounted = done.err();
            }
        }
    }

    /// A place for each GPU that has none yet.
    fn make_room(&mut self, round: Option<Instant>) {
        let count = self.count.unwrap_or_default();
        if count <= self.known.len() {
            return;
        }
        self.known.resize_with(count, || Card {
            asked: None,
            senses: Arc::new(Mutex::new(Senses::new(self.watched))),
            found: Found::default(),
            fresh: None,
        });
        if let Some(begun) = round {
            let questions = self.questions(begun);
            self.askers.ask(questions);
        }
    }

    fn collect(&mut self, begun: Instant) -> Result<Vec<Live>, ProbeError> {
        if let Some(why) = &self.uncounted {
            return Err(failed(why));
        }
        let Some(count) = self.count else {
            return Err(hung(self.deadline));
        };
        let deadline = self.deadline;
        let live = |card: &mut Card| {
            let told = card.fresh.take().or_else(|| {
                let asked = card.asked?;
                let pending = asked.elapsed() < deadline;
                // What it said before it fell silent is new still in the round that asked.
                let live = card.so_far().filter(|_| pending || asked == begun)?;
                Some(Live { pending, ..live })
            });
            told.unwrap_or_else(|| Live::missing(&hung(deadline).to_string()))
        };
        Ok(self.known.iter_mut().take(count).map(live).collect())
    }
}

fn hung(after: Duration) -> ProbeError {
    ProbeError::Hung { tool: TOOL, after }
}

fn failed(why: &str) -> ProbeError {
    let why = why.to_owned();
    ProbeError::Failed { tool: TOOL, why }
}
