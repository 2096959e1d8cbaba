//! A file's keys under its architecture's name, and the rules of windows and recurrence.

use crate::header::Metadata;

use super::facts::Recurrence;
use super::tensors::FactTensor;

/// The largest number that a key of a real model has; larger ones count as this, so that
/// products stay within 64 bits.
const LARGEST: u64 = 1 << 24;
/// The most elements of a state.
const LARGEST_STATE: u64 = 1 << 56;

/// Reads keys under the architecture's name.
pub(super) struct Keys<'a> {
    pub(super) metadata: &'a Metadata,
    pub(super) architecture: &'a str,
}

impl Keys<'_> {
    pub(super) fn get(&self, key: &str) -> Option<u64> {
        self.metadata
            .u64(&format!("{}.{key}", self.architecture))
            .map(|n| n.min(LARGEST))
    }

    pub(super) fn list(&self, key: &str) -> Option<Vec<u64>> {
        let mut list = self
            .metadata
            .u64s(&format!("{}.{key}", self.architecture))?;
        for n in &mut list {
            *n = (*n).min(LARGEST);
        }
        Some(list)
    }

    /// One number for all blocks, or one each.
    pub(super) fn per_block(&self, key: &str, blocks: u64) -> Option<Vec<u64>> {
        let n = usize::try_from(blocks).ok()?;
        if let Some(v) = self.get(key) {
            return Some(vec![v; n]);
        }
        let mut list = self.list(key)?;
        list.resize(n, 0);
        Some(list)
    }
}

/// The pattern and width of windowed attention: (architecture, repeats every, first is full,
/// width when the file gives none). The last number of a repeat is the full block.
const WINDOWS: [(&str, u64, bool, u64); 17] = [
    ("afmoe", 4, false, 0),
    ("cohere2", 4, false, 0),
    ("cohere2moe", 4, true, 0),
    ("exaone-moe", 4, false, 128),
    ("exaone4", 4, false, 4096),
    ("gemma2", 2, false, 4096),
    ("gemma3", 6, false, 0),
    ("gemma3n", 5, false, 0),
    ("gemma4", 1, false, 0),
    ("gpt-oss", 2, false, 0),
    ("laguna", 4, true, 0),
    ("llama4", 4, false, 8192),
    ("mellum", 4, false, 0),
    ("mimo2", 1, false, 0),
    ("olmo2", 4, false, 0),
    ("plamo3", 8, false, 0),
    ("smallthinker", 4, true, 4096),
];

/// The window's width, and which blocks are windowed.
pub(super) fn windows(keys: &Keys, blocks: u64) -> (u64, Vec<bool>) {
    let none = (0, vec![false; usize::try_from(blocks).unwrap_or(0)]);
    // Architectures without an entry are windowed where the file says so block by block.
    let listed = WINDOWS.iter().find(|w| w.0 == keys.architecture);
    let stated_blocks = keys.list("attention.sliding_window_pattern").is_some();
    let Some((_, repeat, first_full, default_width)) =
        listed.or_else(|| stated_blocks.then_some(&("", 1, false, 0)))
    else {
        return none;
    };
    let stated = keys.get("attention.sliding_window");
    let width = match (keys.architecture, stated) {
        // A stated width of 0 turns chunks off; any other is ignored for the fixed chunk.
        ("llama4", Some(0)) => 0,
        ("llama4", _) => *default_width,
        (_, Some(w)) => w,
        (_, None) => match keys.architecture {
            "exaone4" if blocks < 64 => 0,
            "smallthinker" => 0,
            _ => *default_width,
        },
    };
    if width == 0 {
        return none;
    }
    if let Some(mut list) = keys.list("attention.sliding_window_pattern") {
        list.resize(usize::try_from(blocks).unwrap_or(0), 0);
        return (width, list.iter().map(|n| *n != 0).collect());
    }
    let n = keys
        .get("attention.sliding_window_pattern")
        .unwrap_or(*repeat);
    let windowed = |i: u64| match (n, first_full) {
        (0, _) => true,
        (n, true) => !i.is_multiple_of(n),
        (n, false) => i % n < n - 1,
    };
    (width, (0..blocks).map(windowed).collect())
}

/// Which blocks keep a recurrent state.
pub(super) fn recurrent_blocks(
    keys: &Keys,
    tensors: &[FactTensor],
    blocks: u64,
    loaded: u64,
    kv_heads: &[u64],
) -> Vec<bool> {
    let n = usize::try_from(blocks).unwrap_or(0);
    let marks = |t: &FactTensor| {
        t.suffix().starts_with("ssm_")
            || t.suffix().starts_with("shortconv")
            || t.suffix().starts_with("time_mix")
    };
    let mut has = vec![false; n];
    for t in tensors.iter().filter(|t| marks(t)) {
        let at = t.block.and_then(|b| usize::try_from(b).ok());
        if let Some(slot) = at.and_then(|at| has.get_mut(at)) {
            *slot = true;
        }
    }
    if !has.contains(&true) {
        return has;
    }
    if let Some(list) = keys.list("attention.recurrent_layers") {
        return (0..n)
            .map(|i| list.get(i).is_some_and(|v| *v != 0))
            .collect();
    }
    let interval = match keys.architecture {
        "qwen3next" | "qwen35" | "qwen35moe" => Some(4),
        _ => None,
    };
    if let Some(every) = keys
        .get("full_attention_interval")
        .or(interval)
        .filter(|e| *e > 0)
    {
        return (0..blocks)
            .map(|i| i < loaded && !(i + 1).is_multiple_of(every))
            .collect();
    }
    has.iter()
        .zip(kv_heads)
        .map(|(has, kv)| *has && (*kv == 0 || keys.architecture == "falcon-h1"))
        .collect()
}

/// Elements of convolution state and of recurrent state of a recurrent block.
pub(super) fn state(keys: &Keys, r: &Recurrence, embedding: u64, heads: u64) -> (u64, u64) {
    let (conv, state) = elements_of_state(keys, r, embedding, heads);
    (conv.min(LARGEST_STATE), state.min(LARGEST_STATE))
}

fn elements_of_state(keys: &Keys, r: &Recurrence, embedding: u64, heads: u64) -> (u64, u64) {
    if let Some(taps) = keys.get("shortconv.l_cache").filter(|n| *n > 0) {
        return (embedding.saturating_mul(taps - 1), 0);
    }
    if let Some(head) = keys.get("kda.head_dim").filter(|n| *n > 0) {
        let taps = if r.conv > 0 { r.conv - 1 } else { 3 };
        return (
            (3 * taps).saturating_mul(heads).saturating_mul(head),
            head.saturating_mul(head).saturating_mul(heads),
        );
    }
    (
        r.conv.saturating_sub(1).saturating_mul(
            r.inner
                .saturating_add(r.groups.saturating_mul(r.state).saturating_mul(2)),
        ),
        r.state.saturating_mul(r.inner),
    )
}
