#!/bin/sh
# On a machine with an NVIDIA GPU: a job that fills VRAM past --vram-max, and one past --job-vram, are
# aborted and leave nothing, and the readings agree with nvidia-smi's.
# Usage: tests/gpu/watchdog.sh [path of gpu-container-watchdog]
set -eu
watchdog=${1:-target/release/gpu-container-watchdog}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
for tool in nvidia-smi python3; do
    command -v "$tool" >/dev/null || { echo "skipped: no $tool"; exit 0; }
done
fail() { echo "FAILED: $*"; exit 1; }

# Takes VRAM, 64 MiB at a time, by the driver's own library: HALT MiB, and when there is a file GO
# all that there is. It writes its number down, and HALT when it has that much.
cat >"$dir/fill.py" <<'PY'
import ctypes, os, sys, time
folder, halt = sys.argv[1], int(sys.argv[2])
cuda = ctypes.CDLL(os.environ.get("GPUC_CUDA_LIB", "libcuda.so.1"))
def check(status):
    if status:
        raise SystemExit(f"CUDA says {status}")
device, context = ctypes.c_int(), ctypes.c_void_p()
check(cuda.cuInit(0))
check(cuda.cuDeviceGet(ctypes.byref(device), 0))
check(cuda.cuCtxCreate_v2(ctypes.byref(context), 0, device))
with open(f"{folder}/pid", "w") as file:
    file.write(str(os.getpid()))
held = 0
while True:
    if held >= halt and not os.path.exists(f"{folder}/go"):
        open(f"{folder}/halt", "w").close()
        time.sleep(0.01)
        continue
    at = ctypes.c_uint64()
    if cuda.cuMemAlloc_v2(ctypes.byref(at), ctypes.c_size_t(64 << 20)) == 0:
        held += 64
    time.sleep(0.01)
PY

# supervise HALT OPTIONS...: the job under the watchdog, in the background.
supervise() {
    halt=$1
    shift
    rm -f "$dir/pid" "$dir/halt" "$dir/go" "$dir/log.jsonl"
    "$watchdog" "$@" --host-avail-min 0 --host-mem-max 1000 --interval 0.1 --log "$dir/log.jsonl" \
        run --peaks-out "$dir/peaks.json" -- python3 "$dir/fill.py" "$dir" "$halt" &
    running=$!
}

# until_there FILE: waits for it, or for the end of the watchdog.
until_there() {
    while ! [ -e "$1" ]; do
        kill -0 "$running" 2>/dev/null || fail "the job never wrote $1"
        sleep 0.1
    done
}

# aborted WHAT: the watchdog has ended the job as it should.
aborted() {
    status=0
    wait "$running" || status=$?
    [ "$status" = 7 ] || fail "$1: status $status instead of 7"
    grep -q '"aborted": true' "$dir/peaks.json" || fail "$1: the peaks do not say aborted"
    ! [ -e "/proc/$(cat "$dir/pid")" ] || fail "$1: the job goes on"
    echo "aborted at $1"
}

# peak NAME: a number of the peaks file.
peak() {
    python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' \
        "$dir/peaks.json" "$1"
}

# near A B: whether two readings in MiB, of a moment each, are the same but for 5 % and 64 MiB.
near() { awk -v a="$1" -v b="$2" 'BEGIN { d = a - b; exit !(d * d <= (64 + 0.05 * b) ^ 2) }'; }

"$watchdog" --json --host-avail-min 0 --host-mem-max 1000 >"$dir/look.json" 2>/dev/null || true
theirs=$(nvidia-smi --query-gpu=memory.used,temperature.gpu --format=csv,noheader,nounits)
ours=$(python3 -c 'import json, sys; s = json.load(open(sys.argv[1]))["sample"]
print(s["gpu_vram_used_mib"], s["gpu_temp_c"], s["gpu_count"])' "$dir/look.json")
echo "memory used MiB, °C: nvidia-smi $(echo "$theirs" | tr '\n' ';') the watchdog, with the GPUs' count, $ours"
if [ "$(echo "$theirs" | wc -l)" = 1 ]; then
    # Whether what the driver keeps for itself counts as used is a matter of its version.
    reserved=$(nvidia-smi --query-gpu=memory.reserved --format=csv,noheader,nounits) || reserved=0
    near "${ours%% *}" "${theirs%%,*}" || near "${ours%% *}" $((${theirs%%,*} + reserved)) ||
        fail "the watchdog reads VRAM as nvidia-smi does not"
fi

used=$(nvidia-smi --query-gpu=memory.used,memory.total --format=csv,noheader,nounits | head -1 |
    awk -F, '{ print int(100 * $1 / $2) + 10 }')
supervise 1000000 --vram-max "$used"
aborted "--vram-max $used"

supervise 1024 --job-vram 2048
until_there "$dir/halt"
sleep 1
theirs=$(nvidia-smi --query-compute-apps=pid,used_memory --format=csv,noheader,nounits |
    awk -F', *' -v pid="$(cat "$dir/pid")" '$1 == pid { print $2 }')
ours=$(tail -n 1 "$dir/log.jsonl" |
    python3 -c 'import json, sys; print(json.loads(sys.stdin.read())["sample"]["job_vram_mib"])')
echo "the job's VRAM, MiB: nvidia-smi ${theirs:-says nothing of it}, the watchdog $ours"
case $theirs in
    '' | *[!0-9.]*) echo "not compared: nvidia-smi does not tell it here" ;;
    *) near "$ours" "$theirs" || fail "the watchdog reads the job's VRAM as nvidia-smi does not" ;;
esac
: >"$dir/go"
aborted "--job-vram 2048 with $(peak peak_job_vram_mib) MiB"
