//! What the makers say about GPUs: `data/gpus.csv`, and the card that a name stands for.
//!
//! These are figures of data sheets, for rigs that cannot be measured; who uses one says so.

use std::fmt;

use crate::error::{Code, Coded};

const TABLE: &str = include_str!("../data/gpus.csv");

/// One card of the table.
#[derive(Debug, Clone, PartialEq)]
pub struct Card {
    /// What the driver calls it; several cards may share that.
    pub name: &'static str,
    /// What tells it from the others.
    pub label: &'static str,
    /// Memory, GiB.
    pub vram_gib: f64,
    /// Memory as a driver was seen to report it, MiB.
    pub reported_mib: Option<f64>,
    /// Kind of memory, such as "GDDR6X".
    pub memory: &'static str,
    /// Bandwidth of the memory, GB/s.
    pub bandwidth_gbps: f64,
    /// Width of the memory bus, bits.
    pub bus_bits: u64,
    /// PCIe generation.
    pub pcie_gen: u64,
    /// PCIe lanes.
    pub pcie_lanes: u64,
    /// Compute capability, such as "8.9".
    pub compute_capability: &'static str,
    /// Number formats and what computes in them: "tensor", "dp4a", "yes", "slow" or "no".
    pub formats: [(&'static str, &'static str); 5],
    /// Board power, W.
    pub tdp_w: Option<f64>,
    /// Where the figures come from.
    pub source: &'static str,
    /// Whether a second source "agrees" or "differs"; empty where there was none.
    pub cross_check: &'static str,
    /// What else must be known; often nothing.
    pub note: &'static str,
}

impl Card {
    /// Memory as the driver is likely to report it, MiB.
    pub fn vram_mib(&self) -> f64 {
        self.reported_mib.unwrap_or(self.vram_gib * 1024.0)
    }

    /// The formats that it computes in at full speed, joined by spaces.
    pub fn fast_formats(&self) -> String {
        self.formats
            .iter()
            .filter(|(_, how)| matches!(*how, "tensor" | "yes" | "dp4a"))
            .map(|(format, _)| *format)
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// Why no card was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnknownCard {
    /// No card bears that name.
    #[error("the table of GPUs has no {0:?}")]
    NoName(String),
    /// The name is known, but not with so much memory.
    #[error("the table of GPUs has no {name:?} of {mib} MiB")]
    NoSize {
        /// The name.
        name: String,
        /// The memory, whole MiB.
        mib: u64,
    },
    /// Several cards fit, and they differ.
    #[error("{asked:?} may be any of: {}", labels.join(", "))]
    Several {
        /// What was asked for.
        asked: String,
        /// The cards that fit.
        labels: Vec<&'static str>,
    },
}

impl Coded for UnknownCard {
    fn code(&self) -> Code {
        Code::InputUnknownGpu
    }
    fn hint(&self) -> Option<String> {
        Some("gpu-container-profile --list-gpus prints the names".into())
    }
}

/// All cards, in the order of the table: of those that share a name, the usual one comes first.
pub fn cards() -> impl Iterator<Item = Card> {
    TABLE.lines().skip(1).filter_map(card)
}

fn card(line: &'static str) -> Option<Card> {
    let mut cells = line.split(',');
    let mut next = || cells.next();
    Some(Card {
        name: next()?,
        label: next()?,
        vram_gib: next()?.parse().ok()?,
        reported_mib: optional(next()?)?,
        memory: next()?,
        bandwidth_gbps: next()?.parse().ok()?,
        bus_bits: next()?.parse().ok()?,
        pcie_gen: next()?.parse().ok()?,
        pcie_lanes: next()?.parse().ok()?,
        compute_capability: next()?,
        formats: [
            ("fp16", next()?),
            ("bf16", next()?),
            ("int8", next()?),
            ("fp8", next()?),
            ("fp4", next()?),
        ],
        tdp_w: optional(next()?)?,
        source: next()?,
        cross_check: next()?,
        note: next()?,
    })
}

// A cell may be empty, but not wrong.
#[allow(clippy::option_option)]
fn optional(cell: &str) -> Option<Option<f64>> {
    if cell.is_empty() {
        Some(None)
    } else {
        cell.parse().ok().map(Some)
    }
}

/// A name taken apart, so that "RTX4090", "GeForce RTX 4090" and "rtx 4090 24GB" are one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Words {
    /// Runs of letters and of digits in order, no case, no makers.
    words: Vec<String>,
    /// The memory that it names, GiB.
    size: Option<u32>,
}

impl Words {
    fn of(name: &str) -> Self {
        let mut words: Vec<String> = Vec::new();
        let mut size = None;
        let mut before = ' ';
        for c in name.to_lowercase().chars() {
            let joins =
                before.is_ascii_alphanumeric() && before.is_ascii_digit() == c.is_ascii_digit();
            if c.is_ascii_alphanumeric() {
                match words.last_mut() {
                    Some(word) if joins => word.push(c),
                    _ => words.push(c.into()),
                }
            }
            before = c;
        }
        words.retain(|w| !matches!(w.as_str(), "nvidia" | "geforce"));
        let unit = words
            .iter()
            .position(|w| matches!(w.as_str(), "gb" | "gib"));
        if let Some(at) = unit.and_then(|at| at.checked_sub(1)) {
            size = words.get(at).and_then(|number| number.parse().ok());
            if size.is_some() {
                words.drain(at..at + 2);
            }
        }
        Self { words, size }
    }

    /// Whether a card of this name may be meant by `asked`, which may leave the size out.
    fn meant_by(&self, asked: &Self, card: &Card) -> bool {
        self.words == asked.words && asked.fits(card)
    }

    fn fits(&self, card: &Card) -> bool {
        self.size
            .is_none_or(|size| f64::from(size) == card.vram_gib)
    }
}

/// What a driver reports of a card's memory: less than all with error correction on, and rounding
/// may add a little.
fn is_size(card: &Card, mib: f64) -> bool {
    let share = mib / (card.vram_gib * 1024.0);
    (0.9..=1.03).contains(&share) || card.reported_mib.is_some_and(|seen| seen == mib)
}

/// The card that a driver calls `name`, told from its namesakes by how much memory it reports.
///
/// Namesakes that differ in nothing that matters here count as one.
pub fn identify(name: &str, vram_total_mib: Option<f64>) -> Result<Card, UnknownCard> {
    let asked = Words::of(name);
    let named: Vec<Card> = cards().filter(|c| Words::of(c.name) == asked).collect();
    if named.is_empty() {
        return Err(UnknownCard::NoName(name.into()));
    }
    let mut fitting: Vec<Card> = match vram_total_mib {
        Some(mib) => named.into_iter().filter(|c| is_size(c, mib)).collect(),
        None => named,
    };
    let alike =
        |a: &Card, b: &Card| (a.vram_gib, a.bandwidth_gbps) == (b.vram_gib, b.bandwidth_gbps);
    match fitting.first() {
        None => Err(UnknownCard::NoSize {
            name: name.into(),
            mib: crate::units::floor_bytes(vram_total_mib.unwrap_or_default()),
        }),
        Some(first) if fitting.iter().all(|c| alike(c, first)) => Ok(fitting.swap_remove(0)),
        Some(_) => Err(several(name, &fitting)),
    }
}

fn several(asked: &str, cards: &[Card]) -> UnknownCard {
    UnknownCard::Several {
        asked: asked.into(),
        labels: cards.iter().map(|c| c.label).collect(),
    }
}

/// A card that a person asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Named {
    /// The card.
    pub card: Card,
    /// Others that the same words may mean.
    pub others: Vec<&'static str>,
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} GiB)", self.card.label, self.card.vram_gib)
    }
}

/// The card that a person means: its label, or the driver's name for it, or words that only one
/// card has in so few. Of cards that share a driver's name the first is taken.
pub fn named(asked: &str) -> Result<Named, UnknownCard> {
    let wanted = Words::of(asked);
    if wanted.words.is_empty() {
        return Err(UnknownCard::NoName(asked.into()));
    }
    let all: Vec<(Card, [Words; 2])> = cards()
        .map(|c| {
            let words = [c.label, c.name].map(Words::of);
            (c, words)
        })
        .collect();
    let such = |is: &dyn Fn(&Card, &Words) -> bool| -> Vec<Card> {
        all.iter()
            .filter(|(card, words)| words.iter().any(|w| is(card, w)))
            .map(|(card, _)| card.clone())
            .collect()
    };
    let mut found = such(&|_, words| *words == wanted);
    let mut others = such(&|card, words| words.meant_by(&wanted, card));
    if found.is_empty() {
        found.clone_from(&others);
    }
    if found.is_empty() {
        // The words need not be all of a name: "4090" is enough.
        let extra = |card: &Card, words: &Words| {
            let has_all = wanted.words.iter().all(|w| words.words.contains(w));
            (has_all && wanted.fits(card))
                .then(|| words.words.len() - wanted.words.len().min(words.words.len()))
        };
        let least = all
            .iter()
            .flat_map(|(card, words)| words.iter().filter_map(|w| extra(card, w)))
            .min()
            .ok_or_else(|| UnknownCard::NoName(asked.into()))?;
        found = such(&|card, words| extra(card, words) == Some(least));
        others.clone_from(&found);
    }
    let first = found.first().cloned();
    let card = first.ok_or_else(|| UnknownCard::NoName(asked.into()))?;
    if found.iter().any(|c| c.name != card.name) {
        return Err(several(asked, &found));
    }
    others.retain(|c| c.name == card.name && c.label != card.label);
    let others = others.iter().map(|c| c.label).collect();
    Ok(Named { card, others })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_line_is_a_card_with_plausible_figures() {
        let all: Vec<Card> = cards().collect();
        assert_eq!(all.len(), TABLE.lines().count() - 1);
        for c in all {
            assert!((2.0..=400.0).contains(&c.vram_gib), "{c:?}");
            assert!((30.0..=9000.0).contains(&c.bandwidth_gbps), "{c:?}");
            assert!(c.source.starts_with("https://"), "{c:?}");
            assert!(
                matches!(c.pcie_gen, 3..=6) && matches!(c.pcie_lanes, 4..=16),
                "{c:?}"
            );
            assert!(c.compute_capability.parse::<f64>().is_ok(), "{c:?}");
            for (_, how) in c.formats {
                assert!(
                    matches!(how, "tensor" | "dp4a" | "yes" | "slow" | "no"),
                    "{c:?}"
                );
            }
        }
    }

    #[test]
    fn every_name_resolves_to_its_card() {
        for c in cards() {
            let found = identify(c.name, Some(c.vram_mib())).unwrap();
            assert_eq!(
                (found.name, found.vram_gib, found.bandwidth_gbps),
                (c.name, c.vram_gib, c.bandwidth_gbps)
            );
            assert_eq!(named(c.label).unwrap().card, c);
            assert_eq!(named(c.name).unwrap().card.name, c.name);
        }
    }

    #[test]
    fn names_as_real_drivers_give_them() {
        // (name, MiB as printed, label)
        let cases = [
            ("NVIDIA A100-SXM4-80GB", Some(81920.0), "A100 SXM4 80 GB"),
            ("NVIDIA A100-PCIE-40GB", Some(40960.0), "A100 PCIe 40 GB"),
            ("NVIDIA A800-SXM4-80GB", Some(81920.0), "A800 SXM4 80 GB"),
            (
                "NVIDIA GeForce RTX 3060",
                Some(12288.0),
                "GeForce RTX 3060 12 GB",
            ),
            ("NVIDIA GeForce RTX 3080", Some(10240.0), "GeForce RTX 3080"),
            (
                "NVIDIA GeForce RTX 3080",
                Some(12288.0),
                "GeForce RTX 3080 12 GB",
            ),
            ("NVIDIA GeForce RTX 3090", Some(24576.0), "GeForce RTX 3090"),
            (
                "NVIDIA GeForce RTX 3090 Ti",
                Some(24564.0),
                "GeForce RTX 3090 Ti",
            ),
            ("NVIDIA GeForce RTX 4090", Some(24564.0), "GeForce RTX 4090"),
            ("NVIDIA GeForce RTX 5080", Some(16303.0), "GeForce RTX 5080"),
            ("NVIDIA GeForce RTX 5090", Some(32607.0), "GeForce RTX 5090"),
            (
                "NVIDIA RTX 4000 SFF Ada Generation",
                Some(20475.0),
                "RTX 4000 SFF Ada Generation",
            ),
            ("Tesla T4", Some(15360.0), "Tesla T4"),
            ("Quadro P2000", Some(5120.0), "Quadro P2000"),
            ("Quadro P400", Some(1998.0), "Quadro P400"),
            ("GeForce GTX 1080 Ti", Some(11178.0), "GeForce GTX 1080 Ti"),
            ("NVIDIA GB10", None, "GB10"),
            (
                "NVIDIA GeForce GTX 1650 Ti with Max-Q Design",
                Some(4096.0),
                "GeForce GTX 1650 Ti Max-Q",
            ),
        ];
        for (name, mib, label) in cases {
            assert_eq!(identify(name, mib).map(|c| c.label), Ok(label), "{name}");
        }
    }

    #[test]
    fn what_cannot_be_told_is_refused() {
        let name = |n: &str| UnknownCard::NoName(n.into());
        assert_eq!(identify("Stand-in", Some(1.0)), Err(name("Stand-in")));
        // Half a card is a partition of one, not the card.
        assert!(matches!(
            identify("NVIDIA GeForce RTX 4090", Some(12288.0)),
            Err(UnknownCard::NoSize { mib: 12288, .. })
        ));
        assert!(matches!(
            identify("NVIDIA GeForce RTX 3080", None),
            Err(UnknownCard::Several { .. })
        ));
        // Desktop and laptop card of one name, one size and one bandwidth.
        assert!(identify("NVIDIA GeForce RTX 2060", Some(6144.0)).is_ok());
    }

    #[test]
    fn what_people_write() {
        let cases = [
            ("RTX 4090", "GeForce RTX 4090"),
            ("4090", "GeForce RTX 4090"),
            ("rtx4090", "GeForce RTX 4090"),
            ("RTX 4090 24GB", "GeForce RTX 4090"),
            ("RTX 4090 48GB", ""),
            ("RTX A2000", "RTX A2000"),
            ("a2000 12gb", "RTX A2000 12 GB"),
            ("GTX 1060", ""),
            (
                "nvidia geforce rtx 4090 laptop gpu",
                "GeForce RTX 4090 Mobile",
            ),
            ("4090 laptop", "GeForce RTX 4090 Mobile"),
            ("RTX 3080 12GB", "GeForce RTX 3080 12 GB"),
            ("RTX 3080 12GiB", "GeForce RTX 3080 12 GB"),
            ("RTX 3080", "GeForce RTX 3080"),
            ("RTX 4060 Ti", "GeForce RTX 4060 Ti 8 GB"),
            ("L40S", "L40S"),
            ("H100", ""),
            ("", ""),
            ("GeForce", ""),
        ];
        for (asked, label) in cases {
            let found = named(asked);
            if label.is_empty() {
                assert!(found.is_err(), "{asked}: {found:?}");
            } else {
                assert_eq!(found.unwrap().card.label, label, "{asked}");
            }
        }
        assert_eq!(
            named("RTX 3080").unwrap().others,
            ["GeForce RTX 3080 12 GB"]
        );
        assert!(named("RTX 3080 12 GB").unwrap().others.is_empty());
    }

    proptest! {
        #[test]
        fn any_name_is_answered(name in any::<String>(), mib in any::<f64>()) {
            let _ = (identify(&name, Some(mib)), identify(&name, None), named(&name));
        }
    }
}
