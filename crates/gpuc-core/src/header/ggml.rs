//! The ggml tensor types: how many elements share a block and how many bytes it takes.
//!
//! Numbers are those of ggml's own type table (checked against the `gguf` Python package 0.19.0).

/// A tensor's type as the file numbers it.
///
/// A number that the table lacks stays readable: a newer file is planned from its offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GgmlType(pub u32);

/// (id, name, elements a block, bytes a block)
const TABLE: [(u32, &str, u32, u32); 34] = [
    (0, "F32", 1, 4),
    (1, "F16", 1, 2),
    (2, "Q4_0", 32, 18),
    (3, "Q4_1", 32, 20),
    (6, "Q5_0", 32, 22),
    (7, "Q5_1", 32, 24),
    (8, "Q8_0", 32, 34),
    // Half scale, half sum, 32 quants; it lives in registers and is never stored.
    (9, "Q8_1", 32, 36),
    (10, "Q2_K", 256, 84),
    (11, "Q3_K", 256, 110),
    (12, "Q4_K", 256, 144),
    (13, "Q5_K", 256, 176),
    (14, "Q6_K", 256, 210),
    (15, "Q8_K", 256, 292),
    (16, "IQ2_XXS", 256, 66),
    (17, "IQ2_XS", 256, 74),
    (18, "IQ3_XXS", 256, 98),
    (19, "IQ1_S", 256, 50),
    (20, "IQ4_NL", 32, 18),
    (21, "IQ3_S", 256, 110),
    (22, "IQ2_S", 256, 82),
    (23, "IQ4_XS", 256, 136),
    (24, "I8", 1, 1),
    (25, "I16", 1, 2),
    (26, "I32", 1, 4),
    (27, "I64", 1, 8),
    (28, "F64", 1, 8),
    (29, "IQ1_M", 256, 56),
    (30, "BF16", 1, 2),
    (34, "TQ1_0", 256, 54),
    (35, "TQ2_0", 256, 66),
    (39, "MXFP4", 32, 17),
    (40, "NVFP4", 64, 36),
    (41, "Q1_0", 128, 18),
];

impl GgmlType {
    /// 32-bit floats.
    pub const F32: Self = Self(0);
    /// 16-bit floats.
    pub const F16: Self = Self(1);

    fn row(self) -> Option<&'static (u32, &'static str, u32, u32)> {
        TABLE
            .binary_search_by_key(&self.0, |r| r.0)
            .ok()
            .and_then(|i| TABLE.get(i))
    }

    /// Whether the table has this type.
    pub fn is_known(self) -> bool {
        self.row().is_some()
    }

    /// The type's name, as llama.cpp prints it, or its number.
    pub fn name(self) -> String {
        self.row()
            .map_or_else(|| format!("type {}", self.0), |r| r.1.to_owned())
    }

    /// Elements and bytes of a block, unless the type is unknown.
    pub fn block(self) -> Option<(u64, u64)> {
        self.row().map(|r| (u64::from(r.2), u64::from(r.3)))
    }

    /// Bytes of a row of `elements`, unless the type is unknown, the row is no whole number of
    /// blocks, or the product does not fit.
    pub fn row_bytes(self, elements: u64) -> Option<u64> {
        let (per_block, bytes) = self.block()?;
        if !elements.is_multiple_of(per_block) {
            return None;
        }
        (elements / per_block).checked_mul(bytes)
    }

    /// The type of this name, in any case ("q8_0", "F16").
    pub fn by_name(name: &str) -> Option<Self> {
        TABLE
            .iter()
            .find(|r| r.1.eq_ignore_ascii_case(name))
            .map(|r| Self(r.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_sizes_rows() {
        assert!(TABLE.windows(2).all(|w| w[0].0 < w[1].0));
        let cases = [
            (12, 256, Some(144)),
            (39, 64, Some(34)),
            (40, 128, Some(72)),
            (20, 32, Some(18)),
            (30, 7, Some(14)),
            (41, 256, Some(36)),
            (2, 31, None),
            (4, 32, None),
            (0, u64::MAX, None),
        ];
        for (id, n, want) in cases {
            assert_eq!(GgmlType(id).row_bytes(n), want, "type {id}, {n} elements");
        }
        assert_eq!(GgmlType::by_name("q8_0"), Some(GgmlType(8)));
        assert_eq!(GgmlType(99).name(), "type 99");
    }
}
