//! A per-token trace: which experts each token chose in each layer, in order.
//!
//! JSON lines of `pos`, `layer` and `experts`. Counts forget the order in which experts were
//! chosen; a cache lives by it.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::document::{LayerCounts, Trace};

/// Most experts that a layer can have; a larger index is no routing of any model.
const MOST_EXPERTS: u32 = 65_536;

/// The choices of one token in one layer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Line {
    layer: u64,
    experts: Vec<u32>,
}

/// A per-token trace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PerToken {
    /// The choices of each layer, token by token.
    layers: BTreeMap<u64, Vec<Vec<u32>>>,
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
            trace.layers.entry(layer).or_default().push(experts);
            Ok(trace)
        });
        Some(read)
    }

    /// Takes the model's own number of experts, where it is no less than what the trace shows.
    #[must_use]
    pub fn with_experts(mut self, experts: Option<u64>) -> Self {
        let stated = experts.and_then(|e| u32::try_from(e).ok());
        self.experts = self.experts.max(stated.unwrap_or(0).min(MOST_EXPERTS));
        self
    }

    /// Experts of a layer.
    pub fn experts(&self) -> u32 {
        self.experts
    }

    /// The choices of each layer, token by token.
    pub fn layers(&self) -> impl Iterator<Item = &[Vec<u32>]> {
        self.layers.values().map(Vec::as_slice)
    }

    /// Tokens, by the layer that saw most.
    pub fn tokens(&self) -> u64 {
        let tokens = self.layers.values().map(Vec::len).max();
        tokens.unwrap_or(0) as u64
    }

    /// All choices.
    pub fn selections(&self) -> u64 {
        let all = self.layers.values().flatten();
        all.map(|chosen| chosen.len() as u64).sum()
    }

    /// The same as counts.
    pub fn counts(&self, model: Option<String>) -> Trace {
        let width = self.experts as usize;
        let layers = self.layers.iter().map(|(index, tokens)| LayerCounts {
            layer_index: Some(*index),
            expert_counts: counted(width, tokens.iter().map(Vec::as_slice)),
        });
        let widest = self.layers.values().flatten().map(Vec::len).max();
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
        let vast = "{\"layer\": 0, \"experts\": [4000000000]}";
        assert!(PerToken::read(vast).unwrap().is_err());
    }
}
