//! The shipped parameters, as the fitting program writes them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::card::{Backend, Card};
use super::law::Law;
use super::prefill::PrefillLaw;

/// The parameter file, `data/forecast.json`.
const FILE: &str = include_str!("../../data/forecast.json");

/// All that was fitted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shipped {
    /// What the file is and how it is made.
    pub about: String,
    /// By backend.
    pub backends: BTreeMap<String, BackendFit>,
}

/// What was fitted for one backend.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BackendFit {
    /// Its law.
    pub law: Law,
    /// How generations differ.
    pub generations: BTreeMap<String, GenerationFit>,
    /// Evidence and spread with all weights in VRAM.
    pub in_vram: RegimeFit,
    /// The same with experts in RAM; none where nothing was measured.
    pub offload: Option<RegimeFit>,
    /// Prefill with all weights in VRAM; none where too few cards were measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefill: Option<PrefillFit>,
}

/// What was fitted for one generation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct GenerationFit {
    /// Multiplies the fixed costs of the blocks.
    pub factor: f64,
    /// Different cards behind it.
    pub cards: u64,
}

/// What was fitted for prefill.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PrefillFit {
    /// Its law.
    pub law: PrefillLaw,
    /// Generations that were measured: of others nothing is said.
    pub generations: Vec<String>,
    /// Evidence and spread.
    pub known: RegimeFit,
}

/// How well a regime is known.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RegimeFit {
    /// Measurements.
    pub rows: u64,
    /// Different cards.
    pub cards: u64,
    /// Half the width of the 80 % band, as a logarithm, on a card that was left out of the fit.
    pub spread: f64,
    /// Standard deviation of the logarithm between runs on one rig.
    pub within: f64,
}

impl Shipped {
    /// The shipped parameters; none only if the file is broken, which a test forbids.
    pub fn load() -> Option<Self> {
        serde_json::from_str(FILE).ok()
    }

    /// What is known of `backend`.
    pub fn of(&self, backend: Backend) -> Option<&BackendFit> {
        self.backends.get(backend.key())
    }
}

impl BackendFit {
    /// The factor of a card's generation and how much wider its band is for want of evidence: a
    /// generation of three cards is the usual one, each card fewer leaves more of its own doubt.
    pub fn generation(&self, card: Card) -> (f64, f64) {
        let known = self.generations.get(card.generation);
        let cards = known.map_or(0.5, |g| (g.cards as f64).max(0.5));
        let wider = ((1.0 + 1.0 / cards) * 0.75).sqrt().max(1.0);
        (known.map_or(1.0, |g| g.factor), wider)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_read_and_speaks_of_every_backend() {
        let shipped = Shipped::load().unwrap();
        for backend in Backend::ALL {
            let fit = shipped.of(backend).unwrap();
            assert!(fit.law.weight_share > 0.3 && fit.law.weight_share < 1.0);
            assert!(fit.in_vram.spread > 0.05 && fit.in_vram.spread < 1.0);
        }
        assert!(shipped.of(Backend::Cuda).unwrap().offload.is_some());
    }

    #[test]
    fn less_evidence_is_a_wider_band() {
        let shipped = Shipped::load().unwrap();
        let fit = shipped.of(Backend::Cuda).unwrap();
        let of = |name| fit.generation(Card::of(name, None).unwrap()).1;
        assert_eq!(of("RTX 3090"), 1.0);
        assert!(of("NVIDIA H100") > of("RTX 3090"));
    }
}
