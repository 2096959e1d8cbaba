//! The rates that take time to measure: PCIe, VRAM, pinnable RAM, NVMe.

use gpuc_core::document::{Bandwidth, Memory};
use gpuc_core::units::{gib, round_to};
use gpuc_rig::nvidia::cuda::{self, Limits, Measured, Rate, Step, Wanted};
use gpuc_rig::nvidia::{Identity, Reading};
use gpuc_rig::storage::{self, Drive, Ground, Kind, Load};
use serde_json::{Map, Value, json};

use super::Args;
use super::attention::Attention;

/// Below this a card gets fewer lanes, or an older generation, than offloading wants, GB/s.
const SLOW_LINK: f64 = 30.0;

/// What was measured so far, and how.
#[derive(Default)]
pub(super) struct Bench {
    pub(super) bandwidth: Bandwidth,
    methods: Vec<String>,
    details: Map<String, Value>,
}

fn spread((slowest, fastest): (f64, f64)) -> Value {
    json!([round_to(slowest, 2), round_to(fastest, 2)])
}

impl Bench {
    /// Copies over PCIe and within VRAM, and how much RAM can be pinned.
    pub(super) fn gpu(
        &mut self,
        gpu: Option<&Identity>,
        available: u64,
        memory: &mut Memory,
        attention: &Attention,
        notes: &mut Vec<String>,
    ) {
        let mut last = None;
        let mut begun = |step| {
            if last != Some(step) {
                attention.say(match step {
                    Step::Start => "CUDA is starting",
                    Step::Link => "PCIe: copies both ways",
                    Step::Vram => "VRAM: copies within",
                    Step::Pin => "RAM: how much can be pinned, some seconds",
                });
                last = Some(step);
            }
        };
        let wanted = gpu.map_or_else(Wanted::default, |gpu| Wanted {
            uuid: gpu.details.uuid.clone().ok(),
            pci_bus_id: gpu.details.pci_bus_id.clone().ok(),
        });
        let found = cuda::measure(&wanted, Limits::of(available), &mut begun);
        self.link(&found, notes);
        match &found.vram {
            Ok(rate) => {
                self.bandwidth.vram_gbps = Some(round_to(rate.gbps, 1));
                self.bandwidth.vram_method = Some(format!(
                    "measured: copies of {} MiB within VRAM, bytes read and written, median of {}",
                    rate.bytes >> 20,
                    rate.copies
                ));
                self.details.insert(
                    "vram".into(),
                    json!({"buffer_mib": rate.bytes >> 20, "copies": rate.copies,
                           "spread_gbps": spread(rate.spread_gbps)}),
                );
            }
            Err(why) => {
                self.details
                    .insert("vram".into(), json!({"error": why.clone()}));
            }
        }
        match found.pinnable {
            Ok(p) => {
                memory.pinnable_ceiling_gib = Some(round_to(gib(p.bytes), 2));
                memory.pinnable_capped = Some(p.capped.is_some());
                memory.pinnable_method = Some(match p.capped {
                    Some(why) => format!("one pinned buffer, doubled; at least this: {why}"),
                    None => "one pinned buffer, doubled and then bisected to 32 MiB".into(),
                });
            }
            Err(why) => memory.pinnable_method = Some(format!("not measured: {why}")),
        }
    }

    fn link(&mut self, found: &Measured, notes: &mut Vec<String>) {
        let rate = |reading: &Reading<Rate>| reading.as_ref().ok().map(|r| round_to(r.gbps, 2));
        let (up, down) = (rate(&found.host_to_device), rate(&found.device_to_host));
        self.bandwidth.pcie_h2d_gbps = up;
        self.bandwidth.pcie_d2h_gbps = down;
        let mut details = Map::new();
        let ways = [
            ("h2d", "rate to the GPU is", &found.host_to_device),
            ("d2h", "rate from the GPU is", &found.device_to_host),
        ];
        let unknown = |what: &str, why: &str| {
            format!(
                "The PCIe {what} unknown, so nothing that streams weights over it can be \
                 forecast: {why}."
            )
        };
        // One reason is said once.
        let both = match (&found.host_to_device, &found.device_to_host) {
            (Err(up), Err(down)) if up == down => Some(unknown("rates are", up)),
            _ => None,
        };
        let together = both.is_some();
        notes.extend(both);
        for (way, what, reading) in ways {
            let value = match reading {
                Ok(r) => json!({"buffer_mib": r.bytes >> 20, "copies": r.copies, "warm_ups": 3,
                                "spread_gbps": spread(r.spread_gbps)}),
                Err(why) => {
                    if !together {
                        notes.push(unknown(what, why));
                    }
                    json!({"error": why})
                }
            };
            details.insert(way.into(), value);
        }
        if let Some(up) = up {
            details.insert("h2d_below_30_gbps".into(), json!(up < SLOW_LINK));
            if up < SLOW_LINK {
                notes.push(format!(
                    "PCIe carries {up} GB/s to the GPU, less than {SLOW_LINK}: prompts read slowly \
                     when experts lie in RAM. See pcie_gen_now and pcie_width_now for the link."
                ));
            }
        }
        self.details.insert("pcie".into(), Value::Object(details));
        self.methods.push(match &found.host_to_device {
            Ok(r) => format!(
                "PCIe: copies of {} MiB from and to pinned RAM, timed by the GPU, median of {}",
                r.bytes >> 20,
                r.copies
            ),
            Err(why) => format!("PCIe: not measured: {why}"),
        });
    }

    /// Reads by fio.
    pub(super) fn nvme(&mut self, args: &Args, attention: &Attention, notes: &mut Vec<String>) {
        let load = Load::new(args.bench_size, args.bench_seconds);
        let seconds = load.seconds + load.ramp;
        let mut begun = |kind| {
            let reads = match kind {
                Kind::Sequential => "in order",
                Kind::Random => "of 4 KiB, one at a time",
            };
            attention.say(&format!("NVMe: reads {reads}, {seconds} s and more"));
        };
        let found = storage::folder(args.bench_dir.as_deref())
            .and_then(|folder| Ground::survey(&folder))
            .and_then(|ground| {
                attention.hold(|| ground.measure(load, &mut begun, &|| attention.is_over()))
            });
        match found {
            Ok(drive) => self.drive(&drive, load, notes),
            Err(why) => {
                self.methods.push(format!("NVMe: not measured: {why}"));
                notes.push(unread(&why));
                self.details.insert("nvme".into(), json!({"error": why}));
            }
        }
    }

    fn drive(&mut self, drive: &Drive, load: Load, notes: &mut Vec<String>) {
        let bandwidth = &mut self.bandwidth;
        let mut errors = Vec::new();
        match &drive.sequential {
            Ok(p) => bandwidth.nvme_seq_read_gbps = Some(round_to(p.bytes_per_s / 1e9, 3)),
            Err(why) => errors.push(format!("reads in order: {why}")),
        }
        match &drive.random {
            Ok(p) => {
                bandwidth.nvme_rand_qd1_read_iops = Some(round_to(p.iops, 1));
                bandwidth.nvme_rand_qd1_read_mbps = Some(round_to(p.bytes_per_s / 1e6, 2));
            }
            Err(why) => errors.push(format!("random reads: {why}")),
        }
        let latency = drive.random.as_ref().ok().and_then(|p| p.latency_us);
        let mount = drive.mount.as_ref();
        let mut details = json!({
            "bench_dir": drive.folder, "fs_type": mount.map(|m| &m.kind),
            "mount": mount.map(|m| &m.point), "device": mount.map(|m| &m.device),
            "direct": true, "ioengine": "libaio", "size_gib": round_to(gib(load.bytes), 3),
            "runtime_s": load.seconds, "ramp_s": load.ramp,
            "rand_qd1_lat_us": latency.map(|us| round_to(us, 2)),
        });
        if let (false, Some(details)) = (errors.is_empty(), details.as_object_mut()) {
            details.insert("error".into(), errors.join(" | ").into());
        }
        self.details.insert("nvme".into(), details);
        self.methods.push(if errors.is_empty() {
            format!(
                "NVMe: fio past the page cache, {} s each after {} s, 256 KiB in order 64 deep and \
                 4 KiB at random one deep",
                load.seconds, load.ramp
            )
        } else {
            let why = errors.join("; ");
            notes.push(unread(&why));
            format!("NVMe: not measured: {why}")
        });
    }

    /// The document's bandwidths.
    pub(super) fn finish(mut self) -> Bandwidth {
        if !self.methods.is_empty() {
            self.bandwidth.method = Some(self.methods.join("; "));
        }
        if !self.details.is_empty() {
            self.bandwidth.details = Some(Value::Object(self.details));
        }
        self.bandwidth
    }
}

fn unread(why: &str) -> String {
    format!(
        "The drive's rates are unknown, so nothing that streams weights from it can be forecast: \
         {why}."
    )
}
