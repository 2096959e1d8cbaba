//! The run that a plan asks for, as far as a benchmark row can tell.

use super::row::Row;
use crate::document::Plan;

/// The run that is looked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    pub(super) n_cpu_moe: Option<u64>,
    /// Whether the plan keeps every expert in RAM, so that any larger N is the same placement.
    all_on_host: bool,
    /// Whether it keeps none there, so that any smaller N is (dense blocks come first).
    none_on_host: bool,
    n_moe_layers: Option<u64>,
    /// Layers on the GPU; none is all of them.
    pub(super) gpu_layers: Option<i64>,
    /// Types of the K and of the V cache.
    pub(super) caches: [String; 2],
    pub(super) flash_attn: Option<bool>,
    pub(super) plan_depth: Option<u64>,
    pub(super) depth: Option<u64>,
}

impl Wanted {
    /// The run of `plan`, at a context depth where one is asked for.
    pub fn of(plan: &Plan, depth: Option<u64>) -> Self {
        let flags = plan.llama_flags.as_deref().unwrap_or_default();
        let flag = |names: &[&str]| {
            let mut words = flags.split_whitespace();
            words.find(|w| names.contains(w))?;
            words.next()
        };
        let layers = flag(&["-ngl", "--n-gpu-layers", "--gpu-layers"]);
        let assumptions = plan.assumptions.clone().unwrap_or_default();
        let on_host = plan.moe_layers_on_host.or(plan.n_cpu_moe);
        Self {
            n_cpu_moe: plan.n_cpu_moe,
            all_on_host: match (on_host, plan.n_moe_layers) {
                (Some(n), Some(layers)) => layers > 0 && n >= layers,
                _ => false,
            },
            none_on_host: plan.moe_layers_on_host == Some(0),
            n_moe_layers: plan.n_moe_layers,
            gpu_layers: layers
                .and_then(|n| n.parse::<i64>().ok())
                .filter(|n| (0..99).contains(n)),
            caches: cache_types(assumptions.kv_dtype.as_deref()),
            flash_attn: match flag(&["-fa", "--flash-attn"]) {
                Some("on" | "1") => Some(true),
                Some("off" | "0") => Some(false),
                _ => None,
            },
            // A plan that says what its work is can be held against a run at any depth.
            plan_depth: assumptions.depth.filter(|_| plan.decode_work.is_none()),
            depth,
        }
    }

    /// Whether `--n-cpu-moe n` places the model as the plan does.
    pub(super) fn same_placement(&self, n: u64) -> bool {
        self.n_cpu_moe.is_none_or(|plan| {
            n == plan || (self.all_on_host && n > plan) || (self.none_on_host && n < plan)
        })
    }

    /// 0 for the plan's layers, 1 for unknown ones, more the further they are.
    pub(super) fn layers_off(&self, row: &Row) -> u64 {
        let Some(n) = row.setting.layers_on_gpu() else {
            return 1;
        };
        let all = !(0..99).contains(&n);
        match self.gpu_layers {
            None if all => 0,
            None if self.n_moe_layers.is_some_and(|l| n.unsigned_abs() > l) => 0,
            None => 2 + 99_u64.saturating_sub(n.unsigned_abs()),
            Some(_) if all => 2 + 99,
            Some(plan) => match n.abs_diff(plan) {
                0 => 0,
                off => 2 + off,
            },
        }
    }

    /// How many of the two caches are of another type than the plan's.
    pub(super) fn caches_off(&self, row: &Row) -> u64 {
        [&row.setting.type_k, &row.setting.type_v]
            .into_iter()
            .zip(&self.caches)
            .filter(|(ran, planned)| {
                ran.as_ref()
                    .is_some_and(|t| !t.eq_ignore_ascii_case(planned))
            })
            .count() as u64
    }
}

/// The types in a plan's `kv_dtype`: one for both caches, or "k q8_0, v f16".
pub(super) fn cache_types(kv_dtype: Option<&str>) -> [String; 2] {
    let text = kv_dtype.unwrap_or("f16").to_lowercase();
    match text.strip_prefix("k ").and_then(|t| t.split_once(", v ")) {
        Some((k, v)) => [k.into(), v.into()],
        None => [text.clone(), text],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(json: &str) -> Wanted {
        Wanted::of(&serde_json::from_str(json).unwrap(), None)
    }

    #[test]
    fn every_expert_in_ram_is_one_placement() {
        let some =
            wanted(r#"{"fits": true, "verdict": "ship", "n_cpu_moe": 28, "n_moe_layers": 48}"#);
        let all =
            wanted(r#"{"fits": true, "verdict": "ship", "n_cpu_moe": 48, "n_moe_layers": 48}"#);
        let unknown = wanted(r#"{"fits": true, "verdict": "ship"}"#);
        for (n, in_some, in_all) in [
            (0, false, false),
            (28, true, false),
            (48, false, true),
            (99, false, true),
        ] {
            assert_eq!(some.same_placement(n), in_some, "{n}");
            assert_eq!(all.same_placement(n), in_all, "{n}");
            assert!(
                unknown.same_placement(n),
                "a plan that says nothing is contradicted by nothing"
            );
        }
    }

    #[test]
    fn dense_leading_blocks_move_no_expert() {
        let dense_first = wanted(
            r#"{"fits": true, "verdict": "ship", "n_cpu_moe": 3, "n_moe_layers": 58, "moe_layers_on_host": 0}"#,
        );
        assert!(dense_first.same_placement(0) && !dense_first.same_placement(4));
        let all_but_one = wanted(
            r#"{"fits": true, "verdict": "ship", "n_cpu_moe": 60, "n_moe_layers": 58, "moe_layers_on_host": 57}"#,
        );
        assert!(!all_but_one.same_placement(61));
    }

    #[test]
    fn the_flags_of_the_plan_are_read() {
        let w = wanted(
            r#"{"fits": true, "verdict": "ship", "llama_flags": "-ngl 20 -c 4096 -fa on",
                "assumptions": {"kv_dtype": "Q8_0", "depth": 512}}"#,
        );
        assert_eq!((w.gpu_layers, w.flash_attn), (Some(20), Some(true)));
        assert_eq!(w.caches, ["q8_0", "q8_0"]);
        assert_eq!(w.plan_depth, Some(512));
        assert_eq!(cache_types(Some("k Q8_0, v f16")), ["q8_0", "f16"]);
        assert_eq!(cache_types(None), ["f16", "f16"]);
        for flags in ["-ngl 99", "-ngl all", "-ngl -1", ""] {
            let w = wanted(&format!(
                r#"{{"fits": true, "verdict": "ship", "llama_flags": "{flags}"}}"#
            ));
            assert_eq!(w.gpu_layers, None, "{flags}");
        }
    }
}
