//! What is in force beside limits: flags over the file of `--config`, that over the defaults.

use std::path::PathBuf;

use gpuc_core::safety::{Config, Setting};
use serde_json::{Map, Value, json};

/// Chooses between them, and remembers what was chosen and where it came from.
pub(super) struct Chooser<'a> {
    file: &'a Config,
    chosen: Chosen,
}

/// What was chosen.
#[derive(Debug, Default)]
pub(super) struct Chosen(Vec<(Setting, Value, &'static str)>);

impl<'a> Chooser<'a> {
    pub(super) fn new(file: &'a Config) -> Self {
        Self {
            file,
            chosen: Chosen::default(),
        }
    }

    pub(super) fn number(&mut self, setting: Setting, flag: Option<f64>, default: f64) -> f64 {
        self.number_or_none(setting, flag, Some(default))
            .unwrap_or(default)
    }

    pub(super) fn number_or_none(
        &mut self,
        setting: Setting,
        flag: Option<f64>,
        default: Option<f64>,
    ) -> Option<f64> {
        let value = self.choose(setting, flag.map(Value::from), default.map(Value::from));
        value.as_f64()
    }

    pub(super) fn count(&mut self, setting: Setting, flag: Option<u64>, default: u64) -> u64 {
        let value = self.choose(setting, flag.map(Value::from), Some(default.into()));
        // A whole number may be written as 3.0 in a file, whose counts are small.
        let whole = value.as_f64().map(gpuc_core::units::floor_bytes);
        value.as_u64().or(whole).unwrap_or(default)
    }

    pub(super) fn text(&mut self, setting: Setting, flag: Option<String>) -> Option<String> {
        let value = self.choose(setting, flag.map(Value::from), None);
        value.as_str().map(str::to_owned)
    }

    pub(super) fn word(&mut self, setting: Setting, flag: Option<String>, default: &str) -> String {
        let value = self.choose(setting, flag.map(Value::from), Some(default.into()));
        value.as_str().unwrap_or(default).to_owned()
    }

    pub(super) fn path(&mut self, setting: Setting, flag: Option<PathBuf>) -> Option<PathBuf> {
        // A name that is no UTF-8 is shown as well as it can be, and used as it is.
        let shown = flag.as_ref().map(|path| path.to_string_lossy().into());
        let value = self.choose(setting, shown, None);
        flag.or_else(|| value.as_str().map(PathBuf::from))
    }

    fn choose(&mut self, setting: Setting, flag: Option<Value>, default: Option<Value>) -> Value {
        let file = self.file.setting(setting).cloned();
        let (value, from) = match (flag, file) {
            (Some(flag), _) => (flag, "flag"),
            (None, Some(file)) => (file, "file"),
            (None, None) => (default.unwrap_or_default(), "default"),
        };
        self.chosen.0.push((setting, value.clone(), from));
        value
    }

    pub(super) fn done(self) -> Chosen {
        self.chosen
    }
}

impl Chosen {
    /// Whether this was said in the file.
    pub(super) fn is_of_file(&self, setting: Setting) -> bool {
        self.0.iter().any(|c| c.0 == setting && c.2 == "file")
    }

    /// Says what became of a choice.
    pub(super) fn settle(&mut self, setting: Setting, value: impl Into<Value>) {
        let value = value.into();
        for chosen in self.0.iter_mut().filter(|c| c.0 == setting) {
            chosen.1 = value.clone();
        }
    }

    /// Each, as `--print-config` prints it.
    pub(super) fn printed(&self) -> Map<String, Value> {
        let each = self.0.iter().map(|(setting, value, from)| {
            let entry = json!({"value": value, "from": from, "flag": setting.flag()});
            (setting.key().to_owned(), entry)
        });
        each.collect()
    }
}
