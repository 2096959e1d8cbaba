//! A footprint that works out each placement once: halving a budget meets the same ones again and
//! again.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::footprint::{Footprint, Placement, Usage};
use crate::footprint::ExpertTensor;
use crate::forecast::{CacheGrowth, PrefillWork, Work};

/// Placements that are remembered; beyond it each is worked out anew.
const MOST: usize = 4096;

/// Remembers what placements cost.
pub(super) struct Memo<'f> {
    of: &'f dyn Footprint,
    usages: RefCell<BTreeMap<Placement, Usage>>,
}

impl<'f> Memo<'f> {
    pub(super) fn new(of: &'f dyn Footprint) -> Self {
        Self {
            of,
            usages: RefCell::default(),
        }
    }
}

impl Footprint for Memo<'_> {
    fn source(&self) -> &'static str {
        self.of.source()
    }

    fn moe_layers(&self) -> u64 {
        self.of.moe_layers()
    }

    fn placement(&self, on_host: u64) -> Placement {
        self.of.placement(on_host)
    }

    fn moe_layers_on_host(&self, n_cpu_moe: u64) -> u64 {
        self.of.moe_layers_on_host(n_cpu_moe)
    }

    fn blocks(&self) -> Option<u64> {
        self.of.blocks()
    }

    fn by_blocks(&self) -> bool {
        self.of.by_blocks()
    }

    fn experts(&self) -> &[ExpertTensor] {
        self.of.experts()
    }

    fn usage(&self, placement: &Placement) -> Usage {
        if let Some(known) = self.usages.borrow().get(placement) {
            return *known;
        }
        let usage = self.of.usage(placement);
        let mut usages = self.usages.borrow_mut();
        if usages.len() < MOST {
            usages.insert(placement.clone(), usage);
        }
        usage
    }

    fn work(&self, placement: &Placement) -> Option<Work> {
        self.of.work(placement)
    }

    fn prefill_work(&self) -> Option<PrefillWork> {
        self.of.prefill_work()
    }

    fn cache_growth(&self, placement: &Placement) -> Vec<CacheGrowth> {
        self.of.cache_growth(placement)
    }
}
