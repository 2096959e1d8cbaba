//! One row of a benchmark, whatever format it was printed in.

/// Rows that are kept of one file: far more than any sweep has, few enough for any machine.
pub(super) const MAX_ROWS: usize = 50_000;

/// What a row measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Tokens generated, nothing prompted.
    Decode,
    /// Tokens prompted, nothing generated.
    Prefill,
    /// Both in one, or neither: of no use to a receipt.
    Other,
}

/// How a row says what it measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// By `n_prompt` and `n_gen`, as llama-bench writes them.
    Native,
    /// By a `test` text such as `tg128`, as other writers do.
    Test,
}

/// A benchmark row.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// How it says what it measures.
    pub form: Form,
    /// What it measures.
    pub kind: Kind,
    /// Tokens a second.
    pub rate: Option<f64>,
    /// Standard deviation of the rate.
    pub stddev: Option<f64>,
    /// Repetitions behind the rate, where the row says.
    pub samples: Option<u64>,
    /// Tokens of the test: generated for decode, prompted for prefill.
    pub tokens: Option<u64>,
    /// Context already filled when it ran.
    pub depth: Option<u64>,
    /// Where the run was placed and what it ran.
    pub setting: Setting,
}

/// What identifies a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Setting {
    /// `--n-cpu-moe`, unless a tensor override makes it meaningless.
    pub n_cpu_moe: Option<u64>,
    /// `-ngl`; -1 is "all".
    pub n_gpu_layers: Option<i64>,
    /// Type of the K cache.
    pub type_k: Option<String>,
    /// Type of the V cache.
    pub type_v: Option<String>,
    /// Flash attention, where the row says on or off rather than auto.
    pub flash_attn: Option<bool>,
    /// Physical batch.
    pub n_ubatch: Option<u64>,
    /// Threads.
    pub n_threads: Option<u64>,
    /// Model, by file name where there is one.
    pub model: Option<String>,
    /// Parameters of the model.
    pub n_params: Option<u64>,
    /// Bytes of its weights.
    pub model_bytes: Option<u64>,
    /// The cards.
    pub gpu: Option<String>,
    /// llama.cpp's build.
    pub build: Option<String>,
    /// Backend and device.
    pub device: Option<String>,
    /// Whether a tensor override places tensors past `--n-cpu-moe`.
    pub overridden: bool,
}

impl Setting {
    /// Layers that really were on a GPU, where the row says: none in a build for the CPU alone,
    /// whatever its `-ngl`.
    pub(super) fn layers_on_gpu(&self) -> Option<i64> {
        self.n_gpu_layers
            .map(|n| if self.is_cpu_build() { 0 } else { n })
    }

    /// Whether the build has no other backend than the CPU.
    pub(super) fn is_cpu_build(&self) -> bool {
        let device = self.device.as_deref();
        device.is_some_and(|d| d.eq_ignore_ascii_case("cpu"))
    }
}

/// A value of a row, as far as rows have any.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    Number(f64),
    Flag(bool),
    Text(String),
    /// Numbers in an array: how many, and their mean.
    Series(u64, f64),
    /// Null, an object, an array of anything else.
    Nothing,
}

impl Cell {
    /// A cell of a table, where numbers are text too.
    pub(super) fn of_text(text: &str) -> Self {
        let numeric = text
            .bytes()
            .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+' | b'e' | b'E'));
        match text.parse::<f64>() {
            Ok(x) if numeric && x.is_finite() => Self::Number(x),
            _ => Self::Text(text.to_owned()),
        }
    }

    /// A finite number, 0 or more.
    pub(super) fn rate(&self) -> Option<f64> {
        match self {
            Self::Number(x) if x.is_finite() && *x >= 0.0 => Some(*x),
            _ => None,
        }
    }

    /// A whole number, 0 or more, that a double names exactly.
    fn count(&self) -> Option<u64> {
        match self {
            Self::Number(x) if (0.0..=9007199254740992.0).contains(x) && x.fract() == 0.0 => {
                Some(crate::units::floor_bytes(*x))
            }
            _ => None,
        }
    }

    #[allow(clippy::cast_possible_truncation)]
    fn signed(&self) -> Option<i64> {
        match self {
            // In this range the cast is exact.
            Self::Number(x) if x.fract() == 0.0 && x.abs() <= 1e9 => Some(*x as i64),
            _ => None,
        }
    }

    fn text(&self) -> Option<String> {
        match self {
            Self::Text(s) if !s.trim().is_empty() => Some(s.trim().to_owned()),
            _ => None,
        }
    }

    fn switch(&self) -> Option<bool> {
        match self {
            Self::Flag(on) => Some(*on),
            Self::Number(x) if *x == 1.0 => Some(true),
            Self::Number(x) if *x == 0.0 => Some(false),
            Self::Text(s) if s == "on" => Some(true),
            Self::Text(s) if s == "off" => Some(false),
            // -1 is auto: nothing is known.
            _ => None,
        }
    }
}

/// The cells of one object or table row that a receipt can use.
#[derive(Debug, Clone, Default)]
pub(super) struct Cells {
    pub(super) test: Option<String>,
    pub(super) avg: Option<f64>,
    stddev: Option<f64>,
    samples: Option<(u64, f64)>,
    pub(super) n_prompt: Option<u64>,
    pub(super) n_gen: Option<u64>,
    n_depth: Option<u64>,
    setting: Setting,
    model_type: Option<String>,
    build_number: Option<u64>,
    /// Summaries that others write: one decode and one prefill rate in a record.
    tg: (Option<f64>, Option<f64>),
    pp: (Option<f64>, Option<f64>),
    pub(super) served: super::server::Timing,
}

impl Cells {
    /// Takes the cell when its name is known.
    pub(super) fn set(&mut self, key: &str, cell: &Cell) {
        let s = &mut self.setting;
        match key {
            "test" => self.test = cell.text_as_written(),
            "avg_ts" => self.avg = cell.rate(),
            "stddev_ts" => self.stddev = cell.rate(),
            "samples_ts" => {
                if let Cell::Series(n, mean) = cell {
                    self.samples = Some((*n, *mean));
                }
            }
            "n_prompt" => self.n_prompt = cell.count(),
            "n_gen" => self.n_gen = cell.count(),
            "n_depth" => self.n_depth = cell.count(),
            "n_cpu_moe" | "ncmoe" => s.n_cpu_moe = cell.count(),
            "n_gpu_layers" | "ngl" => s.n_gpu_layers = cell.signed(),
            "type_k" => s.type_k = cell.text(),
            "type_v" => s.type_v = cell.text(),
            "flash_attn" | "fa" => s.flash_attn = cell.switch(),
            "n_ubatch" => s.n_ubatch = cell.count(),
            "n_threads" | "threads" => s.n_threads = cell.count(),
            "model_filename" | "model" => s.model = cell.text().map(|m| stem(&m)),
            "model_n_params" => s.n_params = cell.count(),
            "model_size" => s.model_bytes = cell.count().filter(|n| *n > 0),
            "model_type" => self.model_type = cell.text(),
            "build_commit" => s.build = cell.text().filter(|t| t != "unknown"),
            "build_number" => self.build_number = cell.count(),
            "backends" | "backend" => s.device = cell.text(),
            "gpu_info" => s.gpu = cell.text(),
            "tensor_buft_overrides" | "override_tensor" | "ot" => {
                s.overridden = cell.text().is_some_and(|t| t != "none");
            }
            "tg_avg_ts" => self.tg.0 = cell.rate(),
            "tg_stddev_ts" => self.tg.1 = cell.rate(),
            "pp_avg_ts" => self.pp.0 = cell.rate(),
            "pp_stddev_ts" => self.pp.1 = cell.rate(),
            _ => self.served.set(key, cell),
        }
    }

    /// What the rows below this object run with, unless they say otherwise.
    pub(super) fn setting(&self) -> Setting {
        let mut s = self.setting.clone();
        if s.model.is_none() {
            s.model.clone_from(&self.model_type);
        }
        if let Some(n) = self.build_number.filter(|n| *n > 0) {
            s.build = Some(match s.build {
                Some(commit) => format!("{commit} ({n})"),
                None => n.to_string(),
            });
        }
        if let Some(gpu) = &s.gpu {
            s.device = Some(match s.device {
                Some(backend) => format!("{backend}, {gpu}"),
                None => gpu.clone(),
            });
        }
        if s.overridden {
            s.n_cpu_moe = None;
        }
        s
    }

    /// The rows that these cells are: none, one, or the two of a summary.
    pub(super) fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        let native = self.n_prompt.is_some() && self.n_gen.is_some();
        let rate = self.avg.or_else(|| {
            let (_, mean) = self.samples?;
            Cell::Number(mean).rate()
        });
        if native || self.test.is_some() {
            let (form, named, depth) = match &self.test {
                Some(test) => (Form::Test, kind_of_test(test), depth_of_test(test)),
                None => (Form::Native, Kind::Other, None),
            };
            let kind = if native { self.kind() } else { named };
            rows.push(Row {
                form,
                kind,
                rate,
                stddev: self.stddev,
                samples: self.samples.map(|(n, _)| n),
                tokens: match kind {
                    Kind::Decode => self.n_gen.filter(|n| *n > 0),
                    Kind::Prefill => self.n_prompt.filter(|n| *n > 0),
                    Kind::Other => None,
                },
                depth: self.n_depth.or(depth),
                setting: self.setting(),
            });
            return rows;
        }
        for (kind, (rate, stddev)) in [(Kind::Decode, self.tg), (Kind::Prefill, self.pp)] {
            if rate.is_some() {
                rows.push(Row {
                    form: Form::Native,
                    kind,
                    rate,
                    stddev,
                    samples: None,
                    tokens: None,
                    depth: self.n_depth,
                    setting: self.setting(),
                });
            }
        }
        rows
    }

    fn kind(&self) -> Kind {
        match (self.n_prompt, self.n_gen) {
            (Some(0), Some(g)) if g > 0 => Kind::Decode,
            (Some(p), Some(0)) if p > 0 => Kind::Prefill,
            _ => Kind::Other,
        }
    }
}

impl Cell {
    fn text_as_written(&self) -> Option<String> {
        match self {
            Self::Text(s) => Some(s.clone()),
            _ => None,
        }
    }
}

impl Setting {
    /// Takes over what an enclosing record says and the row itself does not.
    pub(super) fn inherit(&mut self, outer: &Setting) {
        if !self.overridden {
            self.n_cpu_moe = self.n_cpu_moe.or(outer.n_cpu_moe);
        }
        self.n_gpu_layers = self.n_gpu_layers.or(outer.n_gpu_layers);
        for (mine, theirs) in [
            (&mut self.type_k, &outer.type_k),
            (&mut self.type_v, &outer.type_v),
            (&mut self.model, &outer.model),
            (&mut self.build, &outer.build),
            (&mut self.gpu, &outer.gpu),
            (&mut self.device, &outer.device),
        ] {
            if mine.is_none() {
                mine.clone_from(theirs);
            }
        }
    }
}

/// A `test` text by its prefix, case and spaces as written.
fn kind_of_test(test: &str) -> Kind {
    if test.starts_with("tg") {
        Kind::Decode
    } else if test.starts_with("pp") {
        Kind::Prefill
    } else {
        Kind::Other
    }
}

/// The depth in `tg128 @ d4096`.
pub(super) fn depth_of_test(test: &str) -> Option<u64> {
    let (_, depth) = test.split_once('@')?;
    depth.trim().strip_prefix('d')?.parse().ok()
}

/// A path's last part, without the weights file's extension.
fn stem(path: &str) -> String {
    let name = path.rsplit(['/', '\\']).next().unwrap_or(path);
    name.strip_suffix(".gguf").unwrap_or(name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_numbers_are_plain_decimals() {
        assert_eq!(Cell::of_text("-1"), Cell::Number(-1.0));
        assert_eq!(Cell::of_text("2.5e3"), Cell::Number(2500.0));
        for text in ["inf", "nan", "1_000", " 3", "1e999", "0x10", ""] {
            assert_eq!(Cell::of_text(text), Cell::Text(text.to_owned()), "{text}");
        }
    }

    #[test]
    fn an_override_makes_n_cpu_moe_unknown() {
        let mut cells = Cells::default();
        cells.set("n_cpu_moe", &Cell::Number(0.0));
        cells.set("tensor_buft_overrides", &Cell::Text("exps=CPU".into()));
        assert_eq!(cells.setting().n_cpu_moe, None);
        cells.set("tensor_buft_overrides", &Cell::Text("none".into()));
        assert_eq!(cells.setting().n_cpu_moe, Some(0));
    }

    #[test]
    fn depths_are_read_from_test_names() {
        assert_eq!(depth_of_test("tg128 @ d4096"), Some(4096));
        assert_eq!(depth_of_test("tg128"), None);
        assert_eq!(depth_of_test("tg128 @ dx"), None);
    }
}
