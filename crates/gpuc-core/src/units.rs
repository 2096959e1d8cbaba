//! Bytes inside, MiB and GiB only where something is rendered; decimal rounding as documents do it.

/// Bytes in a mebibyte.
pub const MIB: u64 = 1 << 20;
/// Bytes in a gibibyte.
pub const GIB: u64 = 1 << 30;

/// `x` rounded to `places` decimals the way Python's `round` does it: on the exact binary value,
/// ties to even. Documents are rounded with it, so that two ports agree to the last digit.
pub fn round_to(x: f64, places: usize) -> f64 {
    // Formatting is exact and rounds ties to even; the parse gives the nearest double back.
    format!("{x:.places$}").parse().unwrap_or(x)
}

/// Bytes as mebibytes.
pub fn mib(bytes: u64) -> f64 {
    bytes as f64 / MIB as f64
}

/// Bytes as gibibytes.
pub fn gib(bytes: u64) -> f64 {
    bytes as f64 / GIB as f64
}

/// A float of bytes, such as a closed form gives, as mebibytes.
pub fn as_mib(bytes: f64) -> f64 {
    bytes / MIB as f64
}

/// A float of bytes as gibibytes.
pub fn as_gib(bytes: f64) -> f64 {
    bytes / GIB as f64
}

/// A non-negative finite number of bytes held as a float, floored to whole bytes.
///
/// Negative and non-finite values, which no caller should have, count as none.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub fn floor_bytes(x: f64) -> u64 {
    // `as` saturates: NaN and negatives give 0, anything past 2^64 the largest value.
    x as u64
}

/// The same, rounded to the nearest byte.
pub fn nearest_bytes(x: f64) -> u64 {
    floor_bytes(x.round())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_pythons() {
        // (value, places, what Python 3 prints for round(value, places))
        let cases = [
            (0.25, 1, 0.2),
            (0.35, 1, 0.3),
            (0.75, 1, 0.8),
            (2.675, 2, 2.67),
            (16000.25, 1, 16000.2),
            (0.05, 1, 0.1),
            (0.15, 1, 0.1),
            (1e22, 2, 1e22),
            (-0.04, 1, -0.0),
            (12.5, 0, 12.0),
        ];
        for (x, places, want) in cases {
            assert_eq!(round_to(x, places), want, "round({x}, {places})");
        }
    }

    #[test]
    fn floored_bytes_never_wrap() {
        assert_eq!(floor_bytes(1.9), 1);
        assert_eq!(floor_bytes(-5.0), 0);
        assert_eq!(floor_bytes(f64::NAN), 0);
        assert_eq!(floor_bytes(1e30), u64::MAX);
    }
}
