//! A block's weights by name, and which blocks are alike.

use std::collections::BTreeMap;

use super::facts::LayerFacts;
use super::tensors::FactTensor;

/// A weight and its bias, by their places in the list of tensors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) weight: Option<usize>,
    pub(super) bias: Option<usize>,
    pub(super) dims: [u64; 4],
    pub(super) bias_dims: [u64; 4],
}

/// Weights by the stem of their names ("attn_q").
pub(super) type Shape = BTreeMap<String, Entry>;

/// The shapes of all loaded blocks in order, and that of what belongs to no block last.
pub(super) fn shapes(tensors: &[FactTensor], loaded: u64) -> Vec<Shape> {
    let n = usize::try_from(loaded).unwrap_or(0);
    let mut out = vec![Shape::new(); n + 1];
    for (i, t) in tensors.iter().enumerate() {
        let at = t.block.map_or(n, |b| usize::try_from(b).unwrap_or(n));
        let Some(shape) = out.get_mut(at) else {
            continue;
        };
        let suffix = t.suffix();
        if let Some(stem) = suffix.strip_suffix(".bias") {
            let e = shape.entry(stem.to_owned()).or_default();
            e.bias = Some(i);
            e.bias_dims = t.dims;
        } else {
            let stem = suffix.strip_suffix(".weight").unwrap_or(suffix);
            let e = shape.entry(stem.to_owned()).or_default();
            e.weight = Some(i);
            e.dims = t.dims;
        }
    }
    out
}

/// For each block the number of its kind: blocks of a kind have the same graph.
pub(super) fn classes(shapes: &[Shape], layers: &[LayerFacts]) -> Vec<usize> {
    let mut firsts: Vec<usize> = Vec::new();
    let same = |a: usize, b: usize| {
        let (Some(x), Some(y)) = (shapes.get(a), shapes.get(b)) else {
            return false;
        };
        layers.get(a) == layers.get(b)
            && x.len() == y.len()
            && x.iter().zip(y).all(|((s, e), (t, f))| {
                s == t
                    && e.dims == f.dims
                    && e.bias_dims == f.bias_dims
                    && e.weight.is_some() == f.weight.is_some()
                    && e.bias.is_some() == f.bias.is_some()
            })
    };
    (0..layers.len())
        .map(|i| {
            firsts.iter().position(|f| same(*f, i)).unwrap_or_else(|| {
                firsts.push(i);
                firsts.len() - 1
            })
        })
        .collect()
}
