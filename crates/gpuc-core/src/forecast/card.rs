//! Which law of decode a card follows: its vendor's backend and, within it, its generation.

/// Runtime backends whose costs differ in kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Backend {
    /// NVIDIA cards under CUDA.
    Cuda,
    /// AMD cards under ROCm or Vulkan.
    Amd,
    /// Apple's chips under Metal.
    Apple,
}

impl Backend {
    /// Its name in the parameter file.
    pub fn key(self) -> &'static str {
        match self {
            Self::Cuda => "cuda",
            Self::Amd => "amd",
            Self::Apple => "apple",
        }
    }

    /// All of them.
    pub const ALL: [Self; 3] = [Self::Cuda, Self::Amd, Self::Apple];
}

/// A card, as far as the forecast tells cards apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Card {
    /// Its backend.
    pub backend: Backend,
    /// Its generation, "unknown" where the name does not tell.
    pub generation: &'static str,
}

/// Words of a name, lower case, and the generation that they mean; the first match counts.
const NVIDIA: &[(&str, &str)] = &[
    ("gb10", "blackwell"),
    ("gb200", "blackwell"),
    ("b200", "blackwell"),
    ("b100", "blackwell"),
    ("blackwell", "blackwell"),
    ("rtx 50", "blackwell"),
    ("h100", "hopper"),
    ("h200", "hopper"),
    ("gh200", "hopper"),
    ("h20", "hopper"),
    ("ada", "ada"),
    ("rtx 40", "ada"),
    ("l40", "ada"),
    ("nvidia l4", "ada"),
    ("rtx 30", "ampere"),
    ("rtx a", "ampere"),
    ("nvidia a", "ampere"),
    ("orin", "ampere"),
    ("rtx 20", "turing"),
    ("quadro rtx", "turing"),
    ("titan rtx", "turing"),
    ("gtx 16", "turing"),
    ("tesla t4", "turing"),
    ("nvidia t4", "turing"),
    ("v100", "volta"),
    ("titan v", "volta"),
    ("gtx 10", "pascal"),
    ("titan xp", "pascal"),
    ("p100", "pascal"),
    ("p40", "pascal"),
    ("tesla p", "pascal"),
    ("quadro p", "pascal"),
];

const AMD: &[(&str, &str)] = &[
    ("8060s", "rdna3.5"),
    ("8050s", "rdna3.5"),
    ("strix", "rdna3.5"),
    ("r9700", "rdna4"),
    ("rx 90", "rdna4"),
    ("rx 7", "rdna3"),
    ("rx 6", "rdna2"),
    ("mi3", "cdna3"),
    ("mi2", "cdna2"),
    ("mi1", "cdna"),
    ("mi50", "gcn"),
];

const APPLE: &[(&str, &str)] = &[
    ("m1", "m1"),
    ("m2", "m2"),
    ("m3", "m3"),
    ("m4", "m4"),
    ("m5", "m5"),
];

/// Compute capabilities as `major.minor` and their generations.
const CAPABILITIES: &[(&str, &str)] = &[
    ("6.", "pascal"),
    ("7.0", "volta"),
    ("7.2", "volta"),
    ("7.5", "turing"),
    ("8.9", "ada"),
    ("8.", "ampere"),
    ("9.", "hopper"),
    ("10.", "blackwell"),
    ("11.", "blackwell"),
    ("12.", "blackwell"),
];

const UNKNOWN: &str = "unknown";

impl Card {
    /// None at all: the processor alone, of which the law knows what it got out of RAM beside a
    /// card of NVIDIA's, whose rows with offload are the most.
    pub(super) const PROCESSOR: Self = Self {
        backend: Backend::Cuda,
        generation: "processor",
    };
}

impl Card {
    /// The card of that name; `capability` decides the generation of an NVIDIA card where it is
    /// known. None for a card of no vendor that anything is known of.
    pub fn of(name: &str, capability: Option<&str>) -> Option<Self> {
        let name = name.to_lowercase();
        let found = |table: &[(&str, &'static str)]| {
            let hit = table.iter().find(|(word, _)| name.contains(word));
            hit.map_or(UNKNOWN, |(_, generation)| *generation)
        };
        if name.contains("apple") {
            return Some(Self {
                backend: Backend::Apple,
                generation: found(APPLE),
            });
        }
        if ["amd", "radeon", "strix"].iter().any(|w| name.contains(w)) || name.starts_with("rx ") {
            return Some(Self {
                backend: Backend::Amd,
                generation: found(AMD),
            });
        }
        let by_capability = capability.and_then(|c| {
            let hit = CAPABILITIES.iter().find(|(start, _)| c.starts_with(start));
            hit.map(|(_, generation)| *generation)
        });
        let by_name = found(NVIDIA);
        let nvidia = [
            "nvidia", "geforce", "rtx", "gtx", "tesla", "quadro", "titan",
        ];
        let known = by_capability.is_some()
            || by_name != UNKNOWN
            || nvidia.iter().any(|w| name.contains(w));
        known.then(|| Self {
            backend: Backend::Cuda,
            generation: by_capability.unwrap_or(by_name),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_generations() {
        for (name, backend, generation) in [
            ("NVIDIA GeForce RTX 5070 Ti", Backend::Cuda, "blackwell"),
            (
                "NVIDIA RTX PRO 6000 Blackwell Workstation Edition",
                Backend::Cuda,
                "blackwell",
            ),
            ("NVIDIA GB10", Backend::Cuda, "blackwell"),
            ("NVIDIA GeForce RTX 4070 Ti SUPER", Backend::Cuda, "ada"),
            ("NVIDIA RTX 4000 SFF Ada Generation", Backend::Cuda, "ada"),
            ("NVIDIA L4", Backend::Cuda, "ada"),
            ("NVIDIA RTX A4000", Backend::Cuda, "ampere"),
            ("NVIDIA A100-SXM4-80GB", Backend::Cuda, "ampere"),
            ("RTX 3090", Backend::Cuda, "ampere"),
            ("NVIDIA H100 80GB HBM3", Backend::Cuda, "hopper"),
            ("Tesla T4", Backend::Cuda, "turing"),
            ("NVIDIA GeForce GTX 1070", Backend::Cuda, "pascal"),
            ("NVIDIA GeForce RTX 6090", Backend::Cuda, "unknown"),
            ("AMD Radeon RX 7900 XTX", Backend::Amd, "rdna3"),
            ("AMD Radeon 8060S (Strix Halo)", Backend::Amd, "rdna3.5"),
            ("Apple M2 Ultra", Backend::Apple, "m2"),
        ] {
            assert_eq!(
                Card::of(name, None),
                Some(Card {
                    backend,
                    generation
                }),
                "{name}"
            );
        }
        assert_eq!(Card::of("Intel Arc B580", None), None);
        assert_eq!(Card::of("", None), None);
    }

    #[test]
    fn a_compute_capability_beats_the_name() {
        let card = Card::of("Graphics Device", Some("8.9")).unwrap();
        assert_eq!((card.backend, card.generation), (Backend::Cuda, "ada"));
    }
}
