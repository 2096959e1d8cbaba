//! The limits that a plan implies: a job that takes more than it was planned to is not that job.

use super::limit::Limit;
use super::thresholds::Limits;
use crate::document::{Plan, Verdict};
use crate::error::{Code, Coded};
use crate::launch::{PROGRAM, prompt_cache_mib};

/// A plan is exact to a few percent; a warning starts at 0.9 of a limit, just above the plan.
const MARGIN: f64 = 0.15;
/// Of VRAM, MiB: what a driver takes for itself in a process.
const LEAST_VRAM: f64 = 512.0;

/// Why a plan gives no limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PlannedError {
    /// It says not to run it.
    #[error("the plan is a refusal: there is no placement to hold a job to")]
    Refused,
    /// It does not say what it uses.
    #[error("the plan does not say how much VRAM it uses (vram_used_mib)")]
    Silent,
}

impl Coded for PlannedError {
    fn code(&self) -> Code {
        Code::InputBadPlan
    }
    fn hint(&self) -> Option<String> {
        Some("gpu-container-plan -o plan.json writes one; exit status 0 says that it ships".into())
    }
}

/// The job's limits: what the plan uses of VRAM and of RAM, and a margin.
///
/// A file that is mapped passes through memory whole while it is loaded, so unless the plan reads
/// without a mapping, what goes to VRAM counts as RAM as well. So does what a server may keep of
/// earlier prompts in the RAM that the plan leaves.
pub fn planned(plan: &Plan) -> Result<Limits, PlannedError> {
    if plan.verdict == Verdict::Refuse {
        return Err(PlannedError::Refused);
    }
    let vram = plan.vram_used_mib.ok_or(PlannedError::Silent)?;
    let flags = plan.llama_flags.as_deref().unwrap_or_default();
    let mapped = !flags.split_whitespace().any(|word| word == "--no-mmap");
    let with_margin = |mib: f64, least: f64| mib + (mib * MARGIN).max(least);
    let mut limits = Limits::default();
    limits.give(Limit::JobVram, Some(with_margin(vram, LEAST_VRAM)));
    if let Some(ram) = plan.ram_used_mib {
        let ram = if mapped { ram + vram } else { ram };
        let prompts = prompt_cache_mib(plan).unwrap_or(0) as f64;
        limits.give(Limit::JobRss, Some(with_margin(ram, PROGRAM) + prompts));
    }
    Ok(limits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Thresholds;
    use proptest::prelude::*;
    use serde_json::json;

    fn plan(fields: &serde_json::Value) -> Plan {
        let mut all = json!({"fits": true, "verdict": "ship"});
        let all_fields = all.as_object_mut().unwrap();
        all_fields.extend(fields.as_object().unwrap().clone());
        serde_json::from_value(all).unwrap()
    }

    fn limits(fields: &serde_json::Value) -> (Option<f64>, Option<f64>) {
        let t = planned(&plan(fields)).unwrap().over(Thresholds::default());
        (t.job_vram_mib_max, t.job_rss_mib_max)
    }

    #[test]
    fn used_and_a_margin() {
        let mut fields = json!({"vram_used_mib": 10000.0, "ram_used_mib": 20000.0});
        assert_eq!(limits(&fields), (Some(11500.0), Some(34500.0)));
        fields["llama_flags"] = json!("-ngl 99 --no-mmap");
        assert_eq!(limits(&fields), (Some(11500.0), Some(23000.0)));
        let small =
            json!({"vram_used_mib": 100.0, "ram_used_mib": 0.0, "llama_flags": "--no-mmap"});
        assert_eq!(limits(&small), (Some(612.0), Some(1024.0)));
        let served = json!({"vram_used_mib": 100.0, "ram_used_mib": 1000.0, "llama_flags": "--no-mmap",
            "ram_budget_mib": 6024.0});
        assert_eq!(limits(&served), (Some(612.0), Some(2024.0 + 4000.0)));
        assert_eq!(
            limits(&json!({"vram_used_mib": 100.0})),
            (Some(612.0), None)
        );
    }

    #[test]
    fn what_is_not_to_be_run_has_no_limits() {
        let refused = json!({"verdict": "refuse", "vram_used_mib": 1.0});
        assert_eq!(planned(&plan(&refused)), Err(PlannedError::Refused));
        let e = planned(&plan(&json!({}))).unwrap_err();
        assert_eq!(e.code().as_str(), "INPUT_BAD_PLAN");
        assert!(e.hint().is_some());
    }

    proptest! {
        /// The warning line lies above what was planned, so that a job that keeps to it is calm.
        #[test]
        fn a_job_that_keeps_to_its_plan_is_calm(vram in 0.0..1e6f64, ram in 0.0..1e6f64) {
            let (v, r) = limits(&json!({"vram_used_mib": vram, "ram_used_mib": ram}));
            let warn = Thresholds::default().warn_fraction;
            prop_assert!(v.unwrap() * warn > vram && r.unwrap() * warn > ram + vram);
        }
    }
}
