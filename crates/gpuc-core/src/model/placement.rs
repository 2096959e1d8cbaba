//! What a model's facts mean to llama.cpp: which block `--n-cpu-moe` reaches, what its cache takes.

use crate::document::{BlockRun, KvGroup, Model};
use crate::forecast::CacheGrowth;

/// Cells are allocated in this many at a time.
const CELL_STEP: u64 = 256;

fn padded(cells: u64) -> u64 {
    cells.div_ceil(CELL_STEP).saturating_mul(CELL_STEP)
}

impl BlockRun {
    /// How many of these blocks lie below block `n`.
    fn below(&self, n: u64) -> u64 {
        n.saturating_sub(self.first)
            .div_ceil(self.every.max(1))
            .min(self.count)
    }

    /// One past the last block.
    fn end(&self) -> u64 {
        match self.count.checked_sub(1) {
            None => 0,
            Some(gaps) => gaps
                .saturating_mul(self.every.max(1))
                .saturating_add(self.first)
                .saturating_add(1),
        }
    }
}

impl Model {
    /// Blocks with routed experts, in any order but without overlap.
    fn moe_runs(&self) -> Vec<BlockRun> {
        match &self.moe_blocks {
            Some(runs) => runs.clone(),
            None => vec![BlockRun {
                first: 0,
                every: 1,
                count: self.n_moe_layers.unwrap_or(0),
            }],
        }
    }

    /// Layers whose experts llama.cpp keeps on the host under `--n-cpu-moe n_cpu_moe`, which counts
    /// all blocks from the first.
    pub fn moe_on_host(&self, n_cpu_moe: u64) -> u64 {
        self.moe_runs()
            .iter()
            .fold(0, |sum, run| sum.saturating_add(run.below(n_cpu_moe)))
    }

    /// The smallest `--n-cpu-moe` that keeps the experts of `on_host` layers on the host; all blocks
    /// when those are all there are.
    pub fn llama_n_cpu_moe(&self, on_host: u64) -> u64 {
        if on_host == 0 {
            return 0;
        }
        let runs = self.moe_runs();
        let moe = runs
            .iter()
            .fold(0, |sum: u64, run| sum.saturating_add(run.count));
        let end = runs.iter().map(BlockRun::end).max().unwrap_or(0);
        if on_host >= moe {
            return self.n_layers.unwrap_or(0).max(end);
        }
        // Monotone in n: bisect, since a run may be as long as a hostile file says.
        let (mut low, mut high) = (0, end);
        while low < high {
            let mid = low + (high - low) / 2;
            if self.moe_on_host(mid) >= on_host {
                high = mid;
            } else {
                low = mid + 1;
            }
        }
        low
    }

    /// Bytes of the cache and the recurrent state for `n_seq` sequences of `ctx` tokens, evaluated
    /// `ubatch` at a time. None where the configuration does not tell.
    ///
    /// A layer with a window keeps `window + ubatch` tokens of each sequence, in steps of 256 cells;
    /// recurrent state does not grow with the context.
    pub fn kv_bytes(&self, ctx: u64, n_seq: u64, ubatch: u64) -> Option<u128> {
        self.cache(n_seq, ctx, |group| match group.window {
            Some(window) => padded(ctx).min(padded(window.saturating_add(ubatch))),
            None => padded(ctx),
        })
    }

    /// Bytes of cache and state that decoding one token reads when `depth` tokens of each of
    /// `n_seq` sequences are filled. None where the configuration does not tell.
    pub fn kv_read_bytes(&self, depth: u64, n_seq: u64) -> Option<u128> {
        self.cache(n_seq, depth, |group| {
            group.window.map_or(depth, |w| depth.min(w))
        })
    }

    /// How [`Self::kv_read_bytes`] grows with the depth.
    pub fn cache_growth(&self, n_seq: u64) -> Vec<CacheGrowth> {
        let of = |bytes: u64, window| CacheGrowth {
            bytes_per_token: bytes as f64 * n_seq as f64,
            window,
            on_host: false,
        };
        let grows = |growth: &CacheGrowth| growth.bytes_per_token > 0.0;
        match &self.kv_groups {
            None => {
                let plain = self.kv_bytes_per_token.map(|bytes| of(bytes, None));
                plain.into_iter().filter(grows).collect()
            }
            Some(groups) => {
                let of = |g: &KvGroup| of(g.bytes_per_token, g.window);
                groups.iter().map(of).filter(grows).collect()
            }
        }
    }

    /// The cache of `n_seq` sequences: `plain` tokens in closed form, else `cells` of each group.
    /// In 128 bits, so that an absurd context is refused with its true size.
    fn cache(&self, n_seq: u64, plain: u64, cells: impl Fn(&KvGroup) -> u64) -> Option<u128> {
        let times = |bytes: u64, n: u64| u128::from(bytes) * u128::from(n);
        let one = match &self.kv_groups {
            None => times(self.kv_bytes_per_token?, plain),
            Some(groups) => groups.iter().fold(0u128, |sum, group| {
                sum.saturating_add(times(group.bytes_per_token, cells(group)))
                    .saturating_add(u128::from(group.state_bytes))
            }),
        };
        Some(one.saturating_mul(u128::from(n_seq)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::KvGroup;
    use proptest::prelude::*;

    fn with(n_layers: u64, run: BlockRun) -> Model {
        Model {
            n_layers: Some(n_layers),
            n_moe_layers: Some(run.count),
            moe_blocks: Some(vec![run]),
            ..Model::default()
        }
    }

    fn run(first: u64, every: u64, count: u64) -> BlockRun {
        BlockRun {
            first,
            every,
            count,
        }
    }

    #[test]
    fn dense_leading_blocks_count() {
        // DeepSeek-V3: N = 1..3 would move nothing; "all" is 61, not 58.
        let v3 = with(61, run(3, 1, 58));
        for (on_host, n) in [(0, 0), (1, 4), (57, 60), (58, 61), (99, 61)] {
            assert_eq!(v3.llama_n_cpu_moe(on_host), n, "{on_host} on the host");
        }
        for (n, on_host) in [(0, 0), (3, 0), (4, 1), (61, 58), (999, 58)] {
            assert_eq!(v3.moe_on_host(n), on_host, "--n-cpu-moe {n}");
        }
    }

    #[test]
    fn interleaved_blocks_are_skipped() {
        // Llama 4 Maverick: every second block, from the second.
        let m = with(48, run(1, 2, 24));
        for (on_host, n) in [(0, 0), (1, 2), (2, 4), (23, 46), (24, 48)] {
            assert_eq!(m.llama_n_cpu_moe(on_host), n, "{on_host} on the host");
        }
        assert_eq!(m.moe_on_host(3), 1);
    }

    #[test]
    fn a_plain_model_counts_its_layers() {
        let m = Model {
            n_layers: Some(48),
            n_moe_layers: Some(48),
            ..Model::default()
        };
        for n in 0..=48 {
            assert_eq!(m.llama_n_cpu_moe(n), n);
            assert_eq!(m.moe_on_host(n), n);
        }
    }

    #[test]
    fn windows_and_states_follow_llama_cpp() {
        let m = Model {
            kv_groups: Some(vec![
                KvGroup {
                    layers: 12,
                    bytes_per_token: 10,
                    window: Some(128),
                    state_bytes: 0,
                },
                KvGroup {
                    layers: 12,
                    bytes_per_token: 10,
                    window: None,
                    state_bytes: 7,
                },
            ]),
            ..Model::default()
        };
        assert_eq!(m.kv_bytes(4096, 1, 512), Some(10 * 768 + 10 * 4096 + 7));
        assert_eq!(m.kv_bytes(300, 1, 512), Some(10 * 512 + 10 * 512 + 7));
        assert_eq!(
            m.kv_bytes(4096, 3, 512),
            m.kv_bytes(4096, 1, 512).map(|b| 3 * b)
        );
        // An absurd context has a size too.
        assert!(m.kv_bytes(u64::MAX, 1, 512).unwrap() > u128::from(u64::MAX));
    }

    proptest! {
        #[test]
        fn n_is_the_smallest_that_does(
            first in 0u64..9, every in 1u64..5, count in 0u64..40, on_host in 0u64..50
        ) {
            let m = with(200, run(first, every, count));
            let n = m.llama_n_cpu_moe(on_host);
            prop_assert!(m.moe_on_host(n) >= on_host.min(count));
            if on_host > 0 && on_host < count {
                prop_assert!(m.moe_on_host(n - 1) < on_host);
            }
        }

        #[test]
        fn any_document_is_survived(
            runs in proptest::collection::vec((any::<u64>(), any::<u64>(), any::<u64>()), 0..4),
            n in any::<u64>(), ctx in any::<u64>(), seq in any::<u64>(), ubatch in any::<u64>()
        ) {
            let m = Model {
                moe_blocks: Some(runs.iter().map(|(first, every, count)| BlockRun {
                    first: *first, every: *every, count: *count
                }).collect()),
                kv_groups: Some(runs.iter().map(|(b, w, s)| KvGroup {
                    layers: 1, bytes_per_token: *b, window: Some(*w), state_bytes: *s
                }).collect()),
                ..Model::default()
            };
            let _ = (m.moe_on_host(n), m.llama_n_cpu_moe(n), m.kv_bytes(ctx, seq, ubatch));
        }
    }
}
