//! Whether a benchmark ran what the plan is for.

use super::measure::Measured;
use crate::document::Plan;
use crate::units::as_gib;

/// A configuration's count of parameters leaves out norms and biases: further apart is another
/// model.
const SAME_MODEL: f64 = 0.03;
/// A file's weights may differ from the plan's by this: a tied output counts twice on the card, and
/// a quantisation tag gives but the average width of a mixture.
const SAME_SIZE: [(&str, f64, f64); 2] = [("gguf", 0.8, 1.05), ("", 0.75, 1.25)];
/// Weights that are all on the card are the file's own, within this.
const SAME_ON_CARD: f64 = 0.01;

/// Whether the benchmark's model has another number of parameters than the plan's.
pub(super) fn other_model(plan: &Plan, measured: &Measured) -> Option<(u64, u64)> {
    let planned = plan
        .assumptions
        .as_ref()?
        .model_total_b
        .filter(|p| *p > 0)?;
    let ran = measured.n_params.filter(|p| *p > 0)?;
    let apart = (ran as f64 / planned as f64 - 1.0).abs() > SAME_MODEL;
    apart.then_some((planned, ran))
}

/// Whether the benchmark's weights take other bytes than the plan's: another quantisation.
pub(super) fn other_size(plan: &Plan, measured: &Measured) -> Option<(u64, u64)> {
    let weights = plan.memory_map.iter().map(|d| d.weights_bytes);
    let planned = weights.fold(0, u64::saturating_add);
    let ran = measured.model_bytes?;
    // Of a small model with a tied output, half may be the copy: with all else on the card, the
    // card holds what the file has, and the host nothing but the original.
    let card = plan.memory_map.first().map_or(0, |d| d.weights_bytes);
    if (ran as f64 / card as f64 - 1.0).abs() < SAME_ON_CARD {
        return None;
    }
    let source = plan.footprint_source.as_deref().unwrap_or_default();
    let (_, least, most) = SAME_SIZE
        .iter()
        .find(|(of, ..)| of.is_empty() || *of == source)?;
    let ratio = ran as f64 / planned as f64;
    (planned > 0 && !(*least..=*most).contains(&ratio)).then_some((planned, ran))
}

/// Whether it ran on a card of another name than the plan's.
fn other_card<'m>(plan: &Plan, measured: &'m Measured) -> Option<&'m str> {
    let planned = plan.memory_map.first()?.device.to_lowercase();
    let ran = measured.gpu.as_deref()?;
    let words = |name: &str| -> Vec<String> {
        let name = name.to_lowercase();
        let words = name.split(|c: char| !c.is_alphanumeric());
        let vendor = ["nvidia", "geforce", "amd", "radeon", "gpu", ""];
        words
            .filter(|w| !vendor.contains(w))
            .map(str::to_owned)
            .collect()
    };
    let there = words(ran);
    let known = words(&planned);
    (!known.is_empty() && !known.iter().all(|w| there.contains(w))).then_some(ran)
}

/// What the run was set to that the plan was not.
pub(super) fn differences(plan: &Plan, measured: &Measured) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some((planned, ran)) = other_model(plan, measured) {
        notes.push(format!(
            "the benchmark's model has {:.2} billion parameters and the plan's {:.2}: this is a \
             receipt of another model",
            ran as f64 / 1e9,
            planned as f64 / 1e9
        ));
    }
    if let Some((planned, ran)) = other_size(plan, measured) {
        notes.push(format!(
            "the benchmark's weights take {:.2} GiB and the plan's {:.2}: this is another \
             quantisation",
            as_gib(ran as f64),
            as_gib(planned as f64)
        ));
    }
    if let Some(ran) = other_card(plan, measured) {
        notes.push(format!(
            "the benchmark ran on {ran}, the plan is for another card"
        ));
    }
    let flags = plan.llama_flags.as_deref().unwrap_or_default();
    let flag = |names: &[&str]| {
        let mut words = flags.split_whitespace();
        words.find(|w| names.contains(w))?;
        words.next()
    };
    // llama.cpp takes 512 unless told otherwise, and so do plans that give a launch line.
    let unsaid = (!flags.is_empty()).then_some(512);
    let planned = flag(&["-ub", "--ubatch-size"]).map_or(unsaid, |n| n.parse().ok());
    if let (Some(planned), Some(ran)) = (planned, measured.ubatch)
        && planned != ran
    {
        notes.push(format!(
            "the benchmark ran with -ub {ran}, the plan says {planned}: compute buffers differ"
        ));
    }
    let planned = match flag(&["-fa", "--flash-attn"]) {
        Some("on" | "1") => Some(true),
        Some("off" | "0") => Some(false),
        _ => None,
    };
    if let (Some(planned), Some(ran)) = (planned, measured.flash_attn)
        && planned != ran
    {
        let word = |on| if on { "on" } else { "off" };
        notes.push(format!(
            "the benchmark ran with flash attention {}, the plan says {}",
            word(ran),
            word(planned)
        ));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        serde_json::from_str(
            r#"{"fits": true, "verdict": "ship", "llama_flags": "-ngl 99 -fa on -ub 512",
                "assumptions": {"model_total_b": 30532122624}}"#,
        )
        .unwrap()
    }

    #[test]
    fn another_model_is_named_and_the_same_one_is_not() {
        let of = |n_params| Measured {
            n_params: Some(n_params),
            ..Measured::default()
        };
        assert!(differences(&plan(), &of(30_531_911_680)).is_empty());
        let notes = differences(&plan(), &of(20_907_786_240));
        assert!(notes[0].contains("another model"), "{notes:?}");
        assert!(differences(&plan(), &Measured::default()).is_empty());
    }

    #[test]
    fn another_quantisation_or_card_is_named() {
        let plan: Plan = serde_json::from_str(
            r#"{"fits": true, "verdict": "ship", "footprint_source": "gguf",
                "memory_map": [{"device": "NVIDIA GeForce RTX 3060", "weights_bytes": 6000000000},
                               {"device": "host", "weights_bytes": 12600000000}]}"#,
        )
        .unwrap();
        let of = |bytes: u64, gpu: &str| {
            let measured = Measured {
                model_bytes: Some(bytes),
                gpu: Some(gpu.into()),
                ..Measured::default()
            };
            differences(&plan, &measured)
        };
        assert!(of(18_556_684_288, "NVIDIA GeForce RTX 3060").is_empty());
        // A tied output is on the card a second time.
        assert!(of(17_900_000_000, "RTX 3060").is_empty());
        let tied: Plan = serde_json::from_str(
            r#"{"fits": true, "verdict": "ship", "footprint_source": "gguf",
                "memory_map": [{"device": "RTX 3060", "weights_bytes": 246587904},
                               {"device": "host", "weights_bytes": 178257920}]}"#,
        )
        .unwrap();
        let measured = Measured {
            model_bytes: Some(246_587_904),
            ..Measured::default()
        };
        assert!(differences(&tied, &measured).is_empty());
        let q5 = of(21_700_000_000, "NVIDIA GeForce RTX 3060");
        assert!(q5[0].contains("another quantisation"), "{q5:?}");
        let ti = of(18_556_684_288, "NVIDIA GeForce RTX 3090");
        assert!(ti[0].contains("another card"), "{ti:?}");
        let closed = Plan {
            footprint_source: Some("closed-form".into()),
            ..plan.clone()
        };
        let measured = Measured {
            model_bytes: Some(21_700_000_000),
            ..Measured::default()
        };
        assert!(
            differences(&closed, &measured).is_empty(),
            "a tag gives an average"
        );
    }

    #[test]
    fn settings_that_contradict_the_plan_are_named() {
        let ran = Measured {
            ubatch: Some(2048),
            flash_attn: Some(false),
            ..Measured::default()
        };
        let notes = differences(&plan(), &ran);
        assert!(
            notes[0].contains("-ub 2048") && notes[1].contains("off"),
            "{notes:?}"
        );
    }
}
