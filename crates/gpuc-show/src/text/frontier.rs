//! The screen of the whole trade: for each context and cache type, what keeps the least in RAM.

use anstyle::Style;
use gpuc_core::plan::{Frontier, FrontierRow};
use gpuc_core::units::{GIB, MIB};

use super::Terminal;
use super::canvas::{BAD, Canvas, FAINT, GOOD, PLAIN, Piece, STRONG, WARN, plain};
use super::scale::{BAND, about, index};

const MIB_OF_GIB: f64 = (GIB / MIB) as f64;
/// The heads of the columns; the first is a mark.
const HEADS: [&str; 9] = [
    "", "context", "cache", "placed", "VRAM", "RAM", "forecast", "band", "at most",
];
/// Columns that begin where their head begins; numbers end where it ends.
const WORDS: [usize; 3] = [0, 2, 3];
/// Between two columns.
const SPACE: usize = 2;

/// What fits this rig, a row for each context and cache type, the plan's own marked.
pub fn frontier(table: &Frontier, terminal: &Terminal) -> String {
    let mut canvas = Canvas::new(terminal);
    let settings = settings(table);
    let fitting = settings.iter().filter(|row| row.fits).count();
    let (style, word) = match fitting {
        0 => (BAD, "NOTHING FITS"),
        n if n == settings.len() => (GOOD, "FITS"),
        _ => (WARN, "PARTLY FITS"),
    };
    canvas.verdict(style, word, &about_all(table, fitting, settings.len()));
    canvas.gap();
    let rows: Vec<[String; 9]> = settings
        .iter()
        .zip(std::iter::once(None).chain(settings.iter().map(Some)))
        .map(|(row, before)| cells(&canvas, row, before.is_some_and(|b| b.ctx == row.ctx)))
        .collect();
    let widths = widths(&canvas, &rows);
    line(&mut canvas, &HEADS.map(str::to_owned), &widths, STRONG, &[]);
    let fastest = settings.iter().filter(|row| row.fits);
    let fastest = fastest.fold(0.0, |most, row| row.predicted_decode_tok_s.max(most));
    for (row, cells) in settings.iter().zip(&rows) {
        if row.fits {
            let style = if row.chosen { STRONG } else { PLAIN };
            let bar = bar(&canvas, &widths, row.predicted_decode_tok_s / fastest);
            line(&mut canvas, cells, &widths, style, &bar);
        } else {
            let [mark, ctx, cache, placed, ..] = cells;
            let start = [mark, ctx, cache, placed].map(Clone::clone);
            let why = Piece(BAD, short(table, row));
            line(&mut canvas, &start, &widths, FAINT, &[plain("  "), why]);
        }
    }
    canvas.gap();
    if settings.iter().any(|row| row.chosen) {
        let mark = if canvas.unicode() { "▸" } else { ">" };
        let words = "this plan; another: --ctx N --cache-type-k TYPE --cache-type-v TYPE";
        canvas.wrap(Piece(GOOD, format!("  {mark} ")), PLAIN, words);
    }
    let words = "Each row keeps as little in RAM as fits. VRAM in MiB, its margin included; RAM in \
                 GiB; rates of decode in tok/s.";
    canvas.wrap(plain("  "), FAINT, words);
    canvas.finish()
}

fn about_all(table: &Frontier, fitting: usize, all: usize) -> String {
    let model = &table.model;
    let Some(vram) = table.vram_budget_mib else {
        return format!("{model}: the VRAM of this rig is not known");
    };
    let ram = table.ram_budget_mib.map_or_else(String::new, |mib| {
        format!(" and {:.1} GiB of RAM", mib / MIB_OF_GIB)
    });
    let share = match fitting {
        0 => format!("none of {all} settings fits"),
        n => format!("{n} of {all} settings fit"),
    };
    format!("{model}: {share} {vram:.0} MiB of VRAM{ram}")
}

/// For each context and cache type the plan's own placement, else the first that fits, else the one
/// that is least short: rows go from least to most in RAM.
fn settings(table: &Frontier) -> Vec<&FrontierRow> {
    let same = |a: &FrontierRow, b: &FrontierRow| a.ctx == b.ctx && a.cache_type == b.cache_type;
    let fits_vram = |row: &FrontierRow| table.vram_budget_mib.is_some_and(|b| row.vram_mib <= b);
    let groups = table.rows.chunk_by(same);
    groups
        .filter_map(|group| {
            let chosen = group.iter().find(|row| row.chosen);
            let fits = || group.iter().find(|row| row.fits);
            let fits_vram = || group.iter().find(|row| fits_vram(row));
            chosen.or_else(fits).or_else(fits_vram).or(group.last())
        })
        .collect()
}

fn cells(canvas: &Canvas, row: &FrontierRow, repeated: bool) -> [String; 9] {
    let placed = match (row.n_cpu_moe, row.n_gpu_layers) {
        (_, Some(layers)) => format!("-ngl {layers}"),
        (Some(n), None) => format!("-ncmoe {n}"),
        (None, None) => "all on GPU".into(),
    };
    let band = row
        .predicted_band_low_tok_s
        .zip(row.predicted_band_high_tok_s);
    let mark = match (row.chosen, canvas.unicode()) {
        (false, _) => " ",
        (true, true) => "▸",
        (true, false) => ">",
    };
    [
        format!(" {mark}"),
        if repeated {
            String::new()
        } else {
            row.ctx.to_string()
        },
        row.cache_type.clone(),
        placed,
        format!("{:.0}", row.vram_mib),
        format!("{:.1}", row.ram_mib / MIB_OF_GIB),
        about(row.predicted_decode_tok_s),
        band.map_or_else(String::new, |(low, high)| {
            format!("{} to {}", about(low), about(high))
        }),
        about(row.ceiling_decode_tok_s),
    ]
}

/// What a placement lacks of a rig.
fn short(table: &Frontier, row: &FrontierRow) -> String {
    let lack = |budget: Option<f64>, needed: f64| budget.map(|b| needed - b).filter(|x| *x > 0.0);
    if let Some(mib) = lack(table.vram_budget_mib, row.vram_mib) {
        return format!("VRAM {:.0} MiB short", mib.ceil());
    }
    match lack(table.ram_budget_mib, row.ram_mib) {
        Some(mib) => format!("RAM {:.1} GiB short", mib / MIB_OF_GIB),
        None => "does not fit".into(),
    }
}

fn widths(canvas: &Canvas, rows: &[[String; 9]]) -> [usize; 9] {
    let mut widths = HEADS.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = canvas.measure(cell).max(*width);
        }
    }
    widths
}

/// Cells in their columns, and what comes behind them.
fn line(canvas: &mut Canvas, cells: &[String], widths: &[usize], style: Style, then: &[Piece]) {
    let mut text = String::new();
    for (at, (cell, width)) in cells.iter().zip(widths).enumerate() {
        if at > 0 {
            text += &" ".repeat(SPACE);
        }
        let pad = " ".repeat(width.saturating_sub(canvas.measure(cell)));
        if WORDS.contains(&at) {
            text += cell;
            text += &pad;
        } else {
            text += &pad;
            text += cell;
        }
    }
    let pieces = std::iter::once(Piece(style, text)).chain(then.iter().cloned());
    canvas.line(pieces);
}

/// A rate as a bar, where a wide terminal has room for one.
fn bar(canvas: &Canvas, widths: &[usize], share: f64) -> Vec<Piece> {
    let used: usize = widths.iter().map(|w| w + SPACE).sum();
    let room = canvas.width().saturating_sub(used);
    if room < 10 {
        return Vec::new();
    }
    let full = if canvas.unicode() { "━" } else { "=" };
    vec![
        plain(" ".repeat(SPACE)),
        Piece(BAND, full.repeat(index(share, room) + 1)),
    ]
}
