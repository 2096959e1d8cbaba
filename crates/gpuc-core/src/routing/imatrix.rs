//! An importance matrix as llama-imatrix writes it -> a trace.
//!
//! For each MoE block the file holds a tensor `blk.N.ffn_down_exps.weight.counts`: how many tokens
//! reached each expert. Only those few numbers are read; the sums beside them, which can be a
//! gigabyte, are not.

use crate::document::{LayerCounts, MAX_EXPERTS, MAX_LAYERS, Trace};
use crate::error::{Code, Coded};
use crate::header::{HeaderError, TensorInfo};

use super::element::Element;

const PREFIX: &str = "blk.";
const SUFFIX: &str = ".ffn_down_exps.weight.counts";

/// What is wrong with an importance matrix.
#[derive(Debug, thiserror::Error)]
pub enum ImatrixError {
    /// The format before GGUF.
    #[error("this is llama-imatrix's old .dat format, which holds no counts per expert")]
    OldFormat,
    /// No GGUF file, or one with a damaged header.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// No MoE block was measured.
    #[error("there are no counts per expert (blk.N{SUFFIX}) in it")]
    NoCounts,
    /// Two tensors claim the same block.
    #[error("block {0} has two tensors of counts")]
    RepeatedLayer(u64),
    /// More tensors of counts than any model has blocks.
    #[error("more than {MAX_LAYERS} tensors of counts")]
    TooManyLayers,
    /// More counts than any model has experts.
    #[error("block {layer} has {elements} counts, more than {MAX_EXPERTS}")]
    TooManyExperts {
        /// The block.
        layer: u64,
        /// Its tensor's elements.
        elements: u64,
    },
    /// A quantised or unknown element type.
    #[error("the counts of block {layer} are of type {ggml_type}, in which no counts are kept")]
    BadType {
        /// The block.
        layer: u64,
        /// ggml's number of the type.
        ggml_type: u32,
    },
    /// The file ends too early.
    #[error("the counts of block {0} are cut short")]
    CutShort(u64),
    /// Negative, infinite, not a number, or beyond 64 bits.
    #[error("block {layer}, expert {expert}: {value} is no count")]
    NotACount {
        /// The block.
        layer: u64,
        /// The expert.
        expert: usize,
        /// What stands there.
        value: f64,
    },
    /// The counts of a block do not fit 64 bits together.
    #[error("the counts of block {0} sum to more than 2^64")]
    TooMuch(u64),
}

impl Coded for ImatrixError {
    fn code(&self) -> Code {
        Code::InputBadImatrix
    }

    fn hint(&self) -> Option<String> {
        Some(
            match self {
                Self::OldFormat => {
                    "run llama-imatrix of a current llama.cpp on the model again (without \
                     --output-format dat), or pass the counts with --trace"
                }
                Self::Header(HeaderError::BigEndian) => {
                    "convert it with gguf-convert-endian, or write it anew on this machine"
                }
                Self::Header(HeaderError::NotGguf { .. } | HeaderError::Read(_)) => {
                    "name the file that llama-imatrix wrote, or pass the counts with --trace"
                }
                Self::NoCounts => "was it measured on a model with experts?",
                _ => "the file is damaged: write it again with llama-imatrix, or pass --trace",
            }
            .into(),
        )
    }
}

/// A tensor of counts, where it lies, and what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountsTensor {
    layer: u64,
    element: Element,
    elements: u64,
    offset: u64,
}

impl CountsTensor {
    /// Its first byte in the file.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Its size; bounded, however large the header claims it to be.
    pub fn len(&self) -> usize {
        usize::try_from(self.elements).map_or(usize::MAX, |n| n.saturating_mul(self.element.size()))
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.elements == 0
    }

    /// The block that the counts belong to.
    pub fn layer(&self) -> u64 {
        self.layer
    }

    /// The counts in `bytes`, the tensor's own.
    pub fn counts(&self, bytes: &[u8]) -> Result<LayerCounts, ImatrixError> {
        if bytes.len() < self.len() {
            return Err(ImatrixError::CutShort(self.layer));
        }
        let mut counts = LayerCounts {
            layer_index: Some(self.layer),
            expert_counts: Vec::new(),
        };
        let mut sum = 0u64;
        let items = bytes.chunks_exact(self.element.size());
        for (expert, item) in items.enumerate().take(self.len() / self.element.size()) {
            let number = self
                .element
                .read(item)
                .ok_or(ImatrixError::CutShort(self.layer))?;
            let n = number.count().map_err(|value| ImatrixError::NotACount {
                layer: self.layer,
                expert,
                value,
            })?;
            sum = sum
                .checked_add(n)
                .ok_or(ImatrixError::TooMuch(self.layer))?;
            counts.expert_counts.push(n);
        }
        Ok(counts)
    }
}

/// The tensors of counts among a header's `tensors`, in the file's order.
pub fn counts_tensors(tensors: &[TensorInfo]) -> Result<Vec<CountsTensor>, ImatrixError> {
    let mut found: Vec<CountsTensor> = Vec::new();
    for t in tensors {
        let Some(layer) = layer_of(&t.name) else {
            continue;
        };
        let (ggml_type, elements) = (t.kind.0, t.elements());
        let element = Element::of(ggml_type).ok_or(ImatrixError::BadType { layer, ggml_type })?;
        if elements > MAX_EXPERTS as u64 {
            return Err(ImatrixError::TooManyExperts { layer, elements });
        }
        if found.len() == MAX_LAYERS {
            return Err(ImatrixError::TooManyLayers);
        }
        found.push(CountsTensor {
            layer,
            element,
            elements,
            offset: t.offset,
        });
    }
    let mut layers: Vec<u64> = found.iter().map(|t| t.layer).collect();
    layers.sort_unstable();
    if let Some(layer) = layers.windows(2).find_map(|w| match w {
        [a, b] if a == b => Some(*a),
        _ => None,
    }) {
        return Err(ImatrixError::RepeatedLayer(layer));
    }
    if found.is_empty() {
        return Err(ImatrixError::NoCounts);
    }
    Ok(found)
}

/// The trace of `layers`, in the file's order, each token sent to `topk` experts.
///
/// The first tensor in the file says how many experts there are; the first block, how many tokens.
pub fn imatrix_trace(mut layers: Vec<LayerCounts>, topk: u64, model: Option<String>) -> Trace {
    let num_experts = layers.first().map_or(0, |l| l.expert_counts.len() as u64);
    layers.sort_by_key(|l| l.layer_index);
    let visits = layers.first().map_or(0, LayerCounts::total);
    Trace {
        model,
        num_experts,
        experts_per_token: Some(topk),
        n_tokens: Some(visits.checked_div(topk).unwrap_or(0)),
        layers,
        ..Trace::default()
    }
}

/// N in `blk.N.ffn_down_exps.weight.counts`.
fn layer_of(name: &str) -> Option<u64> {
    let number = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    if number.bytes().all(|b| b.is_ascii_digit()) {
        number.parse().ok()
    } else {
        None
    }
}

/// Whether a file that starts with `bytes` is an importance matrix of the format before GGUF: a
/// number of entries, then the length of the first one's name and the name, as 32-bit integers.
pub fn is_old_imatrix(bytes: &[u8]) -> bool {
    let word = |at: usize| {
        let four = bytes.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(i32::from_le_bytes(four)).ok()
    };
    let name = || {
        let (entries, length) = (word(0)?, word(4)?);
        let plausible = (1..1 << 20).contains(&entries) && (1..256).contains(&length);
        bytes.get(8..8 + length).filter(|_| plausible)
    };
    name().is_some_and(|n| n.iter().all(u8::is_ascii_graphic) && n.contains(&b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::GgmlType;
    use proptest::prelude::*;

    fn listed(name: &str, ggml_type: u32, elements: u64) -> TensorInfo {
        TensorInfo {
            name: name.into(),
            dims: [1, elements, 1, 1],
            kind: GgmlType(ggml_type),
            offset: 0,
            bytes: 0,
            size_known: true,
        }
    }

    fn counts(ggml_type: u32, bytes: &[u8]) -> Result<Vec<u64>, ImatrixError> {
        let size = Element::of(ggml_type).unwrap().size();
        let name = format!("blk.0{SUFFIX}");
        let tensor = listed(&name, ggml_type, (bytes.len() / size) as u64);
        let found = counts_tensors(&[tensor])?;
        Ok(found[0].counts(bytes)?.expert_counts)
    }

    #[test]
    fn only_the_down_projections_counts_are_taken() {
        let names = [
            "blk.x.ffn_down_exps.weight.counts",
            "blk..ffn_down_exps.weight.counts",
            "blk.+1.ffn_down_exps.weight.counts",
            "blk.-1.ffn_down_exps.weight.counts",
            "blk.0.ffn_down_exps.weight.counts.old",
            "blk.0.ffn_gate_exps.weight.counts",
            "blk.0.ffn_down_exps.weight.in_sum2",
            "v.blk.0.ffn_down_exps.weight.counts",
        ];
        let none = counts_tensors(&names.map(|n| listed(n, 0, 2)));
        assert!(matches!(none, Err(ImatrixError::NoCounts)), "{none:?}");
        let two = [
            listed("blk.11.ffn_down_exps.weight.counts", 0, 2),
            listed("output.weight.counts", 0, 1),
            listed("blk.2.ffn_down_exps.weight.counts", 0, 2),
        ];
        let layers: Vec<_> = counts_tensors(&two)
            .unwrap()
            .iter()
            .map(CountsTensor::layer)
            .collect();
        assert_eq!(layers, [11, 2]);
    }

    #[test]
    fn what_a_header_may_claim_is_bounded() {
        let name = "blk.7.ffn_down_exps.weight.counts";
        let huge = counts_tensors(&[listed(name, 0, u64::MAX)]);
        assert!(matches!(
            huge,
            Err(ImatrixError::TooManyExperts { layer: 7, .. })
        ));
        let twice = counts_tensors(&[
            listed("blk.007.ffn_down_exps.weight.counts", 0, 2),
            listed(name, 0, 2),
        ]);
        assert!(matches!(twice, Err(ImatrixError::RepeatedLayer(7))));
        let quantised = counts_tensors(&[listed(name, 8, 32)]);
        assert!(matches!(
            quantised,
            Err(ImatrixError::BadType { ggml_type: 8, .. })
        ));
        let names: Vec<_> = (0..=MAX_LAYERS)
            .map(|n| listed(&format!("blk.{n}{SUFFIX}"), 0, 1))
            .collect();
        let many = counts_tensors(&names);
        assert!(matches!(many, Err(ImatrixError::TooManyLayers)));
    }

    #[test]
    fn fractions_are_rounded_and_nonsense_is_refused() {
        let f32s = |x: &[f32]| x.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
        assert_eq!(
            counts(0, &f32s(&[0.5, 1.5, 2.5, 10.9])).unwrap(),
            [0, 2, 2, 11]
        );
        for bad in [-1.0, -0.5, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30] {
            let e = counts(0, &f32s(&[1.0, bad])).unwrap_err();
            assert!(
                matches!(e, ImatrixError::NotACount { expert: 1, .. }),
                "{bad}: {e:?}"
            );
        }
        let i64s: Vec<u8> = [i64::MAX, i64::MAX, 5]
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect();
        assert!(matches!(counts(27, &i64s), Err(ImatrixError::TooMuch(0))));
        assert!(counts(24, &[1, 0xff]).is_err());
        let name = format!("blk.3{SUFFIX}");
        let found = counts_tensors(&[listed(&name, 0, 2)]).unwrap();
        assert!(matches!(
            found[0].counts(&[0; 7]),
            Err(ImatrixError::CutShort(3))
        ));
    }

    #[test]
    fn the_first_tensor_gives_the_experts_and_the_first_block_the_tokens() {
        let layer = |n, counts: &[u64]| LayerCounts {
            layer_index: Some(n),
            expert_counts: counts.to_vec(),
        };
        let layers = vec![layer(3, &[1, 1, 9]), layer(1, &[3, 5]), layer(2, &[8; 4])];
        let t = imatrix_trace(layers.clone(), 3, Some("m".into()));
        assert_eq!(
            (t.num_experts, t.n_tokens, t.experts_per_token),
            (3, Some(2), Some(3))
        );
        let order: Vec<_> = t.layers.iter().map(|l| l.layer_index).collect();
        assert_eq!(order, [Some(1), Some(2), Some(3)]);
        assert_eq!(imatrix_trace(layers, 0, None).n_tokens, Some(0));
        assert_eq!(imatrix_trace(Vec::new(), 8, None).n_tokens, Some(0));
    }

    #[test]
    fn the_old_format_is_known_by_its_first_entry() {
        let mut old = vec![0x1c, 0, 0, 0, 21, 0, 0, 0];
        old.extend(b"blk.0.ffn_down.weight\0\0\0\0");
        assert!(is_old_imatrix(&old));
        for other in [
            &b"GGUF\x03\0\0\0"[..],
            b"",
            &old[..20],
            b"PK\x03\x04",
            &[0; 64],
        ] {
            assert!(!is_old_imatrix(other), "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_counts_or_an_error(
            bytes in prop::collection::vec(any::<u8>(), 0..64),
            ggml_type in prop::sample::select(vec![0u32, 1, 24, 25, 26, 27, 28]),
        ) {
            let _ = counts(ggml_type, &bytes);
            let _ = is_old_imatrix(&bytes);
        }
    }
}
