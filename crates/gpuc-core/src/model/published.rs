//! How a configuration says that its weights are already quantised.

use serde_json::Value;

use super::config::Config;
use crate::document::Quantization;

/// The quantisation under `quantization_config`. Each writer has its own keys; what is not
/// understood stays unknown, since it only refines a figure that has a usual value.
pub(super) fn quantization(c: &Config<'_>) -> Option<Quantization> {
    let Value::Object(q) = c.get_any("quantization_config")? else {
        return None;
    };
    let group = q
        .get("config_groups")
        .and_then(|g| g.as_object()?.values().next()?.get("weights"));
    let number = |keys: &[&str]| {
        keys.iter()
            .find_map(|k| q.get(*k).or_else(|| group?.get(*k)))
            .and_then(Value::as_f64)
            .filter(|x| *x > 0.0 && *x <= 1e6)
    };
    let set = |key: &str| q.get(key).and_then(Value::as_bool) == Some(true);
    let bits = number(&["bits", "num_bits", "w_bit", "wbits"]).or(match () {
        () if set("load_in_4bit") => Some(4.0),
        () if set("load_in_8bit") => Some(8.0),
        () => None,
    });
    let method = q
        .get("quant_method")
        .or_else(|| q.get("quant_algo"))
        .and_then(Value::as_str)
        .map(str::to_string);
    (method.is_some() || bits.is_some()).then(|| Quantization {
        method,
        bits,
        group_size: number(&["group_size", "q_group_size"]).map(crate::units::floor_bytes),
    })
}
