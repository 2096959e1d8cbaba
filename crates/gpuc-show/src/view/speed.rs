//! How fast a plan decodes, on one scale: floor, band, forecast, ceiling, and what was measured.

use gpuc_core::document::Plan;

/// Rates of decode, tokens a second; each finite and not negative.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Speed {
    /// What the plan had to clear.
    pub floor: Option<f64>,
    /// The forecast.
    pub forecast: Option<f64>,
    /// Its band, the lower end first.
    pub band: Option<(f64, f64)>,
    /// What no run can exceed.
    pub ceiling: Option<f64>,
    /// What a run reached.
    pub measured: Option<f64>,
}

impl Speed {
    /// The rates of a plan, nothing being measured yet.
    pub fn of(plan: &Plan) -> Self {
        let band = plan
            .predicted_band_low_tok_s
            .zip(plan.predicted_band_high_tok_s)
            .map(|(a, b)| (a.min(b), a.max(b)));
        Self {
            floor: plan.floor_tok_s,
            forecast: plan.predicted_decode_tok_s,
            band,
            ceiling: plan.ceiling_decode_tok_s,
            measured: None,
        }
    }

    /// The end of a scale from 0 that shows all of them; none where there is nothing to show.
    pub fn top(&self) -> Option<f64> {
        [
            self.floor,
            self.forecast,
            self.band.map(|b| b.1),
            self.ceiling,
            self.measured,
        ]
        .into_iter()
        .flatten()
        .max_by(f64::total_cmp)
        .filter(|top| *top > 0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gpuc_core::json::read;

    #[test]
    fn a_scale_shows_all_there_is() {
        let text = r#"{"fits": true, "verdict": "ship", "predicted_decode_tok_s": 35,
            "predicted_band_low_tok_s": 18, "predicted_band_high_tok_s": 57,
            "ceiling_decode_tok_s": 58, "floor_tok_s": 1}"#;
        let plan: Plan = read(text.as_bytes()).unwrap();
        let mut speed = Speed::of(&plan);
        assert_eq!((speed.band, speed.top()), (Some((18.0, 57.0)), Some(58.0)));
        speed.measured = Some(70.0);
        assert_eq!(speed.top(), Some(70.0));
        assert_eq!(Speed::default().top(), None);
    }
}
