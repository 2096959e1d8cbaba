//! From a plan to what starts it: command lines, unit files, containers.
//!
//! A job is the weights and the plan's own flags; each target writes them as its reader wants them.

mod flags;
mod quote;
mod target;

use crate::document::{Plan, Verdict};
use crate::error::{Code, Coded};
use crate::units::floor_bytes;
use flags::{CONTEXT, FIT, LAYERS, OVERRIDES, PARALLEL, PROMPTS, Setting};
pub use quote::{shell, shell_line};
pub use target::{Programs, Target};

/// Tokens of the prompt that a benchmark evaluates, `-p`.
const BENCH_PROMPT: u64 = 512;
/// Tokens that a benchmark decodes, `-n`.
const BENCH_DECODE: u64 = 128;
/// RAM that llama-server fills with earlier prompts unless told otherwise, MiB.
const PROMPT_CACHE: u64 = 8192;
/// RAM for the program, its libraries and what the driver keeps on the host's side, MiB.
pub(crate) const PROGRAM: f64 = 1024.0;
/// What stands for the weights where none are named.
const NO_WEIGHTS: &str = "MODEL.gguf";

/// Where the weights are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Weights {
    /// In this file; of a split model, the first of its files.
    File(String),
    /// In this HuggingFace repository (`user/name:quant`).
    Repo(String),
    /// Nobody said.
    #[default]
    Unknown,
}

impl Weights {
    /// Those that the plan was made for.
    pub fn of(plan: &Plan) -> Self {
        match (&plan.model_repo, &plan.model_file) {
            (Some(repo), _) => Self::Repo(repo.clone()),
            (None, Some(file)) => Self::File(file.clone()),
            (None, None) => Self::Unknown,
        }
    }

    /// The arguments that name them.
    pub fn words(&self) -> [String; 2] {
        let (flag, word) = match self {
            Self::File(path) => ("-m", path.as_str()),
            Self::Repo(repo) => ("-hf", repo.as_str()),
            Self::Unknown => ("-m", NO_WEIGHTS),
        };
        [flag.to_owned(), word.to_owned()]
    }
}

/// RAM that llama-server may fill with earlier prompts, MiB: what a plan leaves, up to what the
/// server takes by itself. None where the plan does not say what RAM there is.
///
/// It is no part of the placement, so no plan counts it.
pub fn prompt_cache_mib(plan: &Plan) -> Option<u64> {
    let left = plan.ram_budget_mib? - plan.ram_used_mib? - PROGRAM;
    Some(floor_bytes(left).min(PROMPT_CACHE))
}

/// The same where it is less than what the server takes by itself, so that it must be told.
pub fn bounded_prompt_cache_mib(plan: &Plan) -> Option<u64> {
    prompt_cache_mib(plan).filter(|mib| *mib < PROMPT_CACHE)
}

/// A launch of llama.cpp as a plan asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    weights: Weights,
    settings: Vec<Setting>,
    /// Context filled in the benchmark, tokens.
    depth: u64,
}

/// Why a plan cannot be launched, or not in the form that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LaunchError {
    /// It refuses, or says nothing of a placement.
    #[error("the plan has nothing to launch: {why}")]
    NothingToLaunch {
        /// What it says.
        why: String,
    },
    /// A flag that no plan writes.
    #[error("the plan's llama_flags hold {name:?}, which is no flag of a placement")]
    UnknownFlag {
        /// The flag.
        name: String,
    },
    /// A flag without its value.
    #[error("the plan's llama_flags end with {name}, which needs a value")]
    NoValue {
        /// The flag.
        name: String,
    },
    /// Quotes that no plan writes.
    #[error("the plan's llama_flags hold a quote or a dollar sign that no plan writes")]
    Quoting,
    /// No program can be given such a name safely.
    #[error("{word:?} holds a control character, which cannot be written into a launch file")]
    Control {
        /// The word.
        word: String,
    },
    /// The target would read the word as something else.
    #[error("{word:?} holds {what}, which {target} reads as something else")]
    Misread {
        /// The word.
        word: String,
        /// What is in it.
        what: &'static str,
        /// Who reads it.
        target: &'static str,
    },
    /// llama-bench does not know the type.
    #[error("llama-bench has no KV cache of type f32")]
    BenchCache,
}

impl Coded for LaunchError {
    fn code(&self) -> Code {
        match self {
            Self::NothingToLaunch { .. }
            | Self::UnknownFlag { .. }
            | Self::NoValue { .. }
            | Self::Quoting => Code::InputBadPlan,
            Self::Control { .. } | Self::Misread { .. } | Self::BenchCache => Code::InputUsage,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NothingToLaunch { .. } => "make a plan that ships with gpu-container-plan",
            Self::UnknownFlag { .. } | Self::NoValue { .. } | Self::Quoting => {
                "make the plan again with gpu-container-plan; further flags go on the command line"
            }
            Self::Control { .. } | Self::Misread { .. } => "rename the file, or link to it",
            Self::BenchCache => "plan with --cache-type-k f16 --cache-type-v f16 for a benchmark",
        };
        Some(hint.into())
    }
}

impl Job {
    /// The launch of `plan`, with these weights.
    pub fn of(plan: &Plan, weights: Weights) -> Result<Self, LaunchError> {
        let (Verdict::Ship, Some(flags)) = (plan.verdict, &plan.llama_flags) else {
            let said = plan.message.as_deref().unwrap_or("it holds no llama_flags");
            return Err(LaunchError::NothingToLaunch { why: said.into() });
        };
        let mut settings = flags::parse(flags)?;
        let mut also = |flag, value: &str| {
            if !settings.iter().any(|(given, _)| *given == flag) {
                settings.push((flag, value.to_owned()));
            }
        };
        // llama-server would take four slots, each with a state of its own.
        also(&PARALLEL, "1");
        // llama.cpp would try to fit by itself, and give up with a warning.
        also(&FIT, "off");
        if let Some(mib) = bounded_prompt_cache_mib(plan) {
            also(&PROMPTS, &mib.to_string());
        }
        for (_, value) in &settings {
            no_control(value)?;
        }
        match &weights {
            Weights::File(word) | Weights::Repo(word) => no_control(word)?,
            Weights::Unknown => {}
        }
        let assumed = plan.assumptions.as_ref();
        let ctx = number(&settings, &CONTEXT).or(assumed.and_then(|a| a.ctx_len));
        let judged = assumed.and_then(|a| a.depth).or(ctx);
        // The benchmark's prompt comes on top of its depth, and all of it must fit the context.
        let room = ctx.map_or(0, |c| c.saturating_sub(BENCH_PROMPT));
        Ok(Self {
            weights,
            settings,
            depth: judged.unwrap_or(0).min(room),
        })
    }

    /// Arguments of llama-server.
    pub fn server(&self) -> Vec<String> {
        let mut words = Vec::from(self.weights.words());
        for (flag, value) in &self.settings {
            words.extend(flag.names.first().map(|n| (*n).to_owned()));
            words.push(value.clone());
        }
        words
    }

    /// Arguments of llama-cli.
    pub fn cli(&self) -> Vec<String> {
        let settings = self.settings.iter().filter(|(f, _)| f.cli).cloned();
        let job = Self {
            settings: settings.collect(),
            ..self.clone()
        };
        job.server()
    }

    /// Arguments of llama-bench: it has names and values of its own.
    pub fn bench(&self) -> Result<Vec<String>, LaunchError> {
        let mut words = Vec::from(self.weights.words());
        // It takes lists: a comma would ask for two benchmarks.
        if let Some(word) = words.iter().find(|w| w.contains(',')) {
            return Err(LaunchError::Misread {
                word: word.clone(),
                what: "a comma",
                target: "llama-bench",
            });
        }
        for (flag, value) in &self.settings {
            let Some(name) = flag.bench else { continue };
            let value = match value.as_str() {
                "all" if *flag == &LAYERS => "999".to_owned(),
                "f32" => return Err(LaunchError::BenchCache),
                rules if *flag == &OVERRIDES => rules.replace(',', ";"),
                value => value.to_owned(),
            };
            words.extend([name.to_owned(), value]);
        }
        let (p, n, d) = (BENCH_PROMPT, BENCH_DECODE, self.depth);
        let run = format!("-p {p} -n {n} -d {d} -o json");
        words.extend(run.split(' ').map(str::to_owned));
        Ok(words)
    }

    /// What llama.cpp reads from its environment instead.
    fn env(&self) -> Vec<(&'static str, String)> {
        let weights = match &self.weights {
            Weights::File(path) => ("LLAMA_ARG_MODEL", path.clone()),
            Weights::Repo(repo) => ("LLAMA_ARG_HF_REPO", repo.clone()),
            Weights::Unknown => ("LLAMA_ARG_MODEL", NO_WEIGHTS.to_owned()),
        };
        let settings = self.settings.iter().map(|(f, v)| (f.env, v.clone()));
        std::iter::once(weights).chain(settings).collect()
    }

    /// Whether the plan puts anything on a GPU.
    fn uses_gpu(&self) -> bool {
        number(&self.settings, &LAYERS) != Some(0)
    }
}

fn number(settings: &[Setting], flag: &flags::Flag) -> Option<u64> {
    let (_, value) = settings.iter().find(|(f, _)| *f == flag)?;
    value.parse().ok()
}

fn no_control(word: &str) -> Result<(), LaunchError> {
    if word.chars().any(char::is_control) {
        return Err(LaunchError::Control { word: word.into() });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
