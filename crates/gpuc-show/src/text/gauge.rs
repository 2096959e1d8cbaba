//! A share of something as a bar of a few cells.

use anstyle::Style;

use super::canvas::{Canvas, FAINT, Piece, STRONG};
use super::scale::index;

/// `cells` of which the first `share` are filled, with a mark at another share.
pub(super) fn gauge(
    canvas: &Canvas,
    cells: usize,
    share: f64,
    mark: Option<f64>,
    style: Style,
) -> Vec<Piece> {
    let (full, empty, sign) = if canvas.unicode() {
        ('█', '·', '┃')
    } else {
        ('#', '.', '|')
    };
    // Something is never shown as nothing, and what is not full never as full.
    let filled = match index(share, cells + 1) {
        0 if share > 0.0 => 1,
        n if n == cells && share < 1.0 => cells.saturating_sub(1),
        n => n,
    };
    let mark = mark.map(|m| index(m, cells));
    super::canvas::cells((0..cells).map(|cell| {
        if Some(cell) == mark {
            (sign, STRONG)
        } else if cell < filled {
            (full, style)
        } else {
            (empty, FAINT)
        }
    }))
}
