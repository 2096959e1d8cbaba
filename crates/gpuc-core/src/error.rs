//! Coded errors: what every failure that reaches a user carries.
//!
//! Each module has its own `thiserror` enum and says, by implementing [`Coded`], which stable code
//! and which hint each variant bears. [`Fault`] is the common carrier that the binaries render.

use std::error::Error;
use std::fmt;

/// A stable error code, part of the contract: scripts match on its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// The command line itself cannot be used.
    InputUsage,
    /// A profile is unreadable, no JSON, or lacks what it must have.
    InputBadProfile,
    /// A model configuration is unreadable, no JSON, or contradicts itself.
    InputBadModelConfig,
    /// A weights file (GGUF, safetensors) has a header that cannot be trusted.
    InputBadModelFile,
    /// A quantisation tag that no table knows.
    InputUnknownQuant,
    /// A placement plan is no JSON or lacks what it must have.
    InputBadPlan,
    /// No row of a benchmark could be read.
    InputNoBenchRows,
    /// A benchmark has rows, but none that measures decode.
    InputNoDecodeRate,
    /// A benchmark was run with another placement than the plan's.
    InputBenchMismatch,
    /// An importance matrix is damaged, of an old format, or holds no expert counts.
    InputBadImatrix,
    /// The watchdog's thresholds file cannot be used.
    InputBadWatchdogConfig,
    /// An action for a breach that does not exist.
    InputBadAction,
    /// A GPU was named that this rig does not have.
    InputUnknownGpu,
    /// A routing trace cannot be read or has the wrong shape.
    IoTraceUnreadable,
    /// An input file cannot be read.
    IoReadFailed,
    /// An output cannot be written.
    IoWriteFailed,
    /// The supervised command does not exist.
    IoCommandNotFound,
    /// The supervised command exists but cannot be executed.
    IoCommandNotExecutable,
    /// A tool or library that was asked for is not there.
    DepMissing,
    /// The baseline could not be stored.
    RuntimeEmitBaselineFailed,
    /// A fault of ours.
    RuntimeUnexpected,
}

impl Code {
    /// The code as it is printed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InputUsage => "INPUT_USAGE",
            Self::InputBadProfile => "INPUT_BAD_PROFILE",
            Self::InputBadModelConfig => "INPUT_BAD_MODEL_CONFIG",
            Self::InputBadModelFile => "INPUT_BAD_MODEL_FILE",
            Self::InputUnknownQuant => "INPUT_UNKNOWN_QUANT",
            Self::InputBadPlan => "INPUT_BAD_PLAN",
            Self::InputNoBenchRows => "INPUT_NO_BENCH_ROWS",
            Self::InputNoDecodeRate => "INPUT_NO_DECODE_RATE",
            Self::InputBenchMismatch => "INPUT_BENCH_MISMATCH",
            Self::InputBadImatrix => "INPUT_BAD_IMATRIX",
            Self::InputBadWatchdogConfig => "INPUT_BAD_WATCHDOG_CONFIG",
            Self::InputBadAction => "INPUT_BAD_ACTION",
            Self::InputUnknownGpu => "INPUT_UNKNOWN_GPU",
            Self::IoTraceUnreadable => "IO_TRACE_UNREADABLE",
            Self::IoReadFailed => "IO_READ_FAILED",
            Self::IoWriteFailed => "IO_WRITE_FAILED",
            Self::IoCommandNotFound => "IO_COMMAND_NOT_FOUND",
            Self::IoCommandNotExecutable => "IO_COMMAND_NOT_EXECUTABLE",
            Self::DepMissing => "DEP_MISSING",
            Self::RuntimeEmitBaselineFailed => "RUNTIME_EMIT_BASELINE_FAILED",
            Self::RuntimeUnexpected => "RUNTIME_UNEXPECTED",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an error must know about itself to be rendered.
pub trait Coded: Error {
    /// The stable code.
    fn code(&self) -> Code;
    /// What to do next, where that is known.
    fn hint(&self) -> Option<String> {
        None
    }
}

/// Any coded error on its way to the user.
///
/// The message and hint are read off when it is made; the error itself stays as the source, so
/// that its own causes are rendered below it.
#[derive(Debug)]
pub struct Fault {
    code: Code,
    message: String,
    hint: Option<String>,
    cause: Option<Box<dyn Error + Send + Sync>>,
}

impl Fault {
    /// A fault without an underlying error.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            hint: None,
            cause: None,
        }
    }

    /// The same fault with advice.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same fault with the error behind it.
    #[must_use]
    pub fn with_cause(mut self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// The same fault, its message begun with the file it is about.
    #[must_use]
    pub fn about(mut self, file: impl fmt::Display) -> Self {
        self.message = format!("{file}: {}", self.message);
        self
    }

    /// The stable code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// What to do next, where that is known.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The errors behind this one, nearest first, each in one line.
    pub fn causes(&self) -> Vec<String> {
        let mut out = Vec::new();
        let mut next = self.source();
        while let Some(e) = next {
            out.push(e.to_string());
            next = e.source();
        }
        out
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Fault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_deref().map(|e| e as &(dyn Error + 'static))
    }
}

/// The causes of an error, kept as text so that the error itself can be dropped.
#[derive(Debug)]
struct Chain {
    text: String,
    next: Option<Box<Chain>>,
}

impl Chain {
    fn of(e: Option<&(dyn Error + 'static)>) -> Option<Box<Self>> {
        e.map(|e| {
            Box::new(Self {
                text: e.to_string(),
                next: Self::of(e.source()),
            })
        })
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for Chain {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.next.as_deref().map(|e| e as &(dyn Error + 'static))
    }
}

impl<E: Coded> From<E> for Fault {
    fn from(e: E) -> Self {
        let cause = Chain::of(e.source());
        Self {
            code: e.code(),
            message: e.to_string(),
            hint: e.hint(),
            cause: cause.map(|c| -> Box<dyn Error + Send + Sync> { c }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("profile.json: not JSON")]
    struct Bad(#[source] std::num::ParseIntError);

    impl Coded for Bad {
        fn code(&self) -> Code {
            Code::InputBadProfile
        }
        fn hint(&self) -> Option<String> {
            Some("run gpu-container-profile".into())
        }
    }

    #[test]
    fn a_coded_error_becomes_a_fault_with_its_causes() {
        let f: Fault = Bad("x".parse::<i32>().unwrap_err()).into();
        assert_eq!(f.code().as_str(), "INPUT_BAD_PROFILE");
        assert_eq!(f.to_string(), "profile.json: not JSON");
        assert_eq!(f.hint(), Some("run gpu-container-profile"));
        assert_eq!(f.causes(), ["invalid digit found in string"]);
        assert_eq!(f.about("a").to_string(), "a: profile.json: not JSON");
    }
}
