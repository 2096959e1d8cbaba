//! Whether a benchmark ran what the plan is for.

use super::measure::Measured;
use crate::document::Plan;

/// A configuration's count of parameters leaves out norms and biases: further apart is another
/// model.
const SAME_MODEL: f64 = 0.03;

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
    let flags = plan.llama_flags.as_deref().unwrap_or_default();
    let flag = |names: &[&str]| {
        let mut words = flags.split_whitespace();
        words.find(|w| names.contains(w))?;
        words.next()
    };
    if let (Some(planned), Some(ran)) = (flag(&["-ub", "--ubatch-size"]), measured.ubatch)
        && planned.parse() != Ok(ran)
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
