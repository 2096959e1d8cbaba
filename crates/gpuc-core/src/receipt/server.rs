//! What llama-server says about its own speed: the timings of an answer, or its /metrics.

use super::row::Cell;

/// The rates of one answer.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Timing {
    decode: Option<f64>,
    decode_ms: Option<f64>,
    decode_n: Option<f64>,
    prefill: Option<f64>,
    prefill_ms: Option<f64>,
    prefill_n: Option<f64>,
    cached_n: Option<f64>,
    drafted: bool,
    unfinished: bool,
}

impl Timing {
    /// Takes the cell when its name is one of the server's.
    pub(super) fn set(&mut self, key: &str, cell: &Cell) {
        match key {
            "predicted_per_second" => self.decode = cell.rate(),
            "predicted_ms" => self.decode_ms = cell.rate(),
            "predicted_n" => self.decode_n = cell.rate(),
            "prompt_per_second" => self.prefill = cell.rate(),
            "prompt_ms" => self.prefill_ms = cell.rate(),
            "prompt_n" => self.prefill_n = cell.rate(),
            "cache_n" => self.cached_n = cell.rate(),
            "draft_n" => self.drafted = cell.rate().is_some_and(|n| n > 0.0),
            // A streamed answer repeats its timings; only the last one is whole.
            "stop" => self.unfinished = matches!(cell, Cell::Flag(false)),
            _ => {}
        }
    }

    /// Whether these are timings at all.
    pub(super) fn holds_any(&self) -> bool {
        self.decode.is_some() && self.decode_n.or(self.decode_ms).is_some()
    }

    /// Whether the object around the timings says that the answer goes on.
    pub(super) fn is_unfinished(&self) -> bool {
        self.unfinished
    }
}

/// What a server measured over the answers it gave.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Served {
    /// Decode, tokens a second.
    pub decode: Option<f64>,
    /// Prefill, tokens a second.
    pub prefill: Option<f64>,
    /// Answers behind the rates; 0 when the server did not say.
    pub answers: u64,
    /// Tokens generated.
    pub tokens: u64,
    /// Whether drafted tokens took part, which no forecast of ours knows.
    pub drafted: bool,
    /// Context that was filled before the first token of any answer, where all of them say.
    pub depth: Option<u64>,
}

impl Served {
    /// The rates over all answers, each weighted by the time it took.
    pub(super) fn of_timings(timings: &[Timing]) -> Option<Self> {
        let whole = |t: &&Timing| t.decode_n.is_none_or(|n| n > 0.0);
        let used: Vec<&Timing> = timings.iter().filter(whole).collect();
        if used.is_empty() {
            return None;
        }
        let mean = |pairs: Vec<(f64, f64)>| {
            let weight: f64 = pairs.iter().map(|(_, w)| w).sum();
            let sum: f64 = pairs.iter().map(|(x, w)| x * w).sum();
            let rate = sum / weight;
            (weight > 0.0 && rate.is_finite()).then_some(rate)
        };
        let tokens: f64 = used.iter().filter_map(|t| t.decode_n).sum();
        Some(Self {
            decode: mean(
                used.iter()
                    .filter_map(|t| Some((t.decode?, t.decode_ms.unwrap_or(1.0))))
                    .collect(),
            ),
            prefill: mean(
                used.iter()
                    .filter_map(|t| Some((t.prefill?, t.prefill_ms.unwrap_or(1.0))))
                    .filter(|(rate, _)| *rate > 0.0)
                    .collect(),
            ),
            answers: used.len() as u64,
            tokens: crate::units::floor_bytes(tokens),
            drafted: used.iter().any(|t| t.drafted),
            depth: used
                .iter()
                .map(|t| Some(crate::units::floor_bytes(t.prefill_n? + t.cached_n?)))
                .min()
                .flatten(),
        })
    }

    /// The averages in a /metrics answer.
    pub(super) fn of_metrics(text: &str) -> Option<Self> {
        let mut served = Self::default();
        let mut seen = false;
        for line in text.lines() {
            let Some(rest) = line.trim_start().strip_prefix("llamacpp:") else {
                continue;
            };
            seen = true;
            let name_ends = rest.find(['{', ' ', '\t']).unwrap_or(rest.len());
            let (name, rest) = rest.split_at(name_ends);
            let value = rest.rsplit_once('}').map_or(rest, |(_, v)| v);
            let Some(value) = value.split_whitespace().next() else {
                continue;
            };
            let value = Cell::of_text(value).rate();
            match name {
                // 0 is what the gauges show before the first answer.
                "predicted_tokens_seconds" => served.decode = value.filter(|x| *x > 0.0),
                "prompt_tokens_seconds" => served.prefill = value.filter(|x| *x > 0.0),
                "tokens_predicted_total" => {
                    served.tokens = value.map_or(0, crate::units::floor_bytes);
                }
                "spec_decode_num_draft_tokens_total" => {
                    served.drafted = value.is_some_and(|n| n > 0.0);
                }
                _ => {}
            }
        }
        seen.then_some(served)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_with_and_without_labels() {
        let text = "# HELP llamacpp:x y\nllamacpp:predicted_tokens_seconds{model=\"a b\"} 71.5\n\
                    llamacpp:prompt_tokens_seconds 277.066\nllamacpp:tokens_predicted_total 32\n";
        let served = Served::of_metrics(text).unwrap();
        assert_eq!((served.decode, served.prefill), (Some(71.5), Some(277.066)));
        assert_eq!(served.tokens, 32);
        assert_eq!(Served::of_metrics("no metrics here"), None);
        let idle = Served::of_metrics("llamacpp:predicted_tokens_seconds 0\n").unwrap();
        assert_eq!(idle.decode, None, "an idle server measured nothing");
    }

    #[test]
    fn answers_weigh_by_their_time() {
        let timing = |rate, ms| Timing {
            decode: Some(rate),
            decode_ms: Some(ms),
            decode_n: Some(10.0),
            ..Timing::default()
        };
        let served = Served::of_timings(&[timing(10.0, 3000.0), timing(30.0, 1000.0)]).unwrap();
        assert_eq!(served.decode, Some(15.0));
        assert_eq!((served.answers, served.tokens), (2, 20));
        assert_eq!(served.depth, None, "not every answer says what it stood on");
        let after = |cached, prompt| Timing {
            cached_n: Some(cached),
            prefill_n: Some(prompt),
            ..timing(10.0, 1000.0)
        };
        let served = Served::of_timings(&[after(900.0, 100.0), after(0.0, 1200.0)]).unwrap();
        assert_eq!(served.depth, Some(1000));
    }
}
