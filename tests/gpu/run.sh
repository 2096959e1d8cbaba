#!/usr/bin/env bash
# On a machine with an NVIDIA GPU: holds every reading of gpu-container-profile against nvidia-smi,
# and its rates against PyTorch's or nvbandwidth's. Prints a table for docs/validation/.
#
#   tests/gpu/run.sh [PROFILE-BINARY] [more arguments for it, such as --gpu 1]
#
# Ends with 0 when all agrees or when there is no GPU here, 1 when something differs.
set -u
cd "$(dirname "$0")/../.." || exit 1

if ! command -v nvidia-smi >/dev/null || ! nvidia-smi -L >/dev/null 2>&1; then
  echo "SKIP: no NVIDIA GPU answers here"
  exit 0
fi
command -v python3 >/dev/null || { echo "SKIP: python3 compares, and is not here"; exit 0; }

binary=${1:-target/release/gpu-container-profile}
shift || true
if [ ! -x "$binary" ]; then
  cargo build --release --bin gpu-container-profile || exit 1
fi
profile=$(mktemp) || exit 1
trap 'rm -f "$profile"' EXIT
# /dev/shm is refused for NVMe, which keeps fio out of this.
"$binary" --bench-dir /dev/shm "$@" >"$profile" || exit 1

python3 - "$profile" <<'PY'
import json, re, shutil, subprocess, sys

document = json.load(open(sys.argv[1]))
hardware = document["hardware"]
gpu = next((g for g in hardware.get("gpus") or [] if g["chosen"]), None)
if gpu is None:
    sys.exit(f"no GPU in the profile: {document['notes']}")
failed = 0
rows = []


def row(what, ours, theirs, verdict):
    global failed
    failed += verdict == "DIFFERS"
    rows.append((what, ours, theirs, verdict))


# (our key, nvidia-smi's column, how the two may differ)
same = lambda a, b: str(a) == b
number = lambda a, b: abs(float(a) - float(b)) < 0.5
switch = lambda a, b: {"Enabled": True, "Disabled": False}.get(b) == a
moving = None
columns = [
    ("name", "name", same), ("uuid", "uuid", same), ("pci_bus_id", "pci.bus_id", same),
    ("driver_version", "driver_version", same), ("compute_capability", "compute_cap", same),
    ("vram_total_mib", "memory.total", number), ("vram_free_mib", "memory.free", moving),
    ("vram_reserved_mib", "memory.reserved", number),
    ("pcie_gen", "pcie.link.gen.max", number), ("pcie_width", "pcie.link.width.max", number),
    ("pcie_gen_now", "pcie.link.gen.current", moving),
    ("pcie_width_now", "pcie.link.width.current", number),
    ("memory_clock_max_mhz", "clocks.max.mem", number), ("memory_clock_mhz", "clocks.mem", moving),
    ("graphics_clock_max_mhz", "clocks.max.gr", number), ("graphics_clock_mhz", "clocks.gr", moving),
    ("power_limit_w", "power.limit", number), ("power_w", "power.draw", moving),
    ("temp_c", "temperature.gpu", moving), ("ecc", "ecc.mode.current", switch),
    ("mig", "mig.mode.current", switch),
]
for key, column, equal in columns:
    asked = subprocess.run(
        ["nvidia-smi", f"--id={gpu['index']}", f"--query-gpu={column}",
         "--format=csv,noheader,nounits"], capture_output=True, text=True)
    theirs = asked.stdout.strip()
    ours = gpu.get(key)
    absent = asked.returncode != 0 or re.match(r"\[?(N/A|Not Supported|Unknown)", theirs)
    if ours is None or absent:
        both = ours is None and absent
        why = gpu.get("missing", {}).get(key, "")
        row(key, "-" if ours is None else ours, theirs or "-", "absent" if both else f"one lacks it {why}")
    elif equal is moving:
        row(key, ours, theirs, "moves")
    else:
        row(key, ours, theirs, "equal" if equal(ours, theirs) else "DIFFERS")


def by_pytorch(index):
    """The same three copies, timed by PyTorch's events, in GB/s; None without PyTorch."""
    try:
        import torch
    except ImportError:
        return None
    if not torch.cuda.is_available():
        return None
    torch.cuda.set_device(index)

    def rate(to, source, moved, together=1):
        times = []
        for turn in range(14):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            for _ in range(together):
                to.copy_(source, non_blocking=True)
            end.record()
            end.synchronize()
            if turn >= 3:
                times.append(begin.elapsed_time(end) / 1000)
        return moved * together / sorted(times)[len(times) // 2] / 1e9

    size = 256 << 20
    host = torch.empty(size, dtype=torch.uint8).pin_memory()
    card = torch.empty(size, dtype=torch.uint8, device="cuda")
    up, down = rate(card, host, size), rate(host, card, size)
    size = 1 << 30
    a, b = (torch.empty(size, dtype=torch.uint8, device="cuda") for _ in range(2))
    return {"pcie_h2d_gbps": up, "pcie_d2h_gbps": down, "vram_gbps": rate(b, a, 2 * size, 4)}


def by_nvbandwidth(index):
    """nvbandwidth's copy-engine tests; None where it is not installed."""
    if not shutil.which("nvbandwidth"):
        return None
    tests = {"pcie_h2d_gbps": "host_to_device_memcpy_ce", "pcie_d2h_gbps": "device_to_host_memcpy_ce",
             "vram_gbps": "device_local_copy"}
    found = {}
    for key, test in tests.items():
        text = subprocess.run(["nvbandwidth", "-t", test], capture_output=True, text=True).stdout
        values = re.findall(r"^\s*0((?:\s+[\d.]+)+)\s*$", text, re.M)
        cells = values[-1].split() if values else []
        if index < len(cells):
            found[key] = float(cells[index])
    return found or None


second, how = by_pytorch(gpu["index"]), "PyTorch"
if second is None:
    second, how = by_nvbandwidth(gpu["index"]), "nvbandwidth"
bandwidth = hardware["bandwidth"]
for key in ("pcie_h2d_gbps", "pcie_d2h_gbps", "vram_gbps"):
    ours, theirs = bandwidth.get(key), (second or {}).get(key)
    if ours is None or theirs is None:
        row(key, ours if ours is not None else bandwidth["method"], theirs or "-", "one lacks it")
        continue
    apart = (ours - theirs) / theirs * 100
    row(key, ours, f"{theirs:.2f} ({how})", f"{apart:+.1f} %" if abs(apart) <= 5 else "DIFFERS")
row("vram_method", bandwidth.get("vram_method"), "-", "")

print(f"# {gpu['name']}, driver {gpu['driver_version']}, {document['created']}\n")
print("| reading | gpu-container-profile | nvidia-smi or second method | verdict |")
print("| --- | --- | --- | --- |")
for cells in rows:
    print("| " + " | ".join(str(c) for c in cells) + " |")
memory = hardware["memory"]
print(f"\nPinnable RAM: {memory['pinnable_ceiling_gib']} GiB ({memory['pinnable_method']})")
sys.exit(1 if failed else 0)
PY
