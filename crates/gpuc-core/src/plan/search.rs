//! The search: of all placements, the one that keeps most on the GPU within the budget.

use std::collections::{BTreeMap, BTreeSet};

use super::footprint::{Placement, Usage};
use super::planner::PlanRequest;
use crate::footprint::ExpertKind;

/// How finely experts are placed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Search {
    /// All experts of a layer together (`--n-cpu-moe`).
    #[default]
    Layers,
    /// Gate, up and down tensors one by one (`-ot`), filling what whole layers leave.
    Tensors,
}

/// A placement that was looked at.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub(super) placement: Placement,
    /// Layers whose experts are in RAM, in whole or in part.
    pub(super) on_host: u64,
    pub(super) usage: Usage,
    /// Device bytes, margin included.
    pub(super) needed: f64,
}

impl Candidate {
    pub(super) fn new(request: &PlanRequest<'_>, placement: Placement) -> Self {
        let usage = request.footprint.usage(&placement);
        let leading = request.footprint.moe_layers_on_host(placement.n_cpu_moe);
        let partly: BTreeSet<u64> = placement.host_experts.iter().map(|(b, _)| *b).collect();
        // With no layer on the GPU there is nothing to keep a margin for.
        let margin = match placement.gpu_layers {
            Some(0) => 0.0,
            _ => request.margin,
        };
        Self {
            on_host: leading + partly.len() as u64,
            needed: usage.device_bytes + margin,
            placement,
            usage,
        }
    }

    pub(super) fn fits(&self, budget: f64) -> bool {
        self.needed <= budget
    }
}

/// The best placement within `budget` bytes of VRAM, or the smallest there is when none fits.
pub(super) fn choose(request: &PlanRequest<'_>, budget: f64) -> Candidate {
    let footprint = request.footprint;
    if request.cpu_only {
        let placement = Placement {
            gpu_layers: Some(0),
            ..footprint.placement(footprint.moe_layers())
        };
        return Candidate::new(request, placement);
    }
    if let Some(n_cpu_moe) = request.forced_n {
        let placement = Placement {
            gpu_layers: request.forced_layers,
            n_cpu_moe,
            ..Placement::default()
        };
        return Candidate::new(request, placement);
    }
    let whole = layers(request, budget, request.forced_layers);
    let stretched = request.forced_layers.is_none() && !whole.fits(budget);
    match footprint.blocks() {
        Some(blocks) if stretched && footprint.by_blocks() => fewer_blocks(request, budget, blocks),
        _ if whole.fits(budget) && request.search == Search::Tensors => {
            finest(request, budget, &whole)
        }
        _ => whole,
    }
}

/// The smallest number of layers' experts in RAM that fits, or all of them.
fn layers(request: &PlanRequest<'_>, budget: f64, gpu_layers: Option<u64>) -> Candidate {
    first(request.footprint.moe_layers(), budget, |on_host| {
        let placement = Placement {
            gpu_layers,
            ..request.footprint.placement(on_host)
        };
        Candidate::new(request, placement)
    })
}

/// The most blocks on the GPU that fit, all experts in RAM: for a dense model, and for what does
/// not fit otherwise.
fn fewer_blocks(request: &PlanRequest<'_>, budget: f64, blocks: u64) -> Candidate {
    let experts = request.footprint.placement(request.footprint.moe_layers());
    first(blocks + 1, budget, |off| {
        let gpu_layers = blocks + 1 - off;
        let placement = Placement {
            gpu_layers: Some(gpu_layers).filter(|l| *l <= blocks),
            ..experts.clone()
        };
        Candidate::new(request, placement)
    })
}

/// The first of 0 ..= `last` that fits, when what fits once fits ever after; `last` if none does.
fn first(last: u64, budget: f64, at: impl Fn(u64) -> Candidate) -> Candidate {
    let (mut low, mut high) = (0, last);
    while low < high {
        let middle = low + (high - low) / 2;
        if at(middle).fits(budget) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    // Compute buffers move a little with the placement, so the neighbour is tried as well.
    if let Some(less) = low.checked_sub(1).map(&at).filter(|c| c.fits(budget)) {
        return less;
    }
    at(low)
}

/// At most this many tensors are moved into what whole layers leave.
const MOST_MOVED: usize = 15;
/// This many layers beyond the smallest number are taken back to RAM, so that their tensors can be
/// chosen anew: a large one may make room for two small ones that fill better.
const MOST_RELEASED: u64 = 3;
/// Combinations looked at; beyond it the best so far is taken.
const MOST_COMBINATIONS: usize = 50_000;

/// The placement by single tensors that reads least from RAM, starting from `whole` and from a few
/// more layers in RAM than that.
fn finest(request: &PlanRequest<'_>, budget: f64, whole: &Candidate) -> Candidate {
    let layers = request.footprint.moe_layers();
    let mut best = tensors(request, budget, whole).unwrap_or_else(|| whole.clone());
    for released in 1..=MOST_RELEASED.min(layers - whole.on_host.min(layers)) {
        if whole.on_host == 0 {
            break;
        }
        let base = Candidate::new(
            request,
            Placement {
                gpu_layers: whole.placement.gpu_layers,
                ..request.footprint.placement(whole.on_host + released)
            },
        );
        if let Some(other) = tensors(request, budget, &base)
            && other.usage.host_read < best.usage.host_read
        {
            best = other;
        }
    }
    best
}

/// Moves single expert tensors of the layers in RAM into the VRAM that whole layers leave free.
fn tensors(request: &PlanRequest<'_>, budget: f64, whole: &Candidate) -> Option<Candidate> {
    let n_cpu_moe = whole.placement.n_cpu_moe;
    let in_ram: Vec<_> = request
        .footprint
        .experts()
        .iter()
        .filter(|t| t.block < n_cpu_moe && t.bytes > 0)
        .collect();
    // Tensors of one size are alike; the last blocks are moved first, so that the leading ones
    // stay what --n-cpu-moe can name.
    let mut sizes: BTreeMap<u64, Vec<(u64, ExpertKind)>> = BTreeMap::new();
    for tensor in in_ram.iter().rev() {
        let alike = sizes.entry(tensor.bytes).or_default();
        alike.push((tensor.block, tensor.kind));
    }
    let classes: Vec<(u64, usize)> = sizes
        .iter()
        .rev()
        .map(|(bytes, alike)| (*bytes, alike.len()))
        .collect();
    let left = crate::units::floor_bytes(budget - whole.needed);
    let mut counts = fill(&classes, left);
    loop {
        let moved: BTreeSet<_> = counts
            .iter()
            .zip(&classes)
            .filter_map(|(count, (bytes, _))| Some(sizes.get(bytes)?.iter().take(*count)))
            .flatten()
            .copied()
            .collect();
        let first_moved = moved.iter().map(|(block, _)| *block).min()?;
        let placement = Placement {
            n_cpu_moe: first_moved,
            host_experts: in_ram
                .iter()
                .map(|t| (t.block, t.kind))
                .filter(|t| t.0 >= first_moved && !moved.contains(t))
                .collect(),
            gpu_layers: whole.placement.gpu_layers,
        };
        let candidate = Candidate::new(request, placement);
        if candidate.fits(budget) {
            return Some(candidate);
        }
        // The compute buffer grew: one tensor of the smallest kind fewer.
        *counts.iter_mut().rev().find(|c| **c > 0)? -= 1;
    }
}

/// How many of each class (bytes, available; largest first) fill `left` bytes best.
fn fill(classes: &[(u64, usize)], left: u64) -> Vec<usize> {
    struct Best {
        counts: Vec<usize>,
        sum: u64,
        tried: usize,
    }
    fn descend(
        classes: &[(u64, usize)],
        left: u64,
        sum: u64,
        room: usize,
        counts: &mut Vec<usize>,
        best: &mut Best,
    ) {
        best.tried += 1;
        if sum > best.sum {
            best.sum = sum;
            best.counts.clone_from(counts);
        }
        let Some(((bytes, available), rest)) = classes.split_first() else {
            return;
        };
        let most = usize::try_from(left / bytes).unwrap_or(usize::MAX);
        for count in (0..=most.min(*available).min(room)).rev() {
            if best.tried >= MOST_COMBINATIONS {
                return;
            }
            counts.push(count);
            let taken = bytes * count as u64;
            descend(rest, left - taken, sum + taken, room - count, counts, best);
            counts.pop();
        }
    }
    let mut best = Best {
        counts: Vec::new(),
        sum: 0,
        tried: 0,
    };
    descend(classes, left, 0, MOST_MOVED, &mut Vec::new(), &mut best);
    best.counts.resize(classes.len(), 0);
    best.counts
}

#[cfg(test)]
mod tests {
    use super::fill;

    #[test]
    fn what_is_left_is_filled_as_far_as_it_goes() {
        // (classes, left, the most that any combination gives)
        type Classes = &'static [(u64, usize)];
        let cases: [(Classes, u64, u64); 6] = [
            (&[(70, 3), (50, 6)], 160, 150),
            (&[(70, 3), (50, 6)], 49, 0),
            (&[(70, 3), (50, 6)], 120, 120),
            (&[(100, 1), (60, 2), (35, 4)], 130, 130),
            (&[(100, 0), (60, 1)], 1000, 60),
            (&[], 1000, 0),
        ];
        for (classes, left, want) in cases {
            let counts = fill(classes, left);
            let sum: u64 = counts
                .iter()
                .zip(classes)
                .map(|(n, (b, _))| *n as u64 * b)
                .sum();
            assert_eq!(sum, want, "{classes:?} in {left}");
            assert!(
                counts
                    .iter()
                    .zip(classes)
                    .all(|(n, (_, available))| n <= available)
            );
        }
    }
}
