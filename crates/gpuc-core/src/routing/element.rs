//! The element types in which an importance matrix may keep its counts.

/// How a tensor stores its counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Element {
    F16,
    F32,
    F64,
    I8,
    I16,
    I32,
    I64,
}

impl Element {
    /// The element of ggml's type, when counts can be kept in it.
    pub(super) fn of(ggml_type: u32) -> Option<Self> {
        Some(match ggml_type {
            0 => Self::F32,
            1 => Self::F16,
            24 => Self::I8,
            25 => Self::I16,
            26 => Self::I32,
            27 => Self::I64,
            28 => Self::F64,
            _ => return None,
        })
    }

    /// Bytes of one.
    pub(super) fn size(self) -> usize {
        match self {
            Self::I8 => 1,
            Self::F16 | Self::I16 => 2,
            Self::F32 | Self::I32 => 4,
            Self::F64 | Self::I64 => 8,
        }
    }

    /// The number in `bytes`, an integer apart from a float so that neither loses a digit.
    pub(super) fn read(self, bytes: &[u8]) -> Option<Number> {
        Some(match self {
            Self::F16 => Number::Float(half(u16::from_le_bytes(bytes.try_into().ok()?))),
            Self::F32 => Number::Float(f32::from_le_bytes(bytes.try_into().ok()?).into()),
            Self::F64 => Number::Float(f64::from_le_bytes(bytes.try_into().ok()?)),
            Self::I8 => Number::Whole(i8::from_le_bytes(bytes.try_into().ok()?).into()),
            Self::I16 => Number::Whole(i16::from_le_bytes(bytes.try_into().ok()?).into()),
            Self::I32 => Number::Whole(i32::from_le_bytes(bytes.try_into().ok()?).into()),
            Self::I64 => Number::Whole(i64::from_le_bytes(bytes.try_into().ok()?)),
        })
    }
}

/// A number as it is stored.
pub(super) enum Number {
    Whole(i64),
    Float(f64),
}

impl Number {
    /// The count, a float rounded to the nearest whole number (ties to even).
    pub(super) fn count(self) -> Result<u64, f64> {
        match self {
            Self::Whole(n) => u64::try_from(n).map_err(|_| n as f64),
            // 2^64 is the first value that `u64` cannot hold; NaN is in no range.
            Self::Float(x) if (0.0..18446744073709551616.0).contains(&x) => {
                Ok(crate::units::floor_bytes(x.round_ties_even()))
            }
            Self::Float(x) => Err(x),
        }
    }
}

/// IEEE 754 binary16.
fn half(bits: u16) -> f64 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let exponent = i32::from((bits >> 10) & 0x1f);
    let fraction = f64::from(bits & 0x3ff);
    sign * match (exponent, fraction) {
        (0x1f, 0.0) => f64::INFINITY,
        (0x1f, _) => f64::NAN,
        (0, f) => f * 2f64.powi(-24),
        (e, f) => (1024.0 + f) * 2f64.powi(e - 25),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(ggml_type: u32, bytes: &[u8]) -> Vec<u64> {
        let element = Element::of(ggml_type).unwrap();
        let items = bytes.chunks_exact(element.size());
        items
            .map(|item| element.read(item).unwrap().count().unwrap())
            .collect()
    }

    #[test]
    fn every_type_that_can_hold_counts_is_read() {
        let f32s: Vec<u8> = [10f32, 4.0, 1.0, 0.0]
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect();
        let f64s: Vec<u8> = [10f64, 4.0, 1.0, -0.0]
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect();
        let i64s: Vec<u8> = [10i64, 4, 1, 0]
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect();
        let i32s: Vec<u8> = [10i32, 4, 1, 0]
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect();
        let i16s: Vec<u8> = [10i16, 4, 1, 0]
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect();
        let f16s: Vec<u8> = [0x4900u16, 0x4400, 0x3c00, 0]
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect();
        let all = [
            (0, f32s),
            (1, f16s),
            (24, vec![10, 4, 1, 0]),
            (25, i16s),
            (26, i32s),
        ];
        for (ggml_type, bytes) in all.into_iter().chain([(27, i64s), (28, f64s)]) {
            assert_eq!(counts(ggml_type, &bytes), [10, 4, 1, 0], "type {ggml_type}");
        }
        assert_eq!(half(0x0001), 2f64.powi(-24));
        assert_eq!((half(0x7bff), half(0xfc00)), (65504.0, f64::NEG_INFINITY));
    }
}
