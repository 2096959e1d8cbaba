//! A model as HuggingFace publishes it: safetensors files with a config.json beside them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use gpuc_core::document::Model;
use gpuc_core::error::{Code, Fault};
use gpuc_core::header::{read_safetensors, shard_files};
use gpuc_core::model::{analyze, weigh};
use gpuc_core::units::as_gib;

use crate::deliver::{read_input, read_model_config};

/// The list of a model's files, where there are several.
const INDEX: &str = "model.safetensors.index.json";

/// A model's configuration, with the widths that its files really have.
pub struct WeighedModel {
    /// Its facts.
    pub model: Model,
    /// Bytes of an expert weight.
    pub expert_bpw: f64,
    /// Bytes of any other weight.
    pub non_expert_bpw: f64,
    /// What is taken for granted.
    pub notes: Vec<String>,
}

/// Whether `path` names safetensors: such a file, or a folder that holds some.
pub fn is_safetensors(path: &Path) -> bool {
    if path.is_dir() {
        path.join(INDEX).is_file() || safetensors_in(path).is_ok_and(|files| !files.is_empty())
    } else {
        path.extension().is_some_and(|x| x == "safetensors")
    }
}

/// Reads the headers of the safetensors files at `path` and the config.json beside them; weights
/// are not touched.
pub fn read_weighed(path: &Path, name: Option<&str>) -> Result<WeighedModel, Fault> {
    let folder = if path.is_dir() {
        path
    } else {
        path.parent().unwrap_or(Path::new(""))
    };
    let config = read_model_config(&folder.join("config.json"))?;
    let analysis = analyze(&config, name, None)?;
    let mut tensors = Vec::new();
    for file in files(path, folder)? {
        let open = File::open(&file).map_err(|e| {
            Fault::new(
                Code::InputBadModelFile,
                format!("{} cannot be read", file.display()),
            )
            .with_hint("all files of the model must be in the same folder")
            .with_cause(e)
        })?;
        let header = read_safetensors(open).map_err(|e| Fault::from(e).about(file.display()))?;
        tensors.extend(header.tensors);
    }
    let weighed = weigh(&tensors);
    let Some((expert_bpw, non_expert_bpw)) = weighed.widths(&analysis.model) else {
        return Err(Fault::new(
            Code::InputBadModelConfig,
            format!(
                "{}: what its parts hold does not follow from config.json",
                path.display()
            ),
        )
        .with_hint("take the config.json that was published with these files"));
    };
    let mut notes = analysis.notes;
    if weighed.left_out > 0 {
        notes.push(format!(
            "{:.1} GiB of vision, audio or further-token weights are not counted",
            as_gib(weighed.left_out as f64)
        ));
    }
    Ok(WeighedModel {
        model: analysis.model,
        expert_bpw,
        non_expert_bpw,
        notes,
    })
}

fn files(path: &Path, folder: &Path) -> Result<Vec<PathBuf>, Fault> {
    let index = folder.join(INDEX);
    if index.is_file() {
        let bytes = read_input(&index, "index", Code::InputBadModelFile)?;
        let names = shard_files(&bytes).map_err(|e| Fault::from(e).about(index.display()))?;
        return Ok(names.iter().map(|name| folder.join(name)).collect());
    }
    if path.is_dir() {
        return safetensors_in(path).map_err(|e| {
            Fault::new(
                Code::InputBadModelFile,
                format!("{} cannot be listed", path.display()),
            )
            .with_cause(e)
        });
    }
    Ok(vec![path.to_owned()])
}

fn safetensors_in(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|x| x == "safetensors"))
        .collect();
    files.sort();
    Ok(files)
}
