//! `draw`: the picture of a watch from its log.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::Path;

use gpuc_core::document::{Peaks, Thresholds};
use gpuc_core::error::{Code, Fault};
use gpuc_core::exit::Exit;
use gpuc_core::safety::Place;
use gpuc_show::svg::Track;

use super::args::{Args, DrawArgs};
use super::limits::Layers;
use crate::deliver::{deliver_picture, read_document};

/// A line of a log is some hundred bytes; what is much longer is none.
const LONGEST_LINE: u64 = 1 << 20;
/// A look a second fills this in years; more is a device without an end.
const LARGEST_LOG: u64 = 64 << 30;

pub(super) fn draw(args: &Args, wanted: &DrawArgs) -> Result<Exit, Fault> {
    let track = read_track(&wanted.run_log)?;
    if track.is_empty() {
        return Err(Fault::new(
            Code::IoReadFailed,
            format!("{} holds no look of a watchdog", wanted.run_log.display()),
        )
        .with_hint("name the file that --log wrote"));
    }
    let limits = limits(args, wanted.peaks.as_deref())?;
    deliver_picture(&track.picture(limits.as_ref()).svg(), &wanted.svg)?;
    Ok(Exit::Ok)
}

/// The limits that were in force, where anything tells them.
fn limits(args: &Args, peaks: Option<&Path>) -> Result<Option<Thresholds>, Fault> {
    let layers = Layers::of(args, Place::Run)?;
    if layers.are_given() {
        return Ok(Some(layers.read()?.thresholds));
    }
    let peaks = peaks.map(|path| read_document::<Peaks>(path, "peaks", Code::IoReadFailed));
    Ok(peaks.transpose()?.map(|peaks| peaks.thresholds))
}

/// The trajectory in a log, `-` being standard input, in bounded memory.
pub(crate) fn read_track(path: &Path) -> Result<Track, Fault> {
    let read = if path == Path::new("-") {
        track(io::stdin().lock())
    } else {
        File::open(path).and_then(|file| track(BufReader::new(file)))
    };
    read.map_err(|e| {
        Fault::new(
            Code::IoReadFailed,
            format!("log {} cannot be read", path.display()),
        )
        .with_hint("name the file that gpu-container-watchdog --log wrote")
        .with_cause(e)
    })
}

fn track(from: impl BufRead) -> io::Result<Track> {
    let mut from = from.take(LARGEST_LOG);
    let mut track = Track::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut from)
            .take(LONGEST_LINE)
            .read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(track);
        }
        if line.ends_with(b"\n") || read < usize::try_from(LONGEST_LINE).unwrap_or(usize::MAX) {
            track.line(&line);
        } else {
            track.skip();
            from.skip_until(b'\n')?;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn a_line_without_an_end_is_passed_over() {
        let look = r#"{"t": "", "elapsed_s": 1, "verdict": "ok", "sample": {}, "breaches": []}"#;
        let text = format!("{look}\n{}\n{look}\n{look}", "x".repeat(3 << 20));
        assert_eq!(track(Cursor::new(text)).unwrap().looks(), 3);
        let endless = io::repeat(b'x').take(5 << 20);
        assert!(track(BufReader::new(endless)).unwrap().is_empty());
    }
}
