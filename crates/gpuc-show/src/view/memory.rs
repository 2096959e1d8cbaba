//! Where the bytes of a plan go, device by device.

use gpuc_core::document::Plan;
use gpuc_core::units::{MIB, floor_bytes};

/// What a part of a device's memory holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Weights.
    Weights,
    /// KV cache and recurrent state.
    Cache,
    /// Compute buffers.
    Compute,
    /// Kept free for what is not planned byte by byte.
    Margin,
    /// Left over of the budget.
    Free,
}

impl Part {
    /// All of them, in the order in which a bar shows them.
    pub const ALL: [Self; 5] = [
        Self::Weights,
        Self::Cache,
        Self::Compute,
        Self::Margin,
        Self::Free,
    ];

    /// What a legend calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Weights => "weights",
            Self::Cache => "KV cache",
            Self::Compute => "compute",
            Self::Margin => "margin",
            Self::Free => "free",
        }
    }
}

/// One part of a bar; none is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// What it holds.
    pub part: Part,
    /// How much.
    pub bytes: u64,
}

/// The memory of one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bar {
    /// The GPU's name, or "host".
    pub device: String,
    /// Whether it is the host's RAM.
    pub is_host: bool,
    /// What it holds, in the order of [`Part::ALL`].
    pub segments: Vec<Segment>,
    /// What the plan needs of it, the margin included.
    pub needed: u64,
    /// What the plan may use of it, where that is known.
    pub budget: Option<u64>,
}

impl Bar {
    /// How much the plan needs beyond the budget.
    pub fn short(&self) -> u64 {
        let budget = self.budget.unwrap_or(u64::MAX);
        self.needed.saturating_sub(budget)
    }

    /// The bytes that the whole length of the bar stands for.
    pub fn length(&self) -> u64 {
        self.needed.max(self.budget.unwrap_or(0))
    }
}

/// One bar a device, in the plan's order.
///
/// The budget of VRAM is that of one GPU: where a plan lists several, none has a budget.
pub fn memory_map(plan: &Plan) -> Vec<Bar> {
    let gpus = plan.memory_map.iter().filter(|d| d.device != "host");
    let one_gpu = gpus.count() == 1;
    let bytes = |mib: f64| floor_bytes(mib * MIB as f64);
    let vram = plan.vram_budget_mib.filter(|_| one_gpu).map(bytes);
    let ram = plan.ram_budget_mib.map(bytes);
    plan.memory_map
        .iter()
        .map(|d| {
            let is_host = d.device == "host";
            let budget = if is_host { ram } else { vram };
            let held = [
                (Part::Weights, d.weights_bytes),
                (Part::Cache, d.context_bytes),
                (Part::Compute, d.compute_bytes),
                (Part::Margin, d.margin_bytes),
            ];
            let needed = held.iter().fold(0u64, |sum, (_, b)| sum.saturating_add(*b));
            let free = budget.unwrap_or(0).saturating_sub(needed);
            let segments = held
                .into_iter()
                .chain([(Part::Free, free)])
                .filter(|(_, bytes)| *bytes > 0)
                .map(|(part, bytes)| Segment { part, bytes })
                .collect();
            Bar {
                device: d.device.clone(),
                is_host,
                segments,
                needed,
                budget,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use gpuc_core::json::read;

    fn plan(vram: &str, ram: &str, extra: &str) -> Plan {
        let text = format!(
            r#"{{"fits": true, "verdict": "ship", "vram_budget_mib": {vram},
                "ram_budget_mib": {ram}, "memory_map": [
                {{"device": "RTX 3060", "weights_bytes": 6291456, "context_bytes": 2097152,
                  "compute_bytes": 0, "margin_bytes": 1048576}}, {extra}
                {{"device": "host", "weights_bytes": 4194304}}]}}"#
        );
        read(text.as_bytes()).unwrap()
    }

    fn parts(bar: &Bar) -> Vec<(Part, u64)> {
        let mib = |s: &Segment| (s.part, s.bytes / MIB);
        bar.segments.iter().map(mib).collect()
    }

    #[test]
    fn what_is_left_of_a_budget_is_free() {
        let bars = memory_map(&plan("11.5", "10", ""));
        let [gpu, host] = bars.as_slice() else {
            panic!("{bars:?}");
        };
        assert_eq!(
            (gpu.needed / MIB, gpu.short(), gpu.length()),
            (9, 0, 23 * MIB / 2)
        );
        let want = [
            (Part::Weights, 6),
            (Part::Cache, 2),
            (Part::Margin, 1),
            (Part::Free, 2),
        ];
        assert_eq!(parts(gpu), want);
        assert!(host.is_host && !gpu.is_host);
        assert_eq!(parts(host), [(Part::Weights, 4), (Part::Free, 6)]);
    }

    #[test]
    fn a_bar_may_be_too_long_or_without_a_budget() {
        let bars = memory_map(&plan("8", "null", ""));
        assert_eq!((bars[0].short(), bars[0].length()), (MIB, 9 * MIB));
        assert_eq!(
            (bars[1].budget, bars[1].short(), bars[1].length()),
            (None, 0, 4 * MIB)
        );
        // Several GPUs share no budget that a plan tells.
        let two = plan(
            "8",
            "null",
            r#"{"device": "RTX 3060", "weights_bytes": 1},"#,
        );
        assert!(memory_map(&two).iter().all(|b| b.budget.is_none()));
        assert_eq!(memory_map(&plan("null", "8", ""))[0].budget, None);
    }

    #[test]
    fn sizes_that_no_machine_has_do_not_wrap() {
        let mut plan = plan("1099511627776", "null", "");
        plan.memory_map[0].weights_bytes = u64::MAX;
        let bar = &memory_map(&plan)[0];
        assert_eq!((bar.needed, bar.short()), (u64::MAX, u64::MAX - (1 << 60)));
    }
}
