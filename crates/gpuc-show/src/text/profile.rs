//! The screen of a profile: the rig at a glance.

use gpuc_core::document::{Bandwidth, Expert, Gpu, Hardware, Memory, Model, Profile};

use super::Terminal;
use super::canvas::{Canvas, FAINT, GOOD, PLAIN, Piece, STRONG, WARN, plain};
use super::gauge::gauge;

/// The rig in a line, for those who do not get the screen.
pub fn gist(hardware: &Hardware) -> String {
    if has_vram(&hardware.gpu) {
        format!("profiled: {}", glance(hardware))
    } else {
        format!("no GPU: {WITHOUT_GPU}")
    }
}

const WITHOUT_GPU: &str = "a plan for this rig is one with --cpu-only or --vram-mib";

fn has_vram(gpu: &Gpu) -> bool {
    gpu.vram_free_mib.or(gpu.vram_total_mib).is_some()
}

/// The rig, what moves how fast in it, the model, and what is missing and why. The model's experts
/// are `expert`, where it has any.
pub fn profile<E>(profile: &Profile<E>, expert: Option<&Expert>, terminal: &Terminal) -> String {
    let mut canvas = Canvas::new(terminal);
    let hardware = &profile.hardware;
    let gpu = &hardware.gpu;
    if has_vram(gpu) {
        canvas.verdict(GOOD, "PROFILED", &glance(hardware));
    } else {
        canvas.verdict(WARN, "NO GPU", WITHOUT_GPU);
    }
    canvas.line([Piece(FAINT, format!("  {}", surroundings(profile)))]);
    canvas.gap();
    vram(&mut canvas, gpu);
    if let Some(memory) = &hardware.memory {
        ram(&mut canvas, memory);
    }
    canvas.gap();
    rates(&mut canvas, hardware);
    if let Some(model) = &profile.model {
        canvas.gap();
        canvas.wrap(plain("  model   "), PLAIN, &described(model, expert));
    }
    if !profile.notes.is_empty() {
        canvas.gap();
    }
    for note in &profile.notes {
        canvas.wrap(Piece(FAINT, "  note    ".into()), PLAIN, note);
    }
    canvas.finish()
}

fn glance(hardware: &Hardware) -> String {
    let mut parts = vec![hardware.gpu.name.clone()];
    let vram = hardware.gpu.vram_total_mib.or(hardware.gpu.vram_free_mib);
    parts.extend(vram.map(|mib| format!("{:.1} GiB of VRAM", mib / 1024.0)));
    let ram = hardware.memory.as_ref().and_then(|m| m.ram_total_gib);
    parts.extend(ram.map(|gib| format!("{gib:.1} GiB of RAM")));
    parts.join(", ")
}

fn surroundings<E>(profile: &Profile<E>) -> String {
    let mut parts = vec![profile.created.clone()];
    if let Some(platform) = &profile.hardware.platform {
        let os = if platform.wsl2 {
            "WSL2"
        } else {
            platform.os.as_str()
        };
        parts.push(match (&platform.container_runtime, platform.in_container) {
            (Some(runtime), _) => format!("{os} in {runtime}"),
            (None, true) => format!("{os} in a container"),
            (None, false) => os.to_owned(),
        });
    }
    let gpu = &profile.hardware.gpu;
    parts.extend(gpu.driver_version.as_ref().map(|v| format!("driver {v}")));
    parts.extend(gpu.cuda_version.as_ref().map(|v| format!("CUDA {v}")));
    parts.extend(
        gpu.compute_capability
            .as_ref()
            .map(|v| format!("compute capability {v}")),
    );
    parts.join(", ")
}

fn vram(canvas: &mut Canvas, gpu: &Gpu) {
    if let (Some(free), Some(total)) = (gpu.vram_free_mib, gpu.vram_total_mib) {
        full(
            canvas,
            "VRAM",
            total - free,
            total,
            &format!("{free:.0} of {total:.0} MiB free"),
        );
    }
}

fn ram(canvas: &mut Canvas, memory: &Memory) {
    if let (Some(free), Some(total)) = (memory.ram_available_gib, memory.ram_total_gib) {
        full(
            canvas,
            "RAM",
            total - free,
            total,
            &format!("{free:.1} of {total:.1} GiB free"),
        );
    }
}

/// How full a memory is.
fn full(canvas: &mut Canvas, what: &str, used: f64, total: f64, words: &str) {
    let mut row = vec![plain(format!("  {what:<8}"))];
    let cells = canvas.width().saturating_sub(40).clamp(8, 60);
    row.extend(gauge(canvas, cells, used / total, None, STRONG));
    row.push(plain(format!("  {words}")));
    canvas.line(row);
}

/// What moves how fast, and what is not known of it.
fn rates(canvas: &mut Canvas, hardware: &Hardware) {
    let b = &hardware.bandwidth;
    let why = |detail: &str| {
        let details = b.details.as_ref();
        let why = details.and_then(|d| d.pointer(detail)?.as_str());
        why.or(b.method.as_deref()).unwrap_or("no reason given")
    };
    let rate = |gbps: Option<f64>, how: Option<&str>| {
        let how = how.map_or_else(String::new, |how| format!(" ({how})"));
        gbps.map(|g| format!("{g:.1} GB/s{how}"))
    };
    let memory = hardware.memory.as_ref();
    let ram = memory.and_then(|m| rate(m.cpu_mem_bw_gbps, m.cpu_mem_bw_method.as_deref()));
    let vram = rate(b.vram_gbps, b.vram_method.as_deref());
    let of_ram = memory.and_then(|m| m.cpu_mem_bw_method.as_deref());
    let of_pinned = memory.and_then(|m| m.pinnable_method.as_deref());
    let rows = [
        ("VRAM", vram, why("/vram/error")),
        ("RAM", ram, of_ram.unwrap_or_else(|| why(""))),
        ("PCIe", pcie(&hardware.gpu, b), why("/pcie/h2d/error")),
        ("NVMe", nvme(b), why("/nvme/error")),
        (
            "pinned",
            memory.and_then(pinned),
            of_pinned.unwrap_or_else(|| why("")),
        ),
    ];
    for (what, text, why) in rows {
        let lead = format!("  {what:<8}");
        match text {
            Some(text) => canvas.wrap(plain(lead), PLAIN, &text),
            None => canvas.wrap(plain(lead), FAINT, &unknown(why)),
        }
    }
}

fn unknown(why: &str) -> String {
    if why.starts_with("not measured") {
        why.to_owned()
    } else {
        format!("not measured: {why}")
    }
}

fn pcie(gpu: &Gpu, b: &Bandwidth) -> Option<String> {
    let link = gpu
        .pcie_gen
        .zip(gpu.pcie_width)
        .map(|(generation, lanes)| format!("{generation}.0 x{lanes}"));
    let rates = [
        b.pcie_h2d_gbps.map(|g| format!("{g:.1} GB/s to the GPU")),
        b.pcie_d2h_gbps.map(|g| format!("{g:.1} GB/s back")),
    ];
    let mut parts: Vec<String> = link.into_iter().collect();
    if rates.iter().all(Option::is_none) && !parts.is_empty() {
        parts.push("rates not measured".into());
    }
    parts.extend(rates.into_iter().flatten());
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn nvme(b: &Bandwidth) -> Option<String> {
    let random = b.nvme_rand_qd1_read_iops.map(|iops| {
        let mbps = b.nvme_rand_qd1_read_mbps;
        let mbps = mbps.map_or_else(String::new, |m| format!(" ({m:.0} MB/s)"));
        format!("{iops:.0} random reads of 4 KiB a second{mbps}")
    });
    let parts = [
        b.nvme_seq_read_gbps
            .map(|g| format!("{g:.2} GB/s in sequence")),
        random,
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn pinned(memory: &Memory) -> Option<String> {
    let least = if memory.pinnable_capped == Some(true) {
        "at least "
    } else {
        ""
    };
    memory
        .pinnable_ceiling_gib
        .map(|g| format!("{least}{g:.1} GiB of RAM can be"))
}

fn described<E>(model: &Model<E>, expert: Option<&Expert>) -> String {
    let mut parts = Vec::new();
    if let Some(total) = model.total_params {
        parts.push(format!("{:.1} billion parameters", total as f64 / 1e9));
    }
    parts.extend(model.n_layers.map(|n| format!("{n} blocks")));
    if let Some(e) = expert.filter(|e| e.is_moe)
        && let (Some(all), Some(each)) = (e.num_experts, e.experts_per_token)
    {
        parts.push(format!("{each} of {all} experts a token"));
    }
    let kv = model.kv_bytes_per_token;
    parts.extend(kv.map(|b| format!("KV cache {:.0} KiB a token", b as f64 / 1024.0)));
    parts.extend(model.max_context.map(|n| format!("context up to {n}")));
    parts.extend(model.quant.clone());
    format!("{}: {}", model.name, parts.join(", "))
}
