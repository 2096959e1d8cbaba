//! Which part of the screen gets how many rows.

/// Rows a part of the screen, from above.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Rows {
    pub(super) job: u16,
    /// The heads of the meters' columns.
    pub(super) heads: u16,
    pub(super) meters: u16,
    pub(super) gpus: u16,
    pub(super) charts: u16,
    /// Title included.
    pub(super) events: u16,
    /// Title included.
    pub(super) output: u16,
    pub(super) keys: u16,
    /// Free rows before the meters, the GPUs, and the parts with a title.
    pub(super) gaps: u16,
}

/// What there is to be shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) job: u16,
    pub(super) meters: u16,
    pub(super) gpus: u16,
    pub(super) events: u16,
    pub(super) output: bool,
    pub(super) keys: bool,
}

/// A chart that is lower than this shows little.
const CHART: u16 = 8;

/// Shares out `height` rows of which the first is the verdict's: what matters most first, and the
/// rest to what the job prints.
pub(super) fn shared_out(height: u16, wanted: &Wanted) -> Rows {
    let mut left = height.saturating_sub(1);
    let mut out = Rows::default();
    // As many as there are, up to so many in all.
    let grow = |part: &mut u16, to: u16, left: &mut u16| {
        let more = to.saturating_sub(*part).min(*left);
        *part += more;
        *left -= more;
    };
    // All of it or nothing.
    let whole = |part: &mut u16, rows: u16, left: &mut u16| {
        if *left >= rows {
            *part += rows;
            *left -= rows;
        }
    };
    let Wanted {
        job,
        meters,
        gpus,
        events,
        output,
        keys,
    } = *wanted;
    let printed = |rows: u16| if output { rows } else { 0 };
    grow(&mut out.meters, meters.min(3), &mut left);
    whole(&mut out.keys, u16::from(keys), &mut left);
    whole(&mut out.output, printed(4), &mut left);
    grow(&mut out.job, job.min(1), &mut left);
    grow(&mut out.gpus, gpus.min(1), &mut left);
    grow(&mut out.meters, meters, &mut left);
    whole(&mut out.events, 1 + events.min(1), &mut left);
    grow(&mut out.gpus, gpus.min(2), &mut left);
    grow(&mut out.job, job, &mut left);
    grow(&mut out.events, 1 + events.min(3), &mut left);
    if out.output > 0 {
        grow(&mut out.output, printed(6), &mut left);
    }
    whole(&mut out.heads, u16::from(out.meters > 0), &mut left);
    grow(&mut out.gpus, gpus.min(8), &mut left);
    if out.output > 0 {
        grow(&mut out.output, printed(8), &mut left);
    }
    whole(&mut out.gaps, 3, &mut left);
    whole(&mut out.charts, CHART, &mut left);
    grow(&mut out.gpus, gpus, &mut left);
    if output {
        grow(&mut out.output, 16, &mut left);
        grow(&mut out.events, 1 + events.min(6), &mut left);
        if out.charts > 0 {
            grow(&mut out.charts, CHART + 4, &mut left);
        }
        out.output += left;
    } else {
        if out.charts > 0 {
            grow(&mut out.charts, 2 * CHART, &mut left);
        }
        out.events += left;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_row_is_given_away_once(height: u16, job in 0u16..3, meters in 0u16..12, gpus in 0u16..70, events: u16, output: bool, keys: bool) {
            let r = shared_out(height, &Wanted { job, meters, gpus, events, output, keys });
            let all = [r.job, r.heads, r.meters, r.gpus, r.charts, r.events, r.output, r.keys, r.gaps];
            let sum: u32 = all.iter().map(|n| u32::from(*n)).sum();
            prop_assert_eq!(sum, u32::from(height.saturating_sub(1)));
            prop_assert!(r.meters <= meters && r.gpus <= gpus && r.job <= job);
        }
    }
}
