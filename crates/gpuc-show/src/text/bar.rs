//! Memory as bars: told apart by their fill, colour or none.

use anstyle::{AnsiColor, Style};
use gpuc_core::units::{GIB, gib, mib};

use super::canvas::{BAD, Canvas, FAINT, PLAIN, Piece, STRONG, plain};
use crate::view::{Bar, Part};

/// Bytes as people say them.
pub(super) fn size(bytes: u64) -> String {
    if bytes >= GIB {
        format!("{:.1} GiB", gib(bytes))
    } else {
        format!("{:.0} MiB", mib(bytes))
    }
}

fn fill(part: Part, unicode: bool) -> char {
    let (rich, ascii) = match part {
        Part::Weights => ('█', '#'),
        Part::Cache => ('▓', '%'),
        Part::Compute => ('▒', '+'),
        Part::Margin => ('░', '-'),
        Part::Free => ('·', '.'),
    };
    if unicode { rich } else { ascii }
}

fn style(part: Part) -> Style {
    match part {
        Part::Weights => AnsiColor::Blue.on_default(),
        Part::Cache => AnsiColor::Magenta.on_default(),
        Part::Compute => AnsiColor::Yellow.on_default(),
        Part::Margin => AnsiColor::Cyan.on_default(),
        Part::Free => FAINT,
    }
}

/// What lies beyond the budget.
fn beyond(unicode: bool) -> char {
    if unicode { '╳' } else { 'x' }
}

/// The memory of one device: whose it is and how full, the bar, and what its fills mean.
pub(super) fn memory_bar(canvas: &mut Canvas, bar: &Bar) {
    let name = if bar.is_host {
        "RAM"
    } else {
        bar.device.as_str()
    };
    let (short, budget) = (bar.short(), bar.budget.unwrap_or(0));
    // VRAM in the unit of the driver's tools.
    let amount = |bytes| {
        if bar.is_host {
            format!("{:.1}", gib(bytes))
        } else {
            format!("{:.0}", mib(bytes))
        }
    };
    let unit = if bar.is_host { "GiB" } else { "MiB" };
    let amount = match bar.budget {
        None => format!("{} {unit}", amount(bar.needed)),
        Some(_) if short > 0 => format!(
            "{} of {} {unit}: {} {unit} short",
            amount(bar.needed),
            amount(budget),
            amount(short)
        ),
        Some(_) => format!("{} of {} {unit}", amount(bar.needed), amount(budget)),
    };
    let tone = if short > 0 { BAD } else { PLAIN };
    canvas.spread(Piece(STRONG, format!("  {name}")), Piece(tone, amount));

    let unicode = canvas.unicode();
    let mut runs: Vec<(u64, char, Style)> = bar
        .segments
        .iter()
        .map(|s| (s.bytes, fill(s.part, unicode), style(s.part)))
        .collect();
    if short > 0 {
        // The bar is cut at the budget, and goes on as what is too much.
        let mut kept = budget;
        for run in &mut runs {
            run.0 = run.0.min(kept);
            kept -= run.0;
        }
        runs.push((short, beyond(unicode), BAD));
    }
    let lengths: Vec<u64> = runs.iter().map(|r| r.0).collect();
    let cells = allot(&lengths, canvas.width() - 2);
    let pieces = runs
        .iter()
        .zip(cells)
        .map(|(&(_, c, style), n)| Piece(style, c.to_string().repeat(n)));
    canvas.line(
        std::iter::once(plain("  "))
            .chain(pieces)
            .collect::<Vec<_>>(),
    );

    let mut legend: Vec<Vec<Piece>> = bar
        .segments
        .iter()
        .map(|s| {
            vec![
                Piece(style(s.part), fill(s.part, unicode).to_string()),
                Piece(FAINT, format!(" {} {}", s.part.name(), size(s.bytes))),
            ]
        })
        .collect();
    if short > 0 {
        legend.push(vec![
            Piece(BAD, beyond(unicode).to_string()),
            Piece(BAD, format!(" too much {}", size(short))),
        ]);
    }
    canvas.flow(2, legend);
}

/// `cells` shared out by size: each that is not empty gets one at least, where there are enough.
pub(super) fn allot(sizes: &[u64], cells: usize) -> Vec<usize> {
    let total: u128 = sizes.iter().map(|s| u128::from(*s)).sum();
    if total == 0 {
        return vec![0; sizes.len()];
    }
    let all = cells as u128;
    let mut before = 0u128;
    let mut out: Vec<usize> = sizes
        .iter()
        .map(|size| {
            let from = (before * all + total / 2) / total;
            before += u128::from(*size);
            let to = (before * all + total / 2) / total;
            usize::try_from(to - from).unwrap_or(0)
        })
        .collect();
    for at in 0..out.len() {
        let wants = sizes.get(at).is_some_and(|s| *s > 0) && out.get(at) == Some(&0);
        let largest = (0..out.len()).max_by_key(|i| out.get(*i).copied().unwrap_or(0));
        if let (true, Some(largest)) = (wants, largest)
            && out.get(largest).is_some_and(|n| *n > 1)
        {
            if let Some(n) = out.get_mut(largest) {
                *n -= 1;
            }
            if let Some(n) = out.get_mut(at) {
                *n = 1;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_that_is_there_vanishes() {
        assert_eq!(allot(&[50, 50], 10), [5, 5]);
        assert_eq!(allot(&[999, 1, 0], 10), [9, 1, 0]);
        assert_eq!(allot(&[1, 1, 1], 2), [1, 0, 1]);
        assert_eq!(allot(&[0, 0], 10), [0, 0]);
    }

    proptest! {
        #[test]
        fn all_cells_are_shared_out(sizes in prop::collection::vec(any::<u64>(), 1..6), cells in 6usize..200) {
            let out = allot(&sizes, cells);
            let sum: usize = out.iter().sum();
            prop_assert_eq!(sum, if sizes.iter().all(|s| *s == 0) { 0 } else { cells });
            for (size, n) in sizes.iter().zip(&out) {
                prop_assert_eq!(*size > 0, *n > 0);
            }
        }
    }
}
