#!/usr/bin/env node
// Another estimator of a GGUF's VRAM, node-llama-cpp's, and gpu-container-plan, both held against what llama.cpp says
// itself (tests/data/memory-map/llama-cpp-memory.csv): everything on the GPU, KV cache of f16, flash attention, 512 tokens
// a batch. Nothing is allocated and no weights are needed: the headers are extended with zeros, sparsely.
//
// usage: npm install --ignore-scripts node-llama-cpp && node estimators.mjs target/release
// (copy it to where node_modules is)
import {execFileSync} from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import {GgufInsights, readGgufFileInfo} from "node-llama-cpp";

const root = process.env.GPU_CONTAINER ?? path.join(import.meta.dirname, "../..");
const data = path.join(root, "tests/data/memory-map");
const plan = path.join(process.argv[2], "gpu-container-plan");
const MIB = 1 << 20;

const [columns, ...lines] = fs.readFileSync(path.join(data, "llama-cpp-memory.csv"), "utf8").trim().split("\n");
const rows = lines
    .map((line) => Object.fromEntries(line.split(",").map((cell, i) => [columns.split(",")[i], cell])))
    .filter((r) => r.ngl === "99" && r.n_cpu_moe === "0" && r.cache_type === "f16" && r.ubatch === "512" && r.flash_attn === "on");

const folder = fs.mkdtempSync(path.join(os.tmpdir(), "estimators-"));
const profile = path.join(folder, "profile.json");
fs.writeFileSync(profile, JSON.stringify({
    schema_version: "0.1.0", created: "2026-11-21",
    hardware: {gpu: {name: "card", vram_total_mib: 1e7, vram_free_mib: 1e7}, platform: {os: "linux"},
        memory: {ram_total_gib: 4096, ram_available_gib: 4096, cpu_mem_bw_gbps: 80}}
}));

async function theirs(file, ctx) {
    const insights = await GgufInsights.from(await readGgufFileInfo(file));
    const gpuLayers = insights.totalLayers;
    const model = insights.estimateModelResourceRequirements({gpuLayers});
    const context = insights.estimateContextResourceRequirements(
        {contextSize: ctx, modelGpuLayers: gpuLayers, batchSize: 512, sequences: 1, flashAttention: true});
    return (model.gpuVram + context.gpuVram) / MIB;
}

function ours(file, ctx) {
    const flags = ["--profile", profile, "--model", file, "--ctx", ctx, "--n-cpu-moe", "0", "--n-gpu-layers", "99",
        "--no-calibration"];
    const map = JSON.parse(execFileSync(plan, flags, {stdio: ["ignore", "pipe", "ignore"]})).memory_map[0];
    return (map.weights_bytes + map.context_bytes + map.compute_bytes) / MIB;
}

const errors = {"node-llama-cpp": [], "gpu-container-plan": []};
for (const r of rows) {
    const file = path.join(folder, r.gguf);
    if (!fs.existsSync(file)) {
        fs.copyFileSync(path.join(data, r.gguf.replace(/\.gguf$/, ".header")), file);
        fs.truncateSync(file, 2 ** 40);
    }
    const truth = Number(r.dev_model_mib) + Number(r.dev_context_mib) + Number(r.dev_compute_mib);
    for (const [who, estimate] of [["node-llama-cpp", await theirs(file, Number(r.ctx))], ["gpu-container-plan", ours(file, r.ctx)]])
        errors[who].push({off: estimate - truth, share: Math.abs(estimate / truth - 1), what: `${r.gguf} at ${r.ctx}`});
}
fs.rmSync(folder, {recursive: true});

const median = (numbers) => numbers.sort((a, b) => a - b)[numbers.length >> 1];
for (const [who, all] of Object.entries(errors)) {
    const sorted = [...all].sort((a, b) => a.off - b.off);
    const [least, most] = [sorted[0], sorted[sorted.length - 1]];
    const within = all.filter((e) => Math.abs(e.off) <= 32).length;
    console.log(`${who}: ${all.length} estimates, median ${Math.round(median(all.map((e) => Math.abs(e.off))))} MiB off `
        + `(${(100 * median(all.map((e) => e.share))).toFixed(1)} %), ${within} within 32 MiB, `
        + `from ${Math.round(least.off)} MiB (${least.what}) to ${Math.round(most.off)} MiB (${most.what})`);
}
process.exit(0);
