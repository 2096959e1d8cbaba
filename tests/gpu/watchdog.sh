#!/bin/sh
# On a machine with an NVIDIA GPU and PyTorch: a job that fills VRAM is aborted, and the readings
# agree with nvidia-smi's. Usage: tests/gpu/watchdog.sh [path of gpu-container-watchdog]
set -eu
watchdog=${1:-target/release/gpu-container-watchdog}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
command -v nvidia-smi >/dev/null || { echo "skipped: no nvidia-smi"; exit 0; }
python3 -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null ||
    { echo "skipped: no PyTorch with CUDA"; exit 0; }
fail() { echo "FAILED: $*"; exit 1; }

"$watchdog" --json >"$dir/look.json" 2>/dev/null || true
nvidia-smi --query-gpu=memory.used,memory.total,temperature.gpu --format=csv,noheader,nounits
python3 - "$dir/look.json" <<'PY'
import json, sys
s = json.load(open(sys.argv[1]))["sample"]
print("watchdog:", s["gpu_vram_used_mib"], s["gpu_vram_total_mib"], s["gpu_temp_c"])
PY

cat >"$dir/fill.py" <<'PY'
import time, torch
held = []
while True:
    held.append(torch.zeros(64 << 20, dtype=torch.uint8, device="cuda"))
    time.sleep(0.01)
PY
used=$(nvidia-smi --query-gpu=memory.used,memory.total --format=csv,noheader,nounits | head -1 |
    awk -F, '{ print int(100 * $1 / $2) + 10 }')
status=0
"$watchdog" --vram-max "$used" --host-avail-min 0 --host-mem-max 1000 --interval 0.1 \
    run --peaks-out "$dir/peaks.json" -- python3 "$dir/fill.py" || status=$?
[ "$status" = 7 ] || fail "status $status instead of 7"
grep -q '"aborted": true' "$dir/peaks.json" || fail "the peaks do not say aborted"
pgrep -f "$dir/fill.py" && fail "the job goes on"
echo "aborted at --vram-max $used"
