//! What fio says about a pass, as text in and figures out.

use serde_json::Value;

use crate::nvidia::Reading;

/// What one pass of reads gave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pass {
    /// Bytes a second.
    pub bytes_per_s: f64,
    /// Reads a second.
    pub iops: f64,
    /// Mean time of a read, microseconds, where fio tells it.
    pub latency_us: Option<f64>,
}

/// Words by which fio or the kernel says that a read past the page cache is not possible.
const NO_DIRECT: [&str; 3] = ["O_DIRECT", "does not support", "Operation not supported"];

/// The figures of a pass whose outputs these are; `failed` is how fio ended when not well.
pub(super) fn read(stdout: &str, stderr: &str, failed: Option<&str>) -> Reading<Pass> {
    if let Some(word) = NO_DIRECT
        .iter()
        .find(|word| stdout.contains(**word) || stderr.contains(**word))
    {
        return Err(format!(
            "the page cache cannot be bypassed there ({word}), and a cached rate is not the drive's"
        ));
    }
    if let Some(failed) = failed {
        let said = stderr.lines().chain(stdout.lines());
        let said = said.map(str::trim).find(|l| !l.is_empty() && *l != "{");
        return Err(format!(
            "fio: {failed}: {}",
            said.unwrap_or("it says nothing")
        ));
    }
    // Warnings may stand before the document.
    let start = stdout.find('{').unwrap_or(0);
    let document: Value = stdout
        .get(start..)
        .and_then(|text| {
            serde_json::Deserializer::from_str(text)
                .into_iter()
                .next()?
                .ok()
        })
        .ok_or("fio printed no JSON")?;
    let read = document
        .pointer("/jobs/0/read")
        .ok_or("fio's JSON has no jobs[0].read")?;
    let number = |key: &str| {
        let x = read.get(key)?.as_f64()?;
        (x.is_finite() && x > 0.0).then_some(x)
    };
    let latency = ["lat_ns", "clat_ns"]
        .iter()
        .find_map(|key| read.get(key)?.get("mean")?.as_f64());
    Ok(Pass {
        bytes_per_s: number("bw_bytes").ok_or("fio read nothing")?,
        iops: number("iops").ok_or("fio counted no reads")?,
        latency_us: latency.filter(|ns| ns.is_finite()).map(|ns| ns / 1000.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: &str = r#"fio: a warning
{"fio version": "fio-3.33", "jobs": [{"read": {"bw_bytes": 2500000000, "iops": 9536.7,
 "lat_ns": {"mean": 6700.5}}}]}
"#;

    #[test]
    fn a_report_with_noise_around_it() {
        let pass = read(GOOD, "", None).unwrap();
        assert_eq!((pass.bytes_per_s, pass.iops), (2.5e9, 9536.7));
        assert_eq!(pass.latency_us, Some(6.7005));
    }

    #[test]
    fn what_is_no_figure_has_a_reason() {
        let cases = [
            (
                GOOD,
                "fio: destination does not support O_DIRECT",
                None,
                "page cache",
            ),
            (
                "",
                "file: No space left on device",
                Some("exit status: 1"),
                "No space left",
            ),
            ("", "", None, "no JSON"),
            ("{}", "", None, "jobs[0].read"),
            (
                r#"{"jobs": [{"read": {"bw_bytes": 0, "iops": 1}}]}"#,
                "",
                None,
                "nothing",
            ),
            (
                r#"{"jobs": [{"read": {"bw_bytes": 1, "iops": -1}}]}"#,
                "",
                None,
                "no reads",
            ),
        ];
        for (stdout, stderr, failed, why) in cases {
            let e = read(stdout, stderr, failed).unwrap_err();
            assert!(e.contains(why), "{e}");
        }
    }

    proptest! {
        #[test]
        fn any_output_is_survived(stdout in any::<String>(), stderr in any::<String>()) {
            let _ = read(&stdout, &stderr, None);
        }
    }
}
