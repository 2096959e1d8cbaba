//! Numbers as a picture shows them: as many digits as can be told apart, thousands set apart.

use gpuc_core::units::{GIB, MIB};

/// With so many decimals; what is no number is a dash.
pub(crate) fn decimals(x: f64, places: usize) -> String {
    if !x.is_finite() {
        return "–".to_owned();
    }
    if x.abs() >= 1e15 {
        return format!("{x:.1e}");
    }
    let text = format!("{:.places$}", x.abs());
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut out = String::new();
    // A zero has no sign, however it was reached.
    if x < 0.0 && text.bytes().any(|b| (b'1'..=b'9').contains(&b)) {
        out.push('−');
    }
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out + rest
}

/// Three digits that mean something, at most two decimals.
pub(crate) fn rate(x: f64) -> String {
    let places = match x.abs() {
        a if a >= 99.95 => 0,
        a if a >= 9.995 => 1,
        _ => 2,
    };
    decimals(x, places)
}

/// Bytes, in GiB where there are enough of them.
pub(crate) fn bytes(x: f64) -> String {
    let (gib, mib) = (x / GIB as f64, x / MIB as f64);
    if x.abs() >= 99.95 * GIB as f64 {
        format!("{} GiB", decimals(gib, 0))
    } else if x.abs() >= 0.9995 * GIB as f64 {
        format!("{} GiB", decimals(gib, 1))
    } else {
        format!("{} MiB", decimals(mib, 0))
    }
}

/// A share in percent.
pub(crate) fn percent(share: f64) -> String {
    let percent = 100.0 * share;
    let places = usize::from(percent.abs() < 9.95 && percent != 0.0);
    format!("{} %", decimals(percent, places))
}

/// A coordinate: hundredths of a pixel are enough, and nothing is outside of any picture.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Px(pub(crate) f64);

impl std::fmt::Display for Px {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let x = if self.0.is_finite() {
            self.0.clamp(-1e5, 1e5)
        } else {
            0.0
        };
        let text = format!("{x:.2}");
        let text = text.trim_end_matches('0').trim_end_matches('.');
        f.write_str(if text == "-0" { "0" } else { text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_never_odd() {
        let cases = [
            (decimals(1234567.0, 0), "1,234,567"),
            (decimals(999.0, 0), "999"),
            (decimals(-1234.56, 1), "−1,234.6"),
            (decimals(-0.04, 1), "0.0"),
            (decimals(f64::NAN, 1), "–"),
            (decimals(1e100, 1), "1.0e100"),
            (rate(34.97), "35.0"),
            (rate(120.4), "120"),
            (rate(1.0), "1.00"),
            (rate(9.999), "10.0"),
            (bytes(10411280302.0), "9.7 GiB"),
            (bytes(402653184.0), "384 MiB"),
            (bytes(0.0), "0 MiB"),
            (bytes(1e12), "931 GiB"),
            (percent(0.05), "5.0 %"),
            (percent(0.9), "90 %"),
            (percent(0.0), "0 %"),
            (Px(1.0).to_string(), "1"),
            (Px(-0.001).to_string(), "0"),
            (Px(12.345).to_string(), "12.35"),
            (Px(f64::INFINITY).to_string(), "0"),
            (Px(1e300).to_string(), "100000"),
        ];
        for (got, want) in cases {
            assert_eq!(got, want);
        }
    }
}
