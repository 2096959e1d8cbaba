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
    let track = read_track(&wanted.run_log, args.events.as_deref())?;
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

/// The trajectory in a log, `-` being standard input, with the decisions in an events file of the
/// same run, in bounded memory.
pub(crate) fn read_track(log: &Path, events: Option<&Path>) -> Result<Track, Fault> {
    let mut track = Track::new();
    read(log, "log", "--log", |line| match line {
        Some(line) => track.line(line),
        None => track.skip(),
    })?;
    if let Some(events) = events {
        let mut take = |line: Option<&[u8]>| line.into_iter().for_each(|line| track.event(line));
        read(events, "events file", "--events", &mut take)?;
    }
    Ok(track)
}

fn read(path: &Path, what: &str, flag: &str, take: impl FnMut(Option<&[u8]>)) -> Result<(), Fault> {
    let read = if path == Path::new("-") {
        lines(io::stdin().lock(), take)
    } else {
        File::open(path).and_then(|file| lines(BufReader::new(file), take))
    };
    read.map_err(|e| {
        Fault::new(
            Code::IoReadFailed,
            format!("{what} {} cannot be read", path.display()),
        )
        .with_hint(format!(
            "name the file that gpu-container-watchdog {flag} wrote"
        ))
        .with_cause(e)
    })
}

/// Hands on line by line; one that is longer than any of ours as none.
fn lines(from: impl BufRead, mut take: impl FnMut(Option<&[u8]>)) -> io::Result<()> {
    let mut from = from.take(LARGEST_LOG);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut from)
            .take(LONGEST_LINE)
            .read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(());
        }
        if line.ends_with(b"\n") || read < usize::try_from(LONGEST_LINE).unwrap_or(usize::MAX) {
            take(Some(&line));
        } else {
            take(None);
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
        let read = |from: &mut dyn BufRead| {
            let mut all = Vec::new();
            lines(from, |line| all.push(line.map(<[u8]>::len))).unwrap();
            all
        };
        let line = Some(look.len() + 1);
        let want = [line, None, line, Some(look.len())];
        assert_eq!(read(&mut Cursor::new(text)), want);
        let endless = io::repeat(b'x').take(5 << 20);
        assert_eq!(read(&mut BufReader::new(endless)), [None]);
    }
}
