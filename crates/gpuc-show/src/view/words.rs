//! A plan in a few words.

use gpuc_core::document::Plan;

/// Where the model is, such as "experts of 22 of 48 layers in RAM"; none where nothing was placed.
pub fn placement(plan: &Plan) -> Option<String> {
    let gpu = plan.memory_map.iter().find(|d| d.device != "host");
    let host = plan.memory_map.iter().find(|d| d.device == "host");
    let in_ram = host.is_some_and(|h| h.weights_bytes > 0);
    if gpu.is_none_or(|g| g.weights_bytes == 0) {
        return in_ram.then(|| "all of it in RAM".into());
    }
    if let Some(n) = plan.n_gpu_layers {
        return Some(format!("{n} layers on the GPU"));
    }
    match (
        plan.moe_layers_on_host.or(plan.n_cpu_moe),
        plan.n_moe_layers,
    ) {
        (Some(n), Some(of)) if n > 0 && of > 0 => {
            Some(format!("experts of {n} of {of} layers in RAM"))
        }
        _ => Some("all weights in VRAM".into()),
    }
}

/// What is assumed of the RAM for earlier prompts, where the launch bounds it.
pub fn prompts(mib: u64) -> String {
    format!(
        "llama-server is given the {mib} MiB of RAM that are left for earlier prompts \
         (--cache-ram, 8192 by itself), which no plan counts"
    )
}

/// Why a plan is refused: its message without the word and without the help, which `remedies` give.
pub fn reason(plan: &Plan) -> Option<&str> {
    let message = plan.message.as_deref()?;
    let why = message.strip_prefix("refused: ").unwrap_or(message);
    if plan.remedies.is_empty() {
        return Some(why);
    }
    Some(
        why.split_once(". What would help: ")
            .map_or(why, |(why, _)| why),
    )
}
