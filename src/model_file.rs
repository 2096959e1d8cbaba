//! A model on disk: one GGUF, all shards of one, a folder of them, or safetensors.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use gpuc_core::error::{Code, Fault};
use gpuc_core::footprint::Facts;
use gpuc_core::header::{join, read_gguf, shard_names};

use crate::safetensors_folder::{WeighedModel, is_safetensors, read_weighed};

/// A model as its weights file describes it.
pub struct ModelFile {
    /// Its name: what the file says, else the file's own.
    pub name: String,
    /// Its tensors and shape.
    pub facts: Facts,
    /// "gguf" or "safetensors".
    pub source: &'static str,
    /// The file that it is loaded from; of a split model, the first.
    pub path: PathBuf,
}

/// A model as it lies on disk.
pub enum OnDisk {
    /// A GGUF: tensor by tensor.
    File(ModelFile),
    /// Safetensors: a configuration, and the widths that the files have.
    Weighed(WeighedModel),
}

/// Reads the headers of the model at `path`, to be called `name` where one is given; weights are
/// not touched.
pub fn read_model(path: &Path, name: Option<&str>) -> Result<OnDisk, Fault> {
    if is_safetensors(path) {
        return Ok(OnDisk::Weighed(read_weighed(path, name)?));
    }
    let mut file = gguf(path)?;
    if let Some(name) = name {
        name.clone_into(&mut file.name);
    }
    Ok(OnDisk::File(file))
}

fn gguf(path: &Path) -> Result<ModelFile, Fault> {
    let files = files(path)?;
    let mut headers = Vec::with_capacity(files.len());
    for file in &files {
        let open = File::open(file).map_err(|e| {
            unreadable(file)
                .with_cause(e)
                .with_hint("check the path; of a split model all files must be in the same folder")
        })?;
        headers.push(read_gguf(open).map_err(|e| named(file, e))?);
    }
    let model = join(headers).map_err(|e| named(path, e))?;
    let facts = Facts::from_gguf(&model).map_err(|e| named(path, e))?;
    let name = match facts.name() {
        "" => path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        name => name.to_owned(),
    };
    Ok(ModelFile {
        name,
        facts,
        source: "gguf",
        path: files.into_iter().next().unwrap_or_default(),
    })
}

fn unreadable(path: &Path) -> Fault {
    Fault::new(
        Code::InputBadModelFile,
        format!("model {} cannot be read", path.display()),
    )
}

/// The fault of a header, with the file that it is about.
fn named(path: &Path, fault: impl Into<Fault>) -> Fault {
    let fault = fault.into().about(path.display());
    if fault.hint().is_some() {
        return fault;
    }
    fault.with_hint("name a model's GGUF file; if this is one, download it again")
}

/// All files of the model that `path` names: a file's own shards, or the one model in a folder.
fn files(path: &Path) -> Result<Vec<PathBuf>, Fault> {
    let first = if path.is_dir() {
        only_model_in(path)?
    } else {
        path.to_owned()
    };
    let name = first.file_name().unwrap_or_default().to_string_lossy();
    Ok(match shard_names(&name) {
        Some(names) => names.iter().map(|n| first.with_file_name(n)).collect(),
        None => vec![first],
    })
}

fn only_model_in(dir: &Path) -> Result<PathBuf, Fault> {
    let entries = fs::read_dir(dir).map_err(|e| {
        unreadable(dir)
            .with_hint("check that you may read the folder, or name the file in it")
            .with_cause(e)
    })?;
    let mut models: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|p| p.extension().is_some_and(|x| x == "gguf"))
        .filter(|p| {
            // Of a split model the first file stands for all.
            let name = p.file_name().unwrap_or_default().to_string_lossy();
            shard_names(&name).is_none_or(|all| all.first().is_some_and(|first| *first == *name))
        })
        .collect();
    models.sort();
    match <[PathBuf; 1]>::try_from(models) {
        Ok([one]) => Ok(one),
        Err(models) => Err(Fault::new(
            Code::InputBadModelFile,
            format!(
                "{} was expected to hold one model, but holds {}",
                dir.display(),
                match models.len() {
                    0 => "none".into(),
                    n => n.to_string(),
                }
            ),
        )
        .with_hint(match models.first() {
            Some(first) => format!("name one of them, such as {}", first.display()),
            None => "name the model's .gguf file".into(),
        })),
    }
}
