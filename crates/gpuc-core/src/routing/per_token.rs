//! A per-token trace: which experts each token chose in each layer, in order.
//!
//! JSON lines of `pos`, `layer` and `experts`. Counts forget the order in which experts were
//! chosen; a cache lives by it.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::document::{LayerCounts, MAX_EXPERTS, MAX_LAYERS, Trace};

/// Most experts that a layer can have; a larger index is no routing of any model.
const MOST_EXPERTS: u32 = 1 << 16;
const _: () = assert!(MOST_EXPERTS as usize == MAX_EXPERTS);
/// Most counts that all layers together can have: far more than any model, few enough to keep.
const MOST_COUNTS: u64 = 1 << 22;

/// The choices of one token in one layer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Line {
    layer: u64,
    experts: Vec<u32>,
}

/// The choices of one layer, token by token.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LayerChoices {
    experts: Vec<u32>,
    /// Where each token's choices end in `experts`.
    ends: Vec<usize>,
}

impl LayerChoices {
    /// Every choice, in order.
    pub fn all(&self) -> &[u32] {
        &self.experts
    }

    /// Tokens.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether no token passed.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The choices of one token.
    pub fn token(&self, i: usize) -> Option<&[u32]> {
        let before = i.checked_sub(1).and_then(|before| self.ends.get(before));
        let start = before.copied().unwrap_or(0);
        self.experts.get(start..*self.ends.get(i)?)
    }

    /// The choices of each token.
    pub fn tokens(&self) -> impl Iterator<Item = &[u32]> + Clone {
        (0..self.len()).filter_map(|i| self.token(i))
    }

    fn push(&mut self, chosen: &[u32]) {
        self.experts.extend(chosen);
        self.ends.push(self.experts.len());
    }
}

/// A per-token trace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PerToken {
    layers: BTreeMap<u64, LayerChoices>,
    /// Experts of a layer.
    experts: u32,
}

/// Why lines are no per-token trace.
#[derive(Debug, thiserror::Error)]
pub enum PerTokenError {
    /// A line that is not what the others are.
    #[error("line {line} of the per-token trace is no object of pos, layer and experts")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What the reader said.
        #[source]
        cause: serde_json::Error,
    },
    /// An index that no model has.
    #[error("line {line} of the per-token trace names expert {expert}; no layer has that many")]
    Expert {
        /// Counted from 1.
        line: usize,
        /// The index.
        expert: u32,
    },
    /// More layers, or experts in so many of them, than any model has.
    #[error("line {line} of the per-token trace is of yet another layer; no model has that many")]
    Layers {
        /// Counted from 1.
        line: usize,
    },
}

impl crate::error::Coded for PerTokenError {
    fn code(&self) -> crate::error::Code {
        crate::error::Code::IoTraceUnreadable
    }

    fn hint(&self) -> Option<String> {
        Some(r#"each line is like {"pos": 0, "layer": 0, "experts": [21, 116]}"#.into())
    }
}

impl PerToken {
    /// The trace in `text`; none when its first line is not one of such a trace.
    pub fn read(text: &str) -> Option<Result<Self, PerTokenError>> {
        let mut lines = (1..)
            .zip(text.lines())
            .filter(|(_, line)| !line.trim().is_empty());
        let (_, first) = lines.clone().next()?;
        serde_json::from_str::<Line>(first).ok()?;
        let read = lines.try_fold(Self::default(), |mut trace, (line, text)| {
            let Line { layer, experts } =
                serde_json::from_str(text).map_err(|cause| PerTokenError::Line { line, cause })?;
            if let Some(expert) = experts.iter().copied().find(|e| *e >= MOST_EXPERTS) {
                return Err(PerTokenError::Expert { line, expert });
            }
            let most = experts.iter().copied().max().map_or(0, |e| e + 1);
            trace.experts = trace.experts.max(most);
            trace.layers.entry(layer).or_default().push(&experts);
            let layers = trace.layers.len();
            let counts = (layers as u64).saturating_mul(trace.experts.into());
            if layers > MAX_LAYERS || counts > MOST_COUNTS {
                return Err(PerTokenError::Layers { line });
            }
            Ok(trace)
        });
        Some(read)
    }

    /// Takes the model's own number of experts, where it is no less than what the trace shows and
    /// no more than any model has.
    #[must_use]
    pub fn with_experts(mut self, experts: Option<u64>) -> Self {
        let most = MOST_COUNTS / (self.layers.len() as u64).max(1);
        let stated = experts.unwrap_or(0).min(most).min(MOST_EXPERTS.into());
        self.experts = self.experts.max(u32::try_from(stated).unwrap_or(0));
        self
    }

    /// Experts of a layer.
    pub fn experts(&self) -> u32 {
        self.experts
    }

    /// Each layer's number and choices, in the order of the numbers.
    pub fn layers(&self) -> impl Iterator<Item = (u64, &LayerChoices)> {
        self.layers.iter().map(|(index, choices)| (*index, choices))
    }

    /// Tokens, by the layer that saw most.
    pub fn tokens(&self) -> u64 {
        let tokens = self.layers.values().map(LayerChoices::len).max();
        tokens.unwrap_or(0) as u64
    }

    /// All choices.
    pub fn selections(&self) -> u64 {
        let all = self.layers.values();
        all.map(|layer| layer.all().len() as u64).sum()
    }

    /// The same as counts.
    pub fn counts(&self, model: Option<String>) -> Trace {
        let width = self.experts as usize;
        let layers = self.layers().map(|(index, layer)| LayerCounts {
            layer_index: Some(index),
            expert_counts: counted(width, [layer.all()].into_iter()),
        });
        let tokens = self.layers.values().flat_map(LayerChoices::tokens);
        let widest = tokens.map(<[u32]>::len).max();
        Trace {
            model,
            num_experts: self.experts.into(),
            experts_per_token: widest.map(|k| k as u64),
            n_tokens: Some(self.tokens()),
            layers: layers.collect(),
            ..Trace::default()
        }
    }
}

/// How often each expert was chosen.
pub(super) fn counted<'t>(width: usize, tokens: impl Iterator<Item = &'t [u32]>) -> Vec<u64> {
    let mut counts = vec![0; width];
    for expert in tokens.flatten() {
        if let Some(n) = counts.get_mut(*expert as usize) {
            *n += 1;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Code, Coded as _};

    #[test]
    fn lines_become_layers_and_counts() {
        let text = "{\"pos\": 0, \"layer\": 1, \"experts\": [2, 0]}\n\n\
                    {\"pos\": 0, \"layer\": 0, \"experts\": [1]}\n\
                    {\"pos\": 1, \"layer\": 1, \"experts\": [2, 1]}\n";
        let trace = PerToken::read(text).unwrap().unwrap();
        assert_eq!(
            (trace.experts(), trace.tokens(), trace.selections()),
            (3, 2, 5)
        );
        let counts = trace.counts(None);
        assert_eq!(counts.layers[0].expert_counts, [0, 1, 0]);
        assert_eq!(counts.layers[1].expert_counts, [1, 1, 2]);
        assert_eq!(trace.clone().with_experts(Some(8)).experts(), 8);
        assert_eq!(trace.with_experts(Some(2)).experts(), 3);
    }

    #[test]
    fn what_is_no_such_trace_is_left_to_others_and_what_breaks_off_is_an_error() {
        assert!(PerToken::read("").is_none());
        assert!(PerToken::read("{\"layers\": []}").is_none());
        let cut = "{\"layer\": 0, \"experts\": [1]}\n{\"layer\": 0, \"exp";
        let e = PerToken::read(cut).unwrap().unwrap_err();
        assert_eq!(e.code(), Code::IoTraceUnreadable);
        let layers = |n: u32| {
            let line = |i| format!("{{\"layer\": {i}, \"experts\": [65535]}}");
            (0..n).map(line).collect::<Vec<_>>().join("\n")
        };
        assert!(PerToken::read(&layers(64)).unwrap().is_ok());
        assert!(PerToken::read(&layers(65)).unwrap().is_err());
        let vast = "{\"layer\": 0, \"experts\": [4000000000]}";
        assert!(PerToken::read(vast).unwrap().is_err());
    }
}
