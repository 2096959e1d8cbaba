//! What would make a refused plan ship: single changes, each found and proven by planning it.

use super::memo::Memo;
use super::problem::{Problem, Subject};
use crate::document::{Plan, Remedy, Verdict};
use crate::header::GgmlType;
use crate::model::quant;
use crate::units::{GIB, as_gib};

/// Contexts are offered in llama.cpp's own steps.
const CTX_STEP: u64 = 256;
/// More than this is another machine, not a remedy.
const MOST_VRAM_MIB: u64 = 1 << 20;

/// The changes that each make `problem` ship, cheapest first: what costs a little quality, then
/// what costs context, then precision, then what must be freed or bought.
pub(super) fn remedies(problem: &Problem<'_>) -> Vec<Remedy> {
    let ram = more_ram(problem);
    let vram = least_vram(problem);
    let both = match (&ram, &vram) {
        (None, Some(vram)) => with_ram(problem, vram.more),
        _ => None,
    };
    [
        own_choice(problem),
        cache_type(problem),
        context(problem),
        smaller_quant(problem),
        cpu_only(problem),
        ram,
        both,
        vram.map(|vram| remedy("vram", vram.change(), None, &vram.plan)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn ships(problem: &Problem<'_>) -> Option<Plan> {
    problem
        .attempt()
        .ok()
        .filter(|plan| plan.verdict == Verdict::Ship)
}

fn remedy(kind: &str, change: String, flags: Option<String>, plan: &Plan) -> Remedy {
    Remedy {
        kind: kind.into(),
        change,
        flags,
        ceiling_decode_tok_s: plan.ceiling_decode_tok_s,
    }
}

/// The planner's choice instead of the user's.
fn own_choice(problem: &Problem<'_>) -> Option<Remedy> {
    let mut changed = problem.clone();
    changed.wish.n_cpu_moe.take().or(changed.wish.gpu_layers)?;
    changed.wish.gpu_layers = None;
    let plan = ships(&changed)?;
    let change = match (plan.n_cpu_moe, plan.n_gpu_layers) {
        (_, Some(k)) => format!("--n-gpu-layers {k}, which is what fits"),
        (Some(n), None) => format!("--n-cpu-moe {n}, which is the smallest that fits"),
        (None, None) => "all layers on the GPU, which fit".into(),
    };
    let flags = match (plan.n_cpu_moe, plan.n_gpu_layers) {
        (_, Some(k)) => format!("--n-gpu-layers {k}"),
        (Some(n), None) => format!("--n-cpu-moe {n}"),
        (None, None) => return Some(remedy("n-cpu-moe", change, None, &plan)),
    };
    Some(remedy("n-cpu-moe", change, Some(flags), &plan))
}

/// A smaller KV cache by its type.
fn cache_type(problem: &Problem<'_>) -> Option<Remedy> {
    let bits = |t: GgmlType| {
        t.block()
            .map_or(0, |(elements, bytes)| bytes * 64 / elements)
    };
    ["q8_0", "q4_0"].into_iter().find_map(|name| {
        let smaller = GgmlType::by_name(name)?;
        let mut changed = problem.clone();
        if bits(smaller) >= bits(problem.wish.type_k).max(bits(problem.wish.type_v)) {
            return None;
        }
        changed.wish.type_k = smaller;
        changed.wish.type_v = smaller;
        // A quantised V cache needs it.
        changed.wish.flash_attn = true;
        let plan = ships(&changed)?;
        Some(remedy(
            "cache-type",
            format!("a KV cache of type {name}"),
            Some(format!("--cache-type-k {name} --cache-type-v {name}")),
            &plan,
        ))
    })
}

/// The longest context that ships.
fn context(problem: &Problem<'_>) -> Option<Remedy> {
    let now = problem.ctx().ok()?;
    let at = |steps: u64| {
        let mut changed = problem.clone();
        changed.wish.ctx = steps * CTX_STEP;
        ships(&changed)
    };
    let steps = largest(now.div_ceil(CTX_STEP).saturating_sub(1), |s| {
        at(s).is_some()
    })?;
    let ctx = steps * CTX_STEP;
    Some(remedy(
        "context",
        format!("a context of at most {ctx} tokens"),
        Some(format!("--ctx {ctx}")),
        &at(steps)?,
    ))
}

/// A smaller quantisation of the same model: the largest that ships.
fn smaller_quant(problem: &Problem<'_>) -> Option<Remedy> {
    let Subject::Config {
        model,
        expert_bpw,
        non_expert_bpw,
        ..
    } = problem.subject
    else {
        return smaller_file(problem);
    };
    // gpt-oss is published with its experts in MXFP4 under every tag, and no smaller.
    let tags: &[&str] = match model.family.as_deref() {
        Some("gpt_oss") => &["mxfp4_moe"],
        _ => &quant::COMMON,
    };
    tags.iter().find_map(|tag| {
        let weights = quant::weights(Some(tag), 2.0, None).ok()?;
        let bpw = weights.expert;
        let mut changed = problem.clone();
        let Subject::Config {
            expert_bpw: expert,
            non_expert_bpw: rest,
            ..
        } = &mut changed.subject
        else {
            return None;
        };
        if bpw >= expert_bpw {
            return None;
        }
        *expert = bpw;
        *rest = if weights.rest > bpw {
            weights.rest
        } else {
            non_expert_bpw.min(bpw)
        };
        let plan = ships(&changed)?;
        Some(remedy(
            "quant",
            format!("the same model at {}", tag.to_uppercase()),
            Some(format!("--quant {tag}")),
            &plan,
        ))
    })
}

/// The same for a weights file, whose tensors all shrink by the ratio of the two tags.
fn smaller_file(problem: &Problem<'_>) -> Option<Remedy> {
    let Subject::File { facts, source, .. } = problem.subject else {
        return None;
    };
    if facts.architecture() == "gpt-oss" {
        return None;
    }
    let now = facts.weights_bytes() as f64 / facts.total_params().max(1) as f64;
    quant::COMMON.iter().find_map(|tag| {
        let bpw = quant::bytes_per_weight(Some(tag), 2.0, None).ok()?;
        if bpw >= now {
            return None;
        }
        let mut changed = problem.clone();
        changed.subject = Subject::File {
            facts,
            source,
            weight_ratio: bpw / now,
        };
        let plan = ships(&changed)?;
        Some(remedy(
            "quant",
            format!(
                "the same model at about {} ({:.1} bits a weight instead of {:.1})",
                tag.to_uppercase(),
                bpw * 8.0,
                now * 8.0
            ),
            None,
            &plan,
        ))
    })
}

/// The CPU alone.
fn cpu_only(problem: &Problem<'_>) -> Option<Remedy> {
    if problem.wish.cpu_only {
        return None;
    }
    let mut changed = problem.clone();
    changed.wish.cpu_only = true;
    let plan = ships(&changed)?;
    Some(remedy(
        "cpu-only",
        "the CPU alone (--cpu-only)".into(),
        Some("--cpu-only".into()),
        &plan,
    ))
}

/// The least RAM that must be freed or added. The placement does not depend on it, so the plan
/// itself says how much is short.
fn more_ram(problem: &Problem<'_>) -> Option<Remedy> {
    let now = problem.rig.ram.clone().ok()??;
    let host = problem.attempt().ok()?.memory_map.pop()?;
    let held = [host.weights_bytes, host.context_bytes, host.compute_bytes];
    let needed: f64 = held.iter().map(|bytes| *bytes as f64).sum();
    if needed <= now {
        return None;
    }
    // In tenths of a GiB, as it is said.
    let more = (as_gib(needed - now) * 10.0).ceil() / 10.0;
    let mut changed = problem.clone();
    changed.rig.ram = Ok(Some(now + more * GIB as f64));
    Some(remedy(
        "ram",
        format!(
            "{more:.1} GiB more RAM ({:.1} GiB in all)",
            as_gib(now) + more
        ),
        None,
        &ships(&changed)?,
    ))
}

/// VRAM that must be freed or added, and the plan that then ships.
struct MoreVram {
    more: u64,
    now: f64,
    plan: Plan,
}

impl MoreVram {
    fn all(&self) -> f64 {
        self.now + self.more as f64
    }

    fn change(&self) -> String {
        let (more, all) = (self.more, self.all());
        format!("{more} MiB more free VRAM ({all:.0} MiB in all)")
    }
}

/// The least of it.
fn least_vram(problem: &Problem<'_>) -> Option<MoreVram> {
    let now = problem.rig.vram_mib?;
    if problem.wish.cpu_only {
        return None;
    }
    // What a placement costs does not depend on the rig.
    problem
        .with_footprint(|footprint| {
            let memo = Memo::new(footprint);
            let at = |more: u64| {
                let mut changed = problem.clone();
                changed.rig.vram_mib = Some(now + more as f64);
                let plan = changed.attempt_with(&memo).ok()?;
                (plan.verdict == Verdict::Ship).then_some(plan)
            };
            let more = smallest(MOST_VRAM_MIB, |m| at(m).is_some());
            Ok(more.and_then(|more| {
                let plan = at(more)?;
                Some(MoreVram { more, now, plan })
            }))
        })
        .ok()?
}

/// VRAM and RAM together, where `alone`, the MiB of VRAM that would do by themselves, are more than
/// twice as many.
fn with_ram(problem: &Problem<'_>, alone: u64) -> Option<Remedy> {
    problem.rig.ram.clone().ok()??;
    let mut changed = problem.clone();
    changed.rig.ram = Ok(Some(f64::MAX));
    let vram = least_vram(&changed).filter(|vram| vram.more <= alone / 2)?;
    changed.rig.ram.clone_from(&problem.rig.ram);
    changed.rig.vram_mib = Some(vram.all());
    let ram = more_ram(&changed)?;
    Some(Remedy {
        kind: "vram-and-ram".into(),
        change: format!("{} and {}", vram.change(), ram.change),
        ..ram
    })
}

/// The smallest of 1 ..= `most` that holds, when what holds once holds ever after.
fn smallest(most: u64, holds: impl Fn(u64) -> bool) -> Option<u64> {
    if !holds(most) {
        return None;
    }
    let (mut low, mut high) = (1, most);
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    holds(low).then_some(low)
}

/// The largest of 1 ..= `most` that holds, when what holds once holds for all that are smaller.
fn largest(most: u64, holds: impl Fn(u64) -> bool) -> Option<u64> {
    if most == 0 || !holds(1) {
        return None;
    }
    let (mut low, mut high) = (1, most);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if holds(middle) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    Some(low)
}

#[cfg(test)]
mod tests {
    use super::{largest, smallest};

    #[test]
    fn halving_finds_the_edge() {
        for edge in 1..=20 {
            assert_eq!(smallest(20, |x| x >= edge), Some(edge));
            assert_eq!(largest(20, |x| x <= edge), Some(edge));
        }
        assert_eq!(smallest(20, |x| x > 20), None);
        assert_eq!(largest(20, |_| false), None);
        assert_eq!(largest(0, |_| true), None);
    }
}
