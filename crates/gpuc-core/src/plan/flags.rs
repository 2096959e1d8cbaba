//! A placement as llama.cpp's own flags.

use std::collections::BTreeMap;

use super::footprint::Placement;
use crate::footprint::ExpertKind;

/// What the flags say beside the placement.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct FlagSetting {
    /// `-c`.
    pub(super) ctx: u64,
    /// `-fa`.
    pub(super) flash_attn: bool,
    /// What only a plan from a weights file fixes; none for the closed form.
    pub(super) exact: Option<ExactFlags>,
}

/// The further flags of a plan from a weights file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ExactFlags {
    /// `-ub`.
    pub(super) ubatch: u64,
    /// `-ctk`.
    pub(super) cache_type_k: String,
    /// `-ctv`.
    pub(super) cache_type_v: String,
    /// `-np`.
    pub(super) parallel: u64,
}

/// `-ngl` for everything: what the reference writes, while it is enough.
fn all_layers(blocks: Option<u64>) -> &'static str {
    match blocks {
        Some(blocks) if blocks >= 99 => "all",
        _ => "99",
    }
}

/// The flags to launch llama.cpp with. `blocks` is the model's number of blocks, where known.
pub(super) fn flags(
    placement: &Placement,
    setting: &FlagSetting,
    blocks: Option<u64>,
    moe: bool,
) -> String {
    let layers = match placement.gpu_layers {
        None => all_layers(blocks).to_owned(),
        Some(n) => n.to_string(),
    };
    let mut out = format!("-ngl {layers}");
    if moe {
        out += &format!(" --n-cpu-moe {}", placement.n_cpu_moe);
    }
    out += &format!(" -c {}", setting.ctx);
    let fa = if setting.flash_attn { "on" } else { "off" };
    out += &format!(" -fa {fa}");
    if let Some(exact) = &setting.exact {
        out += &format!(
            " -ub {} -ctk {} -ctv {}",
            exact.ubatch, exact.cache_type_k, exact.cache_type_v
        );
        // llama-server would take four slots, each with a window and a state of its own.
        out += &format!(" -np {}", exact.parallel);
        if let Some(rules) = overrides(placement) {
            out += &format!(" -ot \"{rules}\"");
        }
        // llama.cpp would otherwise try to fit on its own, and give up with a warning.
        out += " -fit off";
    }
    out
}

/// The name that a kind has in a tensor's.
fn kind_name(kind: ExpertKind) -> &'static str {
    match kind {
        ExpertKind::Gate => "gate",
        ExpertKind::Up => "up",
        ExpertKind::Down => "down",
        ExpertKind::GateUp => "gate_up",
    }
}

/// `-ot` rules for the single tensors in RAM: blocks with the same kinds share a rule.
fn overrides(placement: &Placement) -> Option<String> {
    let mut by_block: BTreeMap<u64, Vec<&str>> = BTreeMap::new();
    for (block, kind) in &placement.host_experts {
        by_block.entry(*block).or_default().push(kind_name(*kind));
    }
    let mut by_kinds: BTreeMap<Vec<&str>, Vec<String>> = BTreeMap::new();
    for (block, kinds) in by_block {
        by_kinds.entry(kinds).or_default().push(block.to_string());
    }
    let rules: Vec<String> = by_kinds
        .iter()
        .map(|(kinds, blocks)| {
            format!(
                r"blk\.({})\.ffn_({})_exps=CPU",
                blocks.join("|"),
                kinds.join("|")
            )
        })
        .collect();
    (!rules.is_empty()).then(|| rules.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact() -> FlagSetting {
        FlagSetting {
            ctx: 8192,
            flash_attn: true,
            exact: Some(ExactFlags {
                ubatch: 512,
                cache_type_k: "q8_0".into(),
                cache_type_v: "q8_0".into(),
                parallel: 2,
            }),
        }
    }

    #[test]
    fn the_closed_form_writes_what_the_reference_does() {
        let setting = FlagSetting {
            ctx: 4096,
            flash_attn: true,
            exact: None,
        };
        let placement = Placement {
            n_cpu_moe: 11,
            ..Placement::default()
        };
        assert_eq!(
            flags(&placement, &setting, Some(48), true),
            "-ngl 99 --n-cpu-moe 11 -c 4096 -fa on"
        );
        // 99 would leave blocks of so deep a model in RAM.
        assert!(flags(&placement, &setting, Some(126), false).starts_with("-ngl all -c 4096"));
    }

    #[test]
    fn single_tensors_become_override_rules() {
        let placement = Placement {
            gpu_layers: None,
            n_cpu_moe: 5,
            host_experts: [
                (5, ExpertKind::Up),
                (5, ExpertKind::Gate),
                (6, ExpertKind::Gate),
                (6, ExpertKind::Up),
                (7, ExpertKind::Down),
            ]
            .into(),
        };
        assert_eq!(
            flags(&placement, &exact(), Some(48), true),
            r#"-ngl 99 --n-cpu-moe 5 -c 8192 -fa on -ub 512 -ctk q8_0 -ctv q8_0 -np 2 -ot "blk\.(7)\.ffn_(down)_exps=CPU,blk\.(5|6)\.ffn_(gate|up)_exps=CPU" -fit off"#
        );
    }
}
