//! Files in and documents out.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use gpuc_core::error::{Code, Fault};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::screen::say;

/// More than any input of ours can be; what is larger is another file, or a device.
const MAX_INPUT: u64 = 256 << 20;

/// The bytes of an input file, `-` being standard input.
///
/// A file that cannot be read is a fault with `code`, so that a missing profile is reported as a
/// bad profile; `what` names the input in the message.
pub fn read_input(path: &Path, what: &str, code: Code) -> Result<Vec<u8>, Fault> {
    let read = if path == Path::new("-") {
        bounded(io::stdin().lock())
    } else {
        fs::File::open(path).and_then(bounded)
    };
    read.map_err(|e| {
        Fault::new(code, format!("{what} {} cannot be read", path.display()))
            .with_hint(match e.kind() {
                io::ErrorKind::NotFound => "check the path; nothing is there",
                io::ErrorKind::IsADirectory => "name the file in this folder",
                _ => "check that it is a file you may read",
            })
            .with_cause(e)
    })
}

fn bounded(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(MAX_INPUT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_INPUT {
        let limit = MAX_INPUT >> 20;
        return Err(io::Error::other(format!("it is larger than {limit} MiB")));
    }
    Ok(bytes)
}

/// The fault that `path` cannot be written.
pub(crate) fn unwritable(path: &Path, e: io::Error) -> Fault {
    Fault::new(
        Code::IoWriteFailed,
        format!("{} cannot be written", path.display()),
    )
    .with_hint(match e.kind() {
        io::ErrorKind::IsADirectory => "it is a folder: name a file in it",
        _ => "check that the folder exists, that you may write there, and the free space",
    })
    .with_cause(e)
}

/// Writes `bytes` to `path` so that a reader sees the old file or the new one, never a part, and
/// that they are there after a loss of power.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), Fault> {
    put(path, bytes, true)
}

/// The same for what is written over and over, and is worth nothing after a loss of power.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), Fault> {
    put(path, bytes, false)
}

fn put(path: &Path, bytes: &[u8], durable: bool) -> Result<(), Fault> {
    let failed = |e| unwritable(path, e);
    // A device or a pipe (/dev/stdout, /dev/null) is written to; there is nothing to rename over.
    if fs::metadata(path).is_ok_and(|m| !m.is_file() && !m.is_dir()) {
        return fs::write(path, bytes).map_err(failed);
    }
    // A link stays a link: what it points to is replaced.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut temporary = temporary_beside(&target);
    let mut file = fs::File::create_new(&temporary);
    for _ in 0..16 {
        match &file {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                temporary.as_mut_os_string().push("_");
                file = fs::File::create_new(&temporary);
            }
            _ => break,
        }
    }
    let mut file = file.map_err(failed)?;
    let written = (|| {
        if let Ok(old) = fs::metadata(&target) {
            file.set_permissions(old.permissions())?;
        }
        file.write_all(bytes)?;
        if durable {
            file.sync_all()?;
        }
        fs::rename(&temporary, &target)
    })();
    written.map_err(|e| {
        // Nothing more can be done when even the temporary file cannot be removed.
        let _ = fs::remove_file(&temporary);
        failed(e)
    })
}

/// Whether [`write_atomically`] could write there, found out without touching what is there.
pub fn check_writable(path: &Path) -> Result<(), Fault> {
    let failed = |e| unwritable(path, e);
    match fs::metadata(path) {
        Ok(m) if m.is_dir() => Err(failed(io::ErrorKind::IsADirectory.into())),
        // Opening a pipe would wait for its reader.
        Ok(m) if !m.is_file() => Ok(()),
        _ => {
            let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
            let trial = temporary_beside(&target);
            fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .open(&trial)
                .and_then(|_| fs::remove_file(&trial))
                .map_err(failed)
        }
    }
}

fn temporary_beside(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.tmp", std::process::id()));
    path.with_file_name(name)
}

/// Writes a document to `out`, or to standard output when there is none.
///
/// A reader that closed the pipe early wanted no more: that is no fault, and the verdict keeps its
/// status. Anything else that goes wrong is one.
pub fn deliver_json<T: Serialize>(document: &T, out: Option<&Path>) -> Result<(), Fault> {
    let text = gpuc_core::json::write(document).map_err(|e| {
        Fault::new(
            Code::RuntimeUnexpected,
            "the document cannot be written as JSON",
        )
        .with_cause(e)
    })?;
    if let Some(path) = out {
        write_atomically(path, text.as_bytes())?;
        say(&format!("wrote {}", path.display()));
        return Ok(());
    }
    deliver_text(&text)
}

/// Writes a picture or a page to `path`, whole or not at all.
pub(crate) fn deliver_picture(text: &str, path: &Path) -> Result<(), Fault> {
    write_atomically(path, text.as_bytes())?;
    say(&format!("wrote {}", path.display()));
    Ok(())
}

/// Writes a text to standard output; a reader that wants no more is no fault.
pub fn deliver_text(text: &str) -> Result<(), Fault> {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(Fault::new(
            Code::IoWriteFailed,
            "standard output cannot be written",
        )
        .with_hint("check the free space where it leads to, or use -o FILE")
        .with_cause(e)),
        _ => Ok(()),
    }
}

/// The document in an input file, `-` being standard input.
pub fn read_document<T: DeserializeOwned>(path: &Path, what: &str, code: Code) -> Result<T, Fault> {
    let bytes = read_input(path, what, code)?;
    gpuc_core::json::read(&bytes).map_err(|e| {
        Fault::new(
            code,
            format!("{what} {} is not the JSON expected", path.display()),
        )
        .with_hint(match code {
            Code::InputBadProfile => {
                "check the line and column below, or write it anew with gpu-container-profile"
            }
            _ => "check the line and column below, or write the file anew",
        })
        .with_cause(e)
    })
}

/// The model configuration in an input file, `-` being standard input.
pub fn read_model_config(path: &Path) -> Result<serde_json::Value, Fault> {
    let (what, code) = ("model configuration", Code::InputBadModelConfig);
    let bytes = read_input(path, what, code)?;
    gpuc_core::model::read(&bytes).map_err(|e| {
        Fault::new(
            code,
            format!("{what} {} is not the JSON expected", path.display()),
        )
        .with_hint("pass the config.json that lies beside the weights on Hugging Face")
        .with_cause(e)
    })
}
