//! Whole numbers that remember having left 64 bits.

use std::iter::Sum;
use std::ops::{Add, Mul};

use super::error::ModelError;

/// A count of parameters or bytes; once a sum or product overflows it stays unusable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Num(Option<u64>);

impl Num {
    pub(super) const ZERO: Self = Self(Some(0));

    /// The number, or the error that names it.
    pub(super) fn get(self, what: &'static str) -> Result<u64, ModelError> {
        self.0.ok_or(ModelError::TooLarge(what))
    }
}

/// A number to calculate with.
pub(super) fn n(value: u64) -> Num {
    Num(Some(value))
}

impl Add for Num {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.zip(other.0).and_then(|(a, b)| a.checked_add(b)))
    }
}

impl Mul for Num {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        // Nothing times too much is nothing.
        if self == Self::ZERO || other == Self::ZERO {
            return Self::ZERO;
        }
        Self(self.0.zip(other.0).and_then(|(a, b)| a.checked_mul(b)))
    }
}

impl Mul<u64> for Num {
    type Output = Self;
    fn mul(self, other: u64) -> Self {
        self * n(other)
    }
}

impl Sum for Num {
    fn sum<I: Iterator<Item = Self>>(items: I) -> Self {
        items.fold(Self::ZERO, Add::add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overflow_is_remembered() {
        let big = n(u64::MAX);
        assert_eq!((n(2) * 3 + n(1)).get("it").unwrap(), 7);
        assert!((big + n(1)).get("it").is_err());
        assert!((big * 2 + n(0)).get("it").is_err());
        assert_eq!(Num::ZERO * (big * 2), Num::ZERO);
        assert_eq!([n(1), n(2)].into_iter().sum::<Num>(), n(3));
    }
}
