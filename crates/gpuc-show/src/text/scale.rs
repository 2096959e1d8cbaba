//! Rates of decode on one line.

use anstyle::{AnsiColor, Style};

use super::canvas::{BAD, Canvas, FAINT, GOOD, Piece, STRONG, plain};
use crate::view::Speed;

/// A rate as documents round it.
pub(super) fn rate(x: f64) -> String {
    match x {
        x if x.fract() == 0.0 => format!("{x:.0}"),
        x if x < 100.0 => format!("{x:.2}"),
        x if x < 1000.0 => format!("{x:.1}"),
        x => format!("{x:.0}"),
    }
}

/// A rate as people say it.
pub(super) fn about(x: f64) -> String {
    if (10.0..100.0).contains(&x) {
        format!("{x:.1}")
    } else {
        rate(x)
    }
}

/// What a forecast may well be.
pub(super) const BAND: Style = AnsiColor::Cyan.on_default();

/// A mark on the scale.
struct Mark {
    sign: (char, char),
    style: Style,
    name: &'static str,
    at: f64,
}

/// The scale from 0 to the highest rate, and what its marks mean.
pub(super) fn scale(canvas: &mut Canvas, speed: &Speed) {
    let Some(top) = speed.top() else {
        return;
    };
    let marks: Vec<Mark> = [
        (('╎', ':'), FAINT, "floor", speed.floor),
        (('┃', '|'), STRONG, "ceiling", speed.ceiling),
        (
            ('●', 'o'),
            GOOD,
            "forecast",
            speed.forecast.filter(|f| Some(*f) != speed.ceiling),
        ),
        (
            ('◆', 'X'),
            if speed.measured > speed.ceiling {
                BAD
            } else {
                STRONG
            },
            "measured",
            speed.measured,
        ),
    ]
    .into_iter()
    .filter_map(|(sign, style, name, at)| {
        Some(Mark {
            sign,
            style,
            name,
            at: at?,
        })
    })
    .collect();
    let unicode = canvas.unicode();
    let pick = |sign: (char, char)| if unicode { sign.0 } else { sign.1 };
    let end = format!(" {} tok/s", rate(top));
    let cells = canvas.width().saturating_sub(4 + end.len()).max(8);
    let place = |x: f64| index(x / top, cells);
    let mut line = vec![(pick(('─', '-')), FAINT); cells];
    if let Some((low, high)) = speed.band {
        for cell in line.iter_mut().take(place(high) + 1).skip(place(low)) {
            *cell = (pick(('━', '=')), BAND);
        }
    }
    for mark in &marks {
        if let Some(cell) = line.get_mut(place(mark.at)) {
            *cell = (pick(mark.sign), mark.style);
        }
    }
    let mut row = vec![plain("  0 ")];
    row.extend(super::canvas::cells(line));
    row.push(plain(end));
    canvas.line(row);

    let mut legend: Vec<Vec<Piece>> = marks
        .iter()
        .rev()
        .map(|m| {
            vec![
                Piece(m.style, pick(m.sign).into()),
                Piece(FAINT, format!(" {} {}", m.name, rate(m.at))),
            ]
        })
        .collect();
    if let Some((low, high)) = speed.band {
        let text = format!(" band {} to {}", rate(low), rate(high));
        let at = legend.len().saturating_sub(2);
        legend.insert(
            at,
            vec![Piece(BAND, pick(('━', '=')).into()), Piece(FAINT, text)],
        );
    }
    canvas.flow(4, legend);
}

/// The cell, of so many, in which a share from 0 to 1 lies.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub(crate) fn index(share: f64, cells: usize) -> usize {
    // `as` saturates.
    let last = cells.saturating_sub(1);
    ((share * last as f64).round() as usize).min(last)
}
