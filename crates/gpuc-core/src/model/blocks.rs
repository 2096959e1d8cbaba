//! Sets of blocks: which carry experts, which attend to everything.
//!
//! A configuration names them by a rule or by a list; a rule is never written out, since a file may
//! claim any number of layers.

use crate::document::BlockRun;

/// A set of block indices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Blocks {
    /// `first`, `first + every`, ... below `end`.
    Every {
        /// Index of the first.
        first: u64,
        /// Distance, at least 1.
        every: u64,
        /// One past the last index allowed.
        end: u64,
    },
    /// These, rising.
    Listed(Vec<u64>),
}

impl Blocks {
    /// No block.
    pub(super) const NONE: Self = Self::Listed(Vec::new());

    /// All blocks from `first` to below `end`.
    pub(super) fn range(first: u64, end: u64) -> Self {
        Self::Every {
            first,
            every: 1,
            end,
        }
    }

    /// Every `step`th block below `end`, the first being `step - 1`.
    pub(super) fn each(step: u64, end: u64) -> Self {
        let every = step.max(1);
        Self::Every {
            first: every - 1,
            every,
            end,
        }
    }

    /// The blocks for which `is` holds, one answer a block, below `end`.
    pub(super) fn of(is: impl Iterator<Item = bool>, end: u64) -> Self {
        Self::Listed(
            (0..end)
                .zip(is)
                .filter(|(_, yes)| *yes)
                .map(|(i, _)| i)
                .collect(),
        )
    }

    /// These indices, in any order, those from `end` on left out.
    pub(super) fn listed(mut indices: Vec<u64>, end: u64) -> Self {
        indices.retain(|i| *i < end);
        indices.sort_unstable();
        indices.dedup();
        Self::Listed(indices)
    }

    /// How many lie below block `n`.
    pub(super) fn below(&self, n: u64) -> u64 {
        match self {
            Self::Every { first, every, end } => {
                n.min(*end).saturating_sub(*first).div_ceil((*every).max(1))
            }
            Self::Listed(list) => list.partition_point(|i| *i < n) as u64,
        }
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.below(u64::MAX)
    }

    /// The same as runs at equal distances.
    pub(super) fn runs(&self) -> Vec<BlockRun> {
        match self {
            Self::Every { first, every, .. } => {
                let run = BlockRun {
                    first: *first,
                    every: (*every).max(1),
                    count: self.count(),
                };
                if run.count > 0 { vec![run] } else { Vec::new() }
            }
            Self::Listed(list) => {
                let mut runs: Vec<BlockRun> = Vec::new();
                for i in list {
                    if let Some(run) = runs.last_mut() {
                        let step = i - run.first - (run.count - 1) * run.every;
                        if run.count == 1 {
                            run.every = step;
                        }
                        if step == run.every {
                            run.count += 1;
                            continue;
                        }
                    }
                    runs.push(BlockRun {
                        first: *i,
                        every: 1,
                        count: 1,
                    });
                }
                runs
            }
        }
    }

    /// Whether these are simply the first blocks.
    pub(super) fn is_leading(&self) -> bool {
        match self.runs().as_slice() {
            [] => true,
            [run] => run.first == 0 && (run.every == 1 || run.count == 1),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(list: &[u64]) -> Vec<(u64, u64, u64)> {
        Blocks::listed(list.to_vec(), 100)
            .runs()
            .iter()
            .map(|r| (r.first, r.every, r.count))
            .collect()
    }

    #[test]
    fn lists_become_runs() {
        assert_eq!(runs(&[]), []);
        assert_eq!(runs(&[5]), [(5, 1, 1)]);
        assert_eq!(runs(&[3, 4, 5]), [(3, 1, 3)]);
        assert_eq!(runs(&[1, 3, 5, 7]), [(1, 2, 4)]);
        assert_eq!(runs(&[0, 1, 2, 7, 8]), [(0, 1, 3), (7, 1, 2)]);
        assert_eq!(runs(&[8, 1, 1, 200]), [(1, 7, 2)]);
    }

    #[test]
    fn rules_count_without_being_written_out() {
        let all = Blocks::range(0, u64::MAX);
        assert_eq!(all.count(), u64::MAX);
        assert_eq!(Blocks::each(4, 48).count(), 12);
        assert_eq!(Blocks::each(4, 48).below(8), 2);
        assert_eq!(Blocks::each(2, 61).count(), 30);
        assert_eq!(Blocks::range(30, 24).count(), 0);
        assert!(Blocks::range(0, 9).is_leading() && !Blocks::range(1, 9).is_leading());
        assert!(Blocks::NONE.is_leading());
    }
}
