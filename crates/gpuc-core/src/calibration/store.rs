//! The points behind a forecast: three that are shipped, and a folder of the user's own.

use serde_json::Value;

use crate::document::Point;

/// The shipped points: one RTX 5090 under WSL2, Qwen3-30B-A3B at Q4_K_M, context 4096, RAM at
/// 40.7 GB/s, measured on 2026-06-04 by the reference's authors.
pub fn seed() -> Vec<Point> {
    [(0, 737.56, 302.4), (24, 69.02, 41.9), (48, 36.2, 20.4)]
        .into_iter()
        .map(|(n, ceiling, measured)| Point {
            model: "Qwen3-30B-A3B".into(),
            n_cpu_moe: Some(n),
            n_moe_layers: Some(48),
            ceiling_tok_s: Some(ceiling),
            measured_tok_s: Some(measured),
            quant: Some("gguf-q4_k_m".into()),
            cpu_bw_gbps: Some(40.7),
            vram_bw_gbps: Some(1790.0),
            ctx_len: Some(4096),
            created: Some("2026-06-04".into()),
            rig: Some("RTX 5090, WSL2".into()),
            source: Some("shipped".into()),
            ..Point::default()
        })
        .collect()
}

/// What one file of a store holds.
#[derive(Debug, Default, PartialEq)]
pub struct StoreFile {
    /// Its usable points.
    pub points: Vec<Point>,
    /// How many entries were skipped as malformed; a file that is no JSON counts as one.
    pub skipped: usize,
}

/// The points in one file: a point or a list of points. Whatever is malformed is skipped, so that
/// one bad file never takes the forecast away.
///
/// Only plain UTF-8 counts, a byte-order mark included among what does not: stores are written by
/// `gpu-container-receipt`, which writes none.
pub fn points_in(bytes: &[u8]) -> StoreFile {
    let Ok(value) = serde_json::from_slice::<Value>(bytes) else {
        return StoreFile {
            points: Vec::new(),
            skipped: 1,
        };
    };
    let entries = match value {
        Value::Array(list) => list,
        one => vec![one],
    };
    let mut file = StoreFile::default();
    for entry in entries {
        match serde_json::from_value::<Point>(entry) {
            Ok(p) if usable(&p) => file.points.push(p),
            _ => file.skipped += 1,
        }
    }
    file
}

/// A point says something when its block count is known and its ceiling is no zero.
fn usable(p: &Point) -> bool {
    p.n_cpu_moe.is_some() && p.ceiling_tok_s.is_some_and(|c| c > 0.0) && p.measured_tok_s.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(n: &str, ceiling: &str, measured: &str) -> String {
        format!(
            r#"{{"model": "m", "n_cpu_moe": {n}, "n_moe_layers": 48, "ceiling_tok_s": {ceiling},
                "measured_tok_s": {measured}, "unknown": 1}}"#
        )
    }

    #[test]
    fn a_file_is_a_point_or_a_list() {
        assert_eq!(
            points_in(point("6", "100", "80").as_bytes()).points.len(),
            1
        );
        let list = format!(
            "[{}, 1, null, [], {{}}, {}]",
            point("6", "9", "8"),
            point("0", "9", "8")
        );
        let file = points_in(list.as_bytes());
        assert_eq!((file.points.len(), file.skipped), (2, 4));
        assert_eq!(points_in(b"").skipped, 1);
        assert_eq!(points_in(b"7").skipped, 1);
    }

    #[test]
    fn numbers_of_the_wrong_kind_are_skipped() {
        let bad = [
            point("\"24\"", "100", "50"),
            point("null", "100", "50"),
            point("-3", "100", "50"),
            point("1.5", "100", "50"),
            point("true", "100", "50"),
            point("24", "\"100\"", "50"),
            point("24", "null", "50"),
            point("24", "0", "50"),
            point("24", "100", "-50"),
            point("24", "100", "NaN"),
            point("24", "1e999", "50"),
            point("24", "100", "[]"),
        ];
        for text in bad {
            assert_eq!(
                points_in(text.as_bytes()),
                StoreFile {
                    points: vec![],
                    skipped: 1
                },
                "{text}"
            );
        }
    }

    #[test]
    fn a_point_without_its_layer_count_still_counts() {
        let text = r#"{"model": "m", "n_cpu_moe": 24, "n_moe_layers": null, "ceiling_tok_s": 9, "measured_tok_s": 5}"#;
        assert_eq!(points_in(text.as_bytes()).points.len(), 1);
    }
}
