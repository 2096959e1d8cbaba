//! The flags in a plan, read back: only those that a plan writes, each with its value.

use super::LaunchError;

/// One of llama.cpp's flags that a plan sets, with its names.
///
/// From `llama-server --help` and `llama-bench --help` of build b11434.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Flag {
    /// The name that plans write, then its other names.
    pub(super) names: &'static [&'static str],
    /// The environment variable that llama.cpp reads instead.
    pub(super) env: &'static str,
    /// The name that llama-bench has for it, where it has the flag.
    pub(super) bench: Option<&'static str>,
    /// Whether llama-cli has a use for it.
    pub(super) cli: bool,
}

const fn flag(
    names: &'static [&'static str],
    env: &'static str,
    bench: Option<&'static str>,
) -> Flag {
    Flag {
        names,
        env,
        bench,
        cli: true,
    }
}

pub(super) static LAYERS: Flag = flag(
    &["-ngl", "--n-gpu-layers", "--gpu-layers"],
    "LLAMA_ARG_N_GPU_LAYERS",
    Some("-ngl"),
);
pub(super) static CONTEXT: Flag = flag(&["-c", "--ctx-size"], "LLAMA_ARG_CTX_SIZE", None);
pub(super) static PARALLEL: Flag = Flag {
    cli: false,
    ..flag(&["-np", "--parallel"], "LLAMA_ARG_N_PARALLEL", None)
};
pub(super) static OVERRIDES: Flag = flag(
    &["-ot", "--override-tensor"],
    "LLAMA_ARG_OVERRIDE_TENSOR",
    Some("-ot"),
);
pub(super) static FIT: Flag = flag(&["-fit", "--fit"], "LLAMA_ARG_FIT", None);
/// No plan writes it: what it bounds is no placement.
pub(super) static PROMPTS: Flag = flag(&["--cache-ram", "-cram"], "LLAMA_ARG_CACHE_RAM", None);
pub(super) static CACHE_K: Flag = flag(
    &["-ctk", "--cache-type-k"],
    "LLAMA_ARG_CACHE_TYPE_K",
    Some("-ctk"),
);
pub(super) static CACHE_V: Flag = flag(
    &["-ctv", "--cache-type-v"],
    "LLAMA_ARG_CACHE_TYPE_V",
    Some("-ctv"),
);
static CPU_MOE: Flag = flag(
    &["--n-cpu-moe", "-ncmoe"],
    "LLAMA_ARG_N_CPU_MOE",
    Some("-ncmoe"),
);
static FLASH_ATTN: Flag = flag(
    &["-fa", "--flash-attn"],
    "LLAMA_ARG_FLASH_ATTN",
    Some("-fa"),
);
static UBATCH: Flag = flag(&["-ub", "--ubatch-size"], "LLAMA_ARG_UBATCH", Some("-ub"));

static ALL: [&Flag; 10] = [
    &LAYERS,
    &CPU_MOE,
    &CONTEXT,
    &FLASH_ATTN,
    &UBATCH,
    &CACHE_K,
    &CACHE_V,
    &PARALLEL,
    &OVERRIDES,
    &FIT,
];

/// A flag with its value.
pub(super) type Setting = (&'static Flag, String);

/// The settings that `llama_flags` of a plan makes.
///
/// A plan may come from anywhere, and what it names is run: nothing but placement gets through.
pub(super) fn parse(text: &str) -> Result<Vec<Setting>, LaunchError> {
    let mut words = words(text)?.into_iter();
    let mut out: Vec<Setting> = Vec::new();
    while let Some(name) = words.next() {
        let flag = ALL.into_iter().find(|f| f.names.contains(&name.as_str()));
        let Some(flag) = flag else {
            return Err(LaunchError::UnknownFlag { name });
        };
        let Some(value) = words.next() else {
            return Err(LaunchError::NoValue { name });
        };
        out.retain(|(earlier, _)| *earlier != flag);
        out.push((flag, value));
    }
    Ok(out)
}

/// The words of `text`, split at white space outside double quotes.
fn words(text: &str) -> Result<Vec<String>, LaunchError> {
    let mut out = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    for c in text.chars() {
        match c {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            c if c.is_whitespace() && !quoted => out.extend(word.take()),
            '\'' | '`' | '$' => return Err(LaunchError::Quoting),
            c => word.get_or_insert_default().push(c),
        }
    }
    if quoted {
        return Err(LaunchError::Quoting);
    }
    out.extend(word);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_plan_writes_is_read_back() {
        let text = r#"-ngl 99 --n-cpu-moe 5 -ot "blk\.(7)\.ffn_(down)_exps=CPU" -fit off"#;
        let read: Vec<_> = parse(text)
            .unwrap()
            .into_iter()
            .map(|(flag, value)| (flag.names[0], value))
            .collect();
        let want = [
            ("-ngl", "99"),
            ("--n-cpu-moe", "5"),
            ("-ot", r"blk\.(7)\.ffn_(down)_exps=CPU"),
            ("-fit", "off"),
        ];
        assert_eq!(read, want.map(|(k, v)| (k, v.to_owned())));
    }

    #[test]
    fn nothing_else_gets_through() {
        for text in [
            "-ngl 99 --host 0.0.0.0",
            "-ngl",
            "-ngl 99 -m other.gguf",
            "-ngl 99; reboot",
            "-ngl $(reboot) -c 1",
            "-ngl `reboot`",
            "-ngl '99'",
            "-ot \"blk",
            "--tools all",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        // The last of two wins, as in llama.cpp.
        assert_eq!(parse("-c 1 -c 2").unwrap()[0].1, "2");
    }
}
