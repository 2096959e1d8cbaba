//! A command as a man page.

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

/// The page of one command.
pub fn page(command: &Command) -> anyhow::Result<Vec<u8>> {
    let man = Man::new(command.clone().disable_help_subcommand(true))
        .manual("gpu-container")
        .date("");
    let mut out = Vec::new();
    man.render_title(&mut out)?;
    man.render_name_section(&mut out)?;
    man.render_synopsis_section(&mut out)?;
    man.render_description_section(&mut out)?;
    man.render_options_section(&mut out)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut out)?;
    }
    if let Some(text) = command.get_after_help() {
        sections(&text.to_string()).to_writer(&mut out)?;
    }
    Ok(out)
}

/// What stands behind the flags in `--help`: a line that ends in a colon heads the lines below it,
/// which are set as they stand.
fn sections(text: &str) -> Roff {
    let mut roff = Roff::new();
    let mut paragraph = Vec::new();
    for part in text.split("\n\n") {
        let (head, body) = part.split_once('\n').unwrap_or((part, ""));
        match head.strip_suffix(':') {
            Some(head) => {
                roff.control("SH", [head.to_uppercase().as_str()]);
                as_it_stands(&mut roff, body);
            }
            None => paragraph.push(part),
        }
    }
    if !paragraph.is_empty() {
        roff.control("SH", ["NOTES"]);
        for part in paragraph {
            as_it_stands(&mut roff, part);
            roff.control("PP", []);
        }
    }
    roff
}

fn as_it_stands(roff: &mut Roff, text: &str) {
    roff.control("nf", []);
    for line in text.lines() {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
}
