use std::collections::BTreeMap;

use super::*;

/// A plan with these flags.
fn plan(flags: &str) -> Plan {
    serde_json::from_value(serde_json::json!({
        "fits": true, "verdict": "ship", "llama_flags": flags,
        "assumptions": {"ctx_len": 8192, "depth": null},
    }))
    .unwrap()
}

fn job(flags: &str, path: &str) -> Job {
    Job::of(&plan(flags), Weights::File(path.into())).unwrap()
}

const EXACT: &str = r#"-ngl 99 --n-cpu-moe 5 -c 8192 -fa on -ub 512 -ctk q8_0 -ctv q8_0 -np 2 -ot "blk\.(7)\.ffn_(down)_exps=CPU,blk\.(5|6)\.ffn_(gate|up)_exps=CPU" -fit off"#;

/// The flags of a tool and how many values each takes.
fn known(tool: &str) -> BTreeMap<&'static str, usize> {
    let text = match tool {
        "server" => include_str!("../../tests/data/llama-flags/server.txt"),
        "bench" => include_str!("../../tests/data/llama-flags/bench.txt"),
        _ => include_str!("../../tests/data/llama-flags/cli.txt"),
    };
    let lines = text.lines().filter(|l| !l.starts_with('#'));
    lines
        .map(|l| l.split_once(' ').unwrap())
        .map(|(name, values)| (name, values.parse().unwrap()))
        .collect()
}

fn parses(tool: &str, args: &[String]) {
    let known = known(tool);
    let mut words = args.iter();
    while let Some(word) = words.next() {
        let values = known.get(word.as_str());
        let values = values.unwrap_or_else(|| panic!("llama-{tool} has no {word}: {args:?}"));
        for _ in 0..*values {
            words.next().unwrap();
        }
    }
}

#[test]
fn every_flag_is_one_that_the_tool_knows() {
    for flags in [EXACT, "-ngl 99 -c 4096 -fa on", "-ngl all -c 0 -fa off"] {
        for weights in [
            Weights::File("/m.gguf".into()),
            Weights::Repo("user/name:q4_k_m".into()),
            Weights::Unknown,
        ] {
            let job = Job::of(&plan(flags), weights).unwrap();
            parses("server", &job.server());
            parses("cli", &job.cli());
            parses("bench", &job.bench().unwrap());
        }
    }
}

#[test]
fn each_tool_gets_the_placement_in_its_own_words() {
    let job = job(EXACT, "/m.gguf");
    let server = job.server().join(" ");
    assert_eq!(server, format!("-m /m.gguf {}", EXACT.replace('"', "")));
    assert!(!job.cli().contains(&"-np".to_owned()));
    let bench = job.bench().unwrap().join(" ");
    assert_eq!(
        bench,
        r"-m /m.gguf -ngl 99 -ncmoe 5 -fa on -ub 512 -ctk q8_0 -ctv q8_0 -ot blk\.(7)\.ffn_(down)_exps=CPU;blk\.(5|6)\.ffn_(gate|up)_exps=CPU -p 512 -n 128 -d 7680 -o json"
    );
}

#[test]
fn what_the_closed_form_leaves_open_is_settled() {
    let job = job("-ngl all --n-cpu-moe 3 -c 4096 -fa on", "/m.gguf");
    assert!(
        job.server()
            .ends_with(&["-np", "1", "-fit", "off"].map(String::from))
    );
    assert!(
        job.bench()
            .unwrap()
            .join(" ")
            .starts_with("-m /m.gguf -ngl 999 -ncmoe 3")
    );
}

#[test]
fn earlier_prompts_get_the_ram_that_a_plan_leaves() {
    for (budget, used, mib, told) in [
        (Some(65_536.0), Some(10_000.0), Some(8192), None),
        (Some(12_000.0), Some(10_000.5), Some(975), Some("975")),
        (Some(10_000.0), Some(10_000.0), Some(0), Some("0")),
        (None, Some(10_000.0), None, None),
        (Some(12_000.0), None, None, None),
    ] {
        let mut plan = plan(EXACT);
        (plan.ram_budget_mib, plan.ram_used_mib) = (budget, used);
        assert_eq!(prompt_cache_mib(&plan), mib);
        let job = Job::of(&plan, Weights::Unknown).unwrap();
        parses("server", &job.server());
        parses("cli", &job.cli());
        let words = job.server();
        let at = words.iter().position(|w| w == "--cache-ram");
        assert_eq!(at.map(|at| words[at + 1].as_str()), told);
        assert!(!job.bench().unwrap().contains(&"--cache-ram".to_owned()));
    }
}

#[test]
fn a_benchmark_stays_within_the_context() {
    let depth = |flags: &str, depth: Option<u64>| {
        let mut plan = plan(flags);
        plan.assumptions.as_mut().unwrap().depth = depth;
        Job::of(&plan, Weights::Unknown).unwrap().depth
    };
    assert_eq!(depth("-ngl 99 -c 4096", None), 3584);
    assert_eq!(depth("-ngl 99 -c 4096", Some(1024)), 1024);
    assert_eq!(depth("-ngl 99 -c 4096", Some(4096)), 3584);
    assert_eq!(depth("-ngl 99 -c 256", None), 0);
    // -c is not there, but the plan says what it was made for.
    assert_eq!(depth("-ngl 99", None), 7680);
}

#[test]
fn what_cannot_be_written_safely_is_refused() {
    let of = |path: &str| Job::of(&plan(EXACT), Weights::File(path.into()));
    assert!(matches!(of("/a\nb"), Err(LaunchError::Control { .. })));
    assert!(matches!(of("/a\u{85}b"), Err(LaunchError::Control { .. })));
    let all = Programs::default();
    let swap = |path: &str, name: &str| Target::LlamaSwap.write(&of(path).unwrap(), name, &all);
    assert!(matches!(
        swap("/${env.HOME}", "x"),
        Err(LaunchError::Misread { .. })
    ));
    assert!(matches!(
        swap("/m", "${PORT}"),
        Err(LaunchError::Misread { .. })
    ));
    assert!(of("/a,b").unwrap().bench().is_err());
    let f32 = job("-ngl 99 -ctk f32", "/m.gguf");
    assert_eq!(f32.bench(), Err(LaunchError::BenchCache));
    let mut refused = plan(EXACT);
    refused.verdict = Verdict::Refuse;
    assert!(matches!(
        Job::of(&refused, Weights::Unknown),
        Err(LaunchError::NothingToLaunch { .. })
    ));
}

#[test]
fn a_plan_for_the_cpu_asks_for_no_gpu() {
    let all = Programs::default();
    for target in [Target::Docker, Target::Compose] {
        let without = target
            .write(&job("-ngl 0 -c 4096", "/m/x.gguf"), "x", &all)
            .unwrap();
        assert!(
            !without.contains("gpus all") && !without.contains("nvidia"),
            "{without}"
        );
        assert!(!without.contains("cuda"), "{without}");
        let with_gpu = target
            .write(&job("-ngl 1 -c 4096", "/m/x.gguf"), "x", &all)
            .unwrap();
        assert!(with_gpu.contains("server-cuda"), "{with_gpu}");
    }
}

#[test]
fn a_repository_is_kept_between_containers() {
    let job = Job::of(&plan(EXACT), Weights::Repo("user/name:q4".into())).unwrap();
    for target in [Target::Docker, Target::Compose] {
        let text = target.write(&job, "x", &Programs::default()).unwrap();
        assert!(
            text.contains("/root/.cache") && !text.contains("/models"),
            "{text}"
        );
    }
}

proptest::proptest! {
    #[test]
    fn any_flags_are_read_or_refused(text in "\\PC*") {
        let _ = flags::parse(&text);
    }
}
