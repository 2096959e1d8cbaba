//! What lies in `examples/` loads, and says what its README says.

#![allow(clippy::expect_used, reason = "a helper of a test may fail the test")]

use std::path::PathBuf;

use gpuc_core::document::Profile;
use gpuc_core::{json, model};

fn read(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("examples")
        .join(name);
    std::fs::read(path).expect(name)
}

#[test]
fn models_have_the_parameters_that_the_readme_gives() {
    let readme = String::from_utf8(read("README.md")).unwrap();
    for name in [
        "qwen3-30b-a3b",
        "gpt-oss-20b",
        "gpt-oss-120b",
        "deepseek-v3",
        "llama-3.1-8b",
    ] {
        let config = model::read(&read(&format!("models/{name}.json"))).unwrap();
        let analysis = model::analyze(&config, None, Some("gguf-q4_k_m")).unwrap();
        let billions = analysis.model.total_params.unwrap() as f64 / 1e9;
        let row = format!("| {name}.json | {billions:.2} B |");
        assert!(readme.contains(&row), "{row}");
    }
}

#[test]
fn rigs_are_profiles_that_say_they_are_examples() {
    for name in ["rtx-5090-wsl2", "rtx-3060-12gb", "rtx-4060-laptop-8gb"] {
        let profile: Profile = json::read(&read(&format!("rigs/{name}.json"))).unwrap();
        assert!(profile.hardware.gpu.vram_free_mib < profile.hardware.gpu.vram_total_mib);
        assert!(
            profile
                .notes
                .iter()
                .any(|n| n.contains("not a measurement")),
            "{name}"
        );
    }
}
