#!/bin/sh
# A real llama-server under the watchdog: it starts, answers, is as fast as without, is stopped by a
# limit on its memory just above what it needs, and leaves nothing behind.
# Usage: tests/llama-cpp/watchdog.sh WATCHDOG LLAMA_SERVER MODEL.gguf [rounds of the timing, 3]
set -eu
[ $# -ge 3 ] || { sed -n '2,4s/^# //p' "$0"; exit 2; }
for file in "$1" "$2" "$3"; do
    [ -e "$file" ] || { echo "skipped: there is no $file"; exit 0; }
done
command -v python3 >/dev/null || { echo "skipped: no python3"; exit 0; }
exec python3 - "$@" <<'PY'
import json, os, re, signal, socket, statistics, subprocess, sys, tempfile, time, urllib.request

watchdog, server, model = sys.argv[1:4]
rounds = int(sys.argv[4]) if len(sys.argv) > 4 else 3
# Libraries lie beside a server that was unpacked from an archive.
env = dict(os.environ, LD_LIBRARY_PATH=os.path.dirname(os.path.abspath(server)))
folder = tempfile.TemporaryDirectory()
peaks, events = (os.path.join(folder.name, n) for n in ("peaks.json", "events.jsonl"))
mark = f"gpuc-watchdog-test-{os.getpid()}"
CALM = ["--host-mem-max", "1000", "--host-avail-min", "0", "--cgroup-mem-max", "1000", "--interval", "0.1"]


def command():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    return port, [server, "-m", model, "--host", "127.0.0.1", "--port", str(port), "-c", "4096",
                  "--parallel", "1", "--alias", mark]


def guarded(*limits):
    port, job = command()
    return port, [watchdog, *CALM, *limits, "run", "--peaks-out", peaks, "--events", events, "--", *job]


def start(port, argv):
    process = subprocess.Popen(argv, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    ends = time.monotonic() + 120
    while time.monotonic() < ends:
        assert process.poll() is None, f"ended with {process.returncode} before it was ready"
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                return process
        except OSError:
            time.sleep(0.02)
    raise SystemExit("FAILED: not ready within 120 s")


def complete(port, prompt, tokens):
    body = {"prompt": prompt, "n_predict": tokens, "temperature": 0, "ignore_eos": True}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/completion", json.dumps(body).encode(),
                                     {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=300) as answer:
        return json.load(answer)


def survivors():
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                if mark.encode() in f.read():
                    found.append(int(pid))
        except OSError:
            pass
    return found


def timed(port, argv, want):
    process = start(port, argv)
    complete(port, "Once upon a time", 16)
    rate = complete(port, "The capital of France is", 128)["timings"]["predicted_per_second"]
    process.send_signal(signal.SIGTERM)
    status = process.wait(60)
    assert status in want, f"status {status} instead of {want}"
    assert not survivors(), f"left: {survivors()}"
    return rate


alone, under = [], []
for _ in range(rounds):
    alone.append(timed(*command(), (0, -15, 143)))
    # A limit that is far away has its memory read at each look.
    under.append(timed(*guarded("--job-rss-max", "1000000"), (143,)))
need = json.load(open(peaks))["peak_job_rss_mib"]
ratio = statistics.median(under) / statistics.median(alone)
show = lambda rates: ", ".join(f"{r:.1f}" for r in rates)
print(f"tokens per second alone: {show(alone)}; under the watchdog, 10 looks a second: {show(under)}")
print(f"ratio of the medians {ratio:.3f}; the server's resident memory at most {need:.0f} MiB")

# Just above: each prompt of its own that the server keeps takes some more.
limit = need + 8
port, argv = guarded("--job-rss-max", str(limit))
os.path.exists(events) and os.remove(events)
process = start(port, argv)
print("asked, it says:", complete(port, "The capital of France is", 8)["content"].strip()[:60])
asked = 1
while process.poll() is None and asked < 200:
    words = " ".join(f"w{asked}{i}" for i in range(150))
    try:
        complete(port, words, 1)
        asked += 1
    except (OSError, ValueError):
        # Cut off in the middle of an answer.
        break
try:
    status = process.wait(60)
except subprocess.TimeoutExpired:
    process.send_signal(signal.SIGTERM)
    raise SystemExit(f"FAILED: after {asked} answers it still runs")
left = survivors()
seen = json.load(open(peaks))
story = [json.loads(line)["event"] for line in open(events)]
print(f"limit {limit:.0f} MiB: status {status} after {asked} answers; peak {seen['peak_job_rss_mib']:.0f} MiB; {seen['action_taken']}")
print("events:", ", ".join(story))
assert status == 7, f"FAILED: status {status} instead of 7"
assert seen["aborted"] and seen["breached"] and seen["peak_job_rss_mib"] >= limit, f"FAILED: {seen}"
assert not left, f"FAILED: left {left}"
assert story[-1] == "exit" and "breach" in story and "term" in story, f"FAILED: {story}"
print("passed")
PY
