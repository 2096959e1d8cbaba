//! Bits of a weight for each quantisation tag.
//!
//! A tag names a mixture, not a type: what it costs a weight depends on the model's shapes, and only
//! a file's header knows exactly. These are the figures to plan with when there is no file.

use super::error::ModelError;
use crate::document::Quantization;

/// Tags with the bits of a weight that plans have always been made with.
const USUAL: &[(&str, f64)] = &[
    ("q2_k", 3.35),
    ("q3_k_s", 3.50),
    ("q3_k_m", 3.91),
    ("q3_k_l", 4.27),
    ("q4_0", 4.55),
    ("q4_1", 4.78),
    ("q4_k_s", 4.57),
    ("q4_k_m", 4.83),
    ("q5_0", 5.54),
    ("q5_1", 6.00),
    ("q5_k_s", 5.52),
    ("q5_k_m", 5.67),
    ("q6_k", 6.56),
    ("q8_0", 8.50),
    ("iq2_xxs", 2.06),
    ("iq3_xxs", 3.06),
    ("iq4_xs", 4.25),
    ("iq4_nl", 4.50),
    ("mxfp4", 4.25),
    ("fp8", 8.0),
    ("f16", 16.0),
    ("bf16", 16.0),
    ("f32", 32.0),
];

/// Further tags of llama-quantize and types of ggml. Mixtures: what llama.cpp's README measured on
/// Llama 3.1 8B. Types that are used for every weight: bytes of a block over its elements.
const FURTHER: &[(&str, f64)] = &[
    ("q1_0", 1.125),
    ("iq1_s", 2.0042),
    ("iq1_m", 2.1460),
    ("iq2_xs", 2.5882),
    ("iq2_s", 2.7403),
    ("iq2_m", 2.9294),
    ("iq3_xs", 3.4977),
    ("iq3_s", 3.6606),
    ("iq3_m", 3.7628),
    ("q2_k_s", 2.9697),
    // llama-quantize takes these three for their _M mixtures.
    ("q3_k", 3.91),
    ("q4_k", 4.83),
    ("q5_k", 5.67),
    ("tq1_0", 1.6875),
    ("tq2_0", 2.0625),
    ("nvfp4", 4.5),
    ("q8_1", 9.0),
    ("q8_k", 9.125),
    ("fp16", 16.0),
    ("fp32", 32.0),
    ("f64", 64.0),
];

/// Variants that publishers of GGUF files make by hand: embedding, output and some tensors a size up.
const VARIANTS: &[(&str, f64)] = &[
    ("q2_k_l", 3.45),
    ("q2_k_xl", 3.45),
    ("q3_k_xl", 4.40),
    ("q4_k_l", 4.95),
    ("q4_k_xl", 4.95),
    ("q5_k_l", 5.80),
    ("q5_k_xl", 5.80),
    ("q6_k_l", 6.70),
    ("q6_k_s", 6.56),
    ("q6_k_xl", 7.10),
    ("q8_k_xl", 9.60),
    ("iq1_xs", 2.0042),
    ("iq2_xl", 2.9294),
    ("iq4_s", 4.50),
    ("iq4_xl", 4.83),
    ("iq4_nl_xl", 4.83),
];

/// Tags whose plain figure is the type's own, smaller than what a mixture of it comes to; a "UD-"
/// file, which keeps more tensors large, is planned with the measured one.
const DYNAMIC: &[(&str, f64)] = &[("iq2_xxs", 2.3824), ("iq3_xxs", 3.2548), ("iq4_xs", 4.4597)];

/// Methods of quantised safetensors files, with their usual bits and weights that share a scale.
const METHODS: &[(&str, f64, u64)] = &[
    ("gptq", 4.0, 128),
    ("awq", 4.0, 128),
    ("int4", 4.0, 128),
    ("int8", 8.0, 0),
    ("nf4", 4.0, 64),
];

/// Tags that most models are published in, largest first.
pub const COMMON: [&str; 9] = [
    "q8_0", "q6_k", "q5_k_m", "q4_k_m", "iq4_xs", "q3_k_m", "iq3_xxs", "q2_k", "iq2_xxs",
];

/// Longest tag that is compared with the known ones.
const LONGEST_TAG: usize = 64;

/// What a weight takes, in bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct Weights {
    /// A weight of a routed expert.
    pub expert: f64,
    /// Any other weight.
    pub rest: f64,
    /// What was assumed to get there.
    pub note: Option<String>,
}

/// A tag in the one spelling that the tables have.
fn normalised(tag: &str) -> String {
    tag.to_lowercase()
        .replace("gguf-", "")
        .replace('-', "_")
        .trim()
        .to_string()
}

fn in_table(table: &[(&str, f64)], tag: &str) -> Option<f64> {
    table.iter().find(|(k, _)| *k == tag).map(|(_, bits)| *bits)
}

fn bits_of(tag: &str) -> Option<f64> {
    [USUAL, FURTHER, VARIANTS]
        .iter()
        .find_map(|table| in_table(table, tag))
}

fn whole(bits: f64) -> Weights {
    Weights {
        expert: bits / 8.0,
        rest: bits / 8.0,
        note: None,
    }
}

/// Bytes of a weight under `tag`; without one, `dtype_bytes`.
///
/// `published` is what the model's configuration says about its own quantisation: bits and group
/// size of a tag such as "gptq" are taken from it.
pub fn weights(
    tag: Option<&str>,
    dtype_bytes: f64,
    published: Option<&Quantization>,
) -> Result<Weights, ModelError> {
    let Some(given) = tag.filter(|t| !t.is_empty()) else {
        return Ok(Weights {
            expert: dtype_bytes,
            rest: dtype_bytes,
            note: None,
        });
    };
    let tag = normalised(given);
    match tag.as_str() {
        // Only the experts are that small; attention, embeddings and output stay near f16.
        "mxfp4" => {
            return Ok(Weights {
                rest: 2.0,
                ..whole(4.25)
            });
        }
        "mxfp4_moe" => {
            return Ok(Weights {
                rest: 8.5 / 8.0,
                ..whole(4.25)
            });
        }
        _ => {}
    }
    if let Some(bits) = bits_of(&tag) {
        return Ok(whole(bits));
    }
    if let Some(base) = tag.strip_prefix("ud_")
        && let Some(bits) = in_table(DYNAMIC, base).or_else(|| bits_of(base))
    {
        return Ok(Weights {
            note: Some(format!(
                "{given}: a mixture made by hand, planned at {bits} bits a weight; the file knows better"
            )),
            ..whole(bits)
        });
    }
    match method(&tag, published) {
        Some(w) => Ok(w),
        None => Err(ModelError::UnknownQuant {
            tag: given.to_string(),
            nearest: nearest(&tag),
        }),
    }
}

/// Bytes of a routed expert's weight.
pub fn bytes_per_weight(
    tag: Option<&str>,
    dtype_bytes: f64,
    published: Option<&Quantization>,
) -> Result<f64, ModelError> {
    Ok(weights(tag, dtype_bytes, published)?.expert)
}

/// Bytes of a weight that is not a routed expert's.
pub fn non_expert_bytes_per_weight(
    tag: Option<&str>,
    dtype_bytes: f64,
    published: Option<&Quantization>,
) -> Result<f64, ModelError> {
    Ok(weights(tag, dtype_bytes, published)?.rest)
}

/// Methods of safetensors files: bits, and the scale that each group carries.
fn method(tag: &str, published: Option<&Quantization>) -> Option<Weights> {
    let name = match tag {
        "gptq_int4" | "gptq_4bit" | "gptqmodel" => "gptq",
        "awq_int4" | "awq_4bit" | "awq_marlin" => "awq",
        "w4a16" | "int4_w4a16" | "4bit" | "autoround" | "auto_round" | "compressed_tensors" => {
            "int4"
        }
        "w8a8" | "w8a16" | "int8_w8a8" | "8bit" | "gptq_int8" => "int8",
        "bnb_4bit" | "bitsandbytes" | "bnb" | "fp4" => "nf4",
        other => other,
    };
    let (name, usual_bits, usual_group) = METHODS.iter().find(|(k, ..)| *k == name)?;
    // What the configuration says counts when it speaks of the same method.
    let same = published.filter(|p| {
        p.method.as_deref().is_some_and(|m| {
            let m = normalised(m);
            m.contains(name) || tag.contains(&m) || (*name == "nf4" && m == "bitsandbytes")
        })
    });
    let said = same.and_then(|p| p.bits).filter(|b| *b > 0.0 && *b <= 64.0);
    let bits = said.unwrap_or(*usual_bits);
    let group = same
        .and_then(|p| p.group_size)
        .filter(|g| *g > 0)
        .or_else(|| (*usual_group > 0 && bits <= 4.0).then_some(*usual_group));
    // A 16-bit scale for each group, and for gptq and awq its zero point; bitsandbytes keeps a
    // 32-bit maximum.
    let overhead = match (*name, group) {
        (_, None) => 0.0,
        ("gptq" | "awq", Some(g)) => (16.0 + bits) / g as f64,
        ("nf4", Some(g)) => 32.0 / g as f64,
        (_, Some(g)) => 16.0 / g as f64,
    };
    let whence = if said.is_some() {
        "as the configuration says"
    } else {
        "the usual figures"
    };
    let grouped = group.map_or(String::new(), |g| format!(" in groups of {g}"));
    Some(Weights {
        note: Some(format!(
            "{name}: {bits} bits a weight{grouped}, {whence}; \
             embeddings kept at 16 bits come on top"
        )),
        ..whole(bits + overhead)
    })
}

/// The known tags that are spelt most like `tag`.
fn nearest(tag: &str) -> Vec<&'static str> {
    let tag: Vec<char> = tag.chars().take(LONGEST_TAG).collect();
    let mut all: Vec<(usize, &'static str)> = [USUAL, FURTHER, VARIANTS]
        .into_iter()
        .flatten()
        .map(|(k, _)| *k)
        .chain(["mxfp4_moe"])
        .chain(METHODS.iter().map(|(k, ..)| *k))
        .map(|k| (distance(&tag, k), k))
        .collect();
    all.sort_by_key(|(d, _)| *d);
    all.into_iter().take(3).map(|(_, k)| k).collect()
}

/// Levenshtein's distance.
fn distance(a: &[char], b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.iter().enumerate() {
        let mut next = vec![i + 1];
        for ((cb, above_left), above) in b.iter().zip(&row).zip(row.iter().skip(1)) {
            let left = next.last().copied().unwrap_or_default();
            let here = (above_left + usize::from(ca != cb))
                .min(above + 1)
                .min(left + 1);
            next.push(here);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Code, Coded as _};

    fn of(tag: &str) -> Weights {
        weights(Some(tag), 2.0, None).unwrap_or_else(|e| panic!("{tag}: {e}"))
    }

    #[test]
    fn spellings_of_a_tag_are_one() {
        for tag in ["gguf-q4_k_m", "Q4_K_M", "q4-k-m", "GGUF-Q4-K-M", "q4_k_m "] {
            assert_eq!(of(tag).expert, 4.83 / 8.0, "{tag}");
            assert_eq!(of(tag).rest, 4.83 / 8.0, "{tag}");
        }
    }

    #[test]
    fn no_tag_is_the_unquantised_width() {
        for tag in [None, Some("")] {
            assert_eq!(bytes_per_weight(tag, 4.0, None).unwrap(), 4.0);
            assert_eq!(non_expert_bytes_per_weight(tag, 1.0, None).unwrap(), 1.0);
        }
    }

    #[test]
    fn only_the_experts_of_mxfp4_are_small() {
        assert_eq!((of("mxfp4").expert, of("mxfp4").rest), (0.53125, 2.0));
        let moe = of("MXFP4_MOE");
        assert_eq!((moe.expert, moe.rest), (0.53125, 1.0625));
    }

    #[test]
    fn every_tag_of_llama_quantize_is_known() {
        let tags = "Q1_0 Q4_0 Q4_1 MXFP4_MOE NVFP4 Q5_0 Q5_1 IQ2_XXS IQ2_XS IQ2_S IQ2_M IQ1_S IQ1_M \
            TQ1_0 TQ2_0 Q2_K Q2_K_S IQ3_XXS IQ3_S IQ3_M Q3_K IQ3_XS Q3_K_S Q3_K_M Q3_K_L IQ4_NL \
            IQ4_XS Q4_K Q4_K_S Q4_K_M Q5_K Q5_K_S Q5_K_M Q6_K Q8_0 F16 BF16 F32 \
            UD-Q4_K_XL UD-Q2_K_XL UD-IQ1_S UD-IQ1_M UD-IQ2_XXS UD-IQ2_M UD-IQ3_XXS UD-Q3_K_XL \
            UD-Q5_K_XL UD-Q6_K_XL UD-Q8_K_XL UD-IQ4_XS UD-IQ4_NL UD-Q4_K_M Q2_K_L Q3_K_XL Q4_K_L \
            Q5_K_L Q6_K_L gptq awq int4 int8 fp8 nf4 nvfp4 GPTQ-Int4 w4a16";
        for tag in tags.split_whitespace() {
            let w = of(tag);
            assert!(w.expert > 0.1 && w.expert <= 4.0, "{tag}: {w:?}");
        }
    }

    #[test]
    fn more_bits_by_name_are_never_fewer_in_the_table() {
        let rising =
            "iq1_s iq1_m iq2_xs iq2_s iq2_m iq3_xs iq3_s iq3_m q3_k_m q4_k_m q5_k_m q6_k q8_0";
        let bits: Vec<f64> = rising.split(' ').map(|t| of(t).expert).collect();
        assert!(bits.is_sorted(), "{bits:?}");
    }

    #[test]
    fn gptq_takes_its_group_from_the_configuration() {
        let said = Quantization {
            method: Some("gptq".into()),
            bits: Some(8.0),
            group_size: Some(32),
        };
        let w = weights(Some("gptq"), 2.0, Some(&said)).unwrap();
        assert_eq!(w.expert, (8.0 + 24.0 / 32.0) / 8.0);
        assert!(w.note.unwrap().contains("configuration"));
        // What it says about another method is not about this one.
        let w = weights(Some("awq"), 2.0, Some(&said)).unwrap();
        assert_eq!(w.expert, (4.0 + 20.0 / 128.0) / 8.0);
        assert!(w.note.unwrap().contains("usual"));
    }

    #[test]
    fn an_unknown_tag_names_its_neighbours() {
        let e = weights(Some("q4_k_n"), 2.0, None).unwrap_err();
        assert_eq!(e.code(), Code::InputUnknownQuant);
        assert!(e.hint().unwrap().contains("q4_k_"), "{:?}", e.hint());
        for tag in ["garbage", "q9_0", " ", "ud-", &"q".repeat(100_000)] {
            assert!(weights(Some(tag), 2.0, None).is_err());
        }
    }
}
