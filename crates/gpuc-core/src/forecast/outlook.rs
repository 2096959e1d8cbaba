//! The forecast on one rig: the shipped law, and what the owner's own receipts make of it.

use super::card::Card;
use super::deviation::{Deviation, runs, update};
use super::law::Rates;
use super::prefill::{PrefillRates, PrefillSetting, PrefillWork, arithmetic_rate};
use super::shipped::{BackendFit, RegimeFit, Shipped};
use super::work::Work;
use crate::calibration::Regime;
use crate::document::Point;

/// A band is this much wider where the RAM's rate is assumed.
const UNKNOWN_RAM: f64 = 1.25;
/// The band of the processor alone is this much wider than one beside a card of an unknown kind: the
/// two runs that were held against it are off by factors of 0.6 and 1.7.
const ALONE: f64 = 2.0;
/// A point that carries no work counts as this much noisier: only its share of a ceiling is known.
const OLD_POINT_NOISE: f64 = 1.5;
/// The source of the points that are shipped.
const SHIPPED: &str = "shipped";

/// A rate with what is known about it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stated {
    /// What its memory delivers, GB/s.
    pub gbps: f64,
    /// The most that the tier could give, GB/s.
    pub best_gbps: f64,
    /// Whether it is more than an assumption.
    pub known: bool,
}

/// The forecast on one rig.
#[derive(Debug, Clone, PartialEq)]
pub struct Outlook<'p> {
    card: Card,
    fit: BackendFit,
    rates: Rates,
    /// The most that each tier could give.
    best: Rates,
    ram_known: bool,
    /// What the tensor cores do, operations a second, where the card is in the table.
    arithmetic: Option<f64>,
    points: Vec<&'p Point>,
}

/// A forecast with its band, tokens a second.
#[derive(Debug, Clone, PartialEq)]
pub struct Forecast {
    /// Lower end of the 80 % band.
    pub low: f64,
    /// The forecast.
    pub centre: f64,
    /// Upper end.
    pub high: f64,
    /// Measurements behind it, the owner's included.
    pub samples: u64,
    /// How it was derived, in words.
    pub basis: String,
}

impl<'p> Outlook<'p> {
    /// The outlook on a card of this name and these rates; the points that are not shipped are the
    /// owner's receipts. None for a card that nothing is known of.
    pub fn new(
        gpu: &str,
        capability: Option<&str>,
        vram: Stated,
        ram: Stated,
        points: &'p [Point],
    ) -> Option<Self> {
        let card = Card::of(gpu, capability)?;
        let arithmetic = arithmetic_rate(gpu);
        Self::of_card(card, arithmetic, vram, ram, points)
    }

    /// The outlook on the processor alone.
    pub fn on_processor(ram: Stated, points: &'p [Point]) -> Option<Self> {
        Self::of_card(Card::PROCESSOR, None, ram, ram, points)
    }

    fn of_card(
        card: Card,
        arithmetic: Option<f64>,
        vram: Stated,
        ram: Stated,
        points: &'p [Point],
    ) -> Option<Self> {
        let fit = Shipped::load()?.of(card.backend)?.clone();
        let own = |p: &&Point| p.source.as_deref() != Some(SHIPPED);
        Some(Self {
            card,
            fit,
            rates: Rates {
                vram: vram.gbps * 1e9,
                ram: ram.gbps * 1e9,
            },
            best: Rates {
                vram: vram.best_gbps * 1e9,
                ram: ram.best_gbps * 1e9,
            },
            ram_known: ram.known,
            arithmetic,
            points: points.iter().filter(own).collect(),
        })
    }

    /// Decode that no run can exceed: every byte once, each tier at the best it could give, tokens
    /// a second.
    pub fn ceiling(&self, work: &Work) -> f64 {
        1.0 / work.least_seconds(self.best.vram, self.best.ram)
    }

    fn regime(&self, work: &Work) -> Option<RegimeFit> {
        if work.in_vram() {
            Some(self.fit.in_vram)
        } else {
            self.fit.offload
        }
    }

    fn shipped_rate(&self, work: &Work) -> f64 {
        let (generation, _) = self.fit.generation(self.card);
        1.0 / self.fit.law.seconds(work, self.rates, generation)
    }

    /// The forecast of `work`, whose ceiling in the plan is `ceiling` tokens a second; none where
    /// nothing was measured of its kind.
    ///
    /// In logarithms, the rig differs from the law by a normally distributed offset, and a run from
    /// the rig by another; the owner's receipts of the same regime narrow both.
    pub fn forecast(&self, work: &Work, ceiling: f64) -> Option<Forecast> {
        let regime = self.regime(work)?;
        let shipped = self.shipped_rate(work);
        if !(shipped.is_finite() && shipped > 0.0) {
            return None;
        }
        let (_, wider) = self.fit.generation(self.card);
        let alone = if work.on_processor() { ALONE } else { 1.0 };
        let guess = if work.in_vram() || self.ram_known {
            1.0
        } else {
            UNKNOWN_RAM
        };
        let spread = regime.spread * wider * alone * guess;
        let receipts = self.receipts(work, shipped, ceiling);
        let runs = crate::units::nearest_bytes(runs(&receipts));
        let shipped_basis = self.basis(work, regime);
        let (offset, spread, basis) = match update(spread, regime.within, &receipts) {
            None => (0.0, spread, shipped_basis),
            Some((offset, narrowed)) => (
                offset,
                narrowed,
                format!(
                    "{runs} receipt(s) of this rig, {:+.0} % from {shipped_basis}",
                    100.0 * (offset.exp() - 1.0)
                ),
            ),
        };
        let centre = shipped * offset.exp();
        Some(Forecast {
            low: centre * (-spread).exp(),
            centre,
            high: centre * spread.exp(),
            samples: regime.rows + runs,
            basis: format!(
                "{basis}; 80 % band -{:.0} % +{:.0} %",
                100.0 * (1.0 - (-spread).exp()),
                100.0 * (spread.exp() - 1.0)
            ),
        })
    }

    fn basis(&self, work: &Work, regime: RegimeFit) -> String {
        let RegimeFit { rows, cards, .. } = regime;
        if work.on_processor() {
            return format!(
                "what processors got out of RAM beside a card, in {rows} measurements on {cards} \
                 machines"
            );
        }
        let card = format!("{} {}", self.card.backend.key(), self.card.generation);
        let where_ = if work.in_vram() {
            "in VRAM"
        } else {
            "with experts in RAM"
        };
        format!("a law of {card} fitted to {rows} measurements {where_} on {cards} cards")
    }

    /// The forecast of prefill with all weights in VRAM, or why there is none.
    pub fn prefill(
        &self,
        work: &PrefillWork,
        setting: PrefillSetting,
    ) -> Result<Forecast, &'static str> {
        let Some(fit) = &self.fit.prefill else {
            return Err("too few cards of its vendor were measured");
        };
        if !fit.generations.iter().any(|g| g == self.card.generation) {
            return Err("no card of its generation was measured");
        }
        let arithmetic = self
            .arithmetic
            .ok_or("the table of multiprocessors does not have the card")?;
        let (generation, _) = self.fit.generation(self.card);
        let rates = PrefillRates {
            arithmetic,
            vram: self.rates.vram,
            generation,
        };
        let centre = 1.0 / fit.law.seconds(work, setting, rates, &self.fit.law);
        if !(centre.is_finite() && centre > 0.0) {
            return Err("the model's shape is not known");
        }
        let RegimeFit {
            rows,
            cards,
            spread,
            ..
        } = fit.known;
        Ok(Forecast {
            low: centre * (-spread).exp(),
            centre,
            high: centre * spread.exp(),
            samples: rows,
            basis: format!(
                "a law of {} fitted to {rows} measurements in VRAM on {cards} cards; \
                 {:.0} tokens at a time; 80 % band -{:.0} % +{:.0} %",
                self.card.backend.key(),
                setting.ubatch,
                100.0 * (1.0 - (-spread).exp()),
                100.0 * (spread.exp() - 1.0)
            ),
        })
    }

    /// By how much each of the owner's receipts of this regime is off the law.
    fn receipts(&self, work: &Work, shipped: f64, ceiling: f64) -> Vec<Deviation> {
        let of = |p: &&Point| -> Option<Deviation> {
            let measured = p.measured_tok_s.filter(|m| *m > 0.0)?;
            let (off, noise) = if let Some(then) = &p.decode_work {
                let kind = |w: &Work| (w.in_vram(), w.on_processor());
                if kind(then) != kind(work) {
                    return None;
                }
                (measured / self.shipped_rate(then), 1.0)
            } else {
                // Such a point does not tell whether a card took part.
                let in_vram = Regime::of_point(p) == Regime::InVram;
                if in_vram != work.in_vram() || work.on_processor() {
                    return None;
                }
                let share = measured / p.ceiling_tok_s.filter(|c| *c > 0.0)?;
                (share * ceiling / shipped, OLD_POINT_NOISE)
            };
            let of_run = p.run_points.unwrap_or(1).max(1) as f64;
            Some(Deviation {
                off: off.ln(),
                weight: 1.0 / (noise * noise * of_run),
                runs: 1.0 / of_run,
            })
            .filter(|d| d.off.is_finite())
        };
        self.points.iter().filter_map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORK: Work = Work {
        device_weight_bytes: 1.8e9,
        cache_bytes: 0.4e9,
        host_weight_bytes: 0.0,
        dense_blocks: 0.0,
        expert_blocks: 48.0,
        state_blocks: 0.0,
        host_blocks: 0.0,
    };

    fn outlook(points: &[Point]) -> Outlook<'_> {
        let given = |gbps| Stated {
            gbps,
            best_gbps: gbps,
            known: true,
        };
        Outlook::new(
            "NVIDIA GeForce RTX 4090",
            None,
            given(1008.0),
            given(60.0),
            points,
        )
        .unwrap()
    }

    fn receipts(n: usize, work: Work, rate: f64) -> Vec<Point> {
        // A little noise, as runs have.
        (0..n)
            .map(|i| Point {
                n_cpu_moe: Some(0),
                ceiling_tok_s: Some(400.0),
                measured_tok_s: Some(rate * (1.0 + 0.01 * (i % 3) as f64)),
                decode_work: Some(work),
                ..Point::default()
            })
            .collect()
    }

    #[test]
    fn the_processor_alone_learns_from_its_own_receipts_only() {
        let ram = Stated {
            gbps: 60.0,
            best_gbps: 60.0,
            known: true,
        };
        let alone = Work::of_processor(2e9);
        let beside = Work {
            host_weight_bytes: 0.8e9,
            host_blocks: 24.0,
            ..WORK
        };
        let shipped = Outlook::on_processor(ram, &[]).unwrap();
        let before = shipped.forecast(&alone, 30.0).unwrap();
        assert!(
            before.low < before.centre && before.centre < 30.0,
            "{before:?}"
        );
        let offload = outlook(&[]).forecast(&beside, 400.0).unwrap();
        assert!(before.high / before.low > offload.high / offload.low);

        let of_card = receipts(3, beside, 5.0);
        let of_processor = receipts(1, alone, before.centre / 10.0);
        let after = |points| {
            Outlook::on_processor(ram, points)
                .and_then(|o| o.forecast(&alone, 30.0))
                .unwrap()
        };
        assert_eq!(after(&of_card), before);
        let off = after(&of_processor).centre / (before.centre / 10.0);
        assert!(off < 1.25, "one receipt leaves it {off:.2} times too high");
        assert_eq!(
            outlook(&of_processor).forecast(&beside, 400.0).unwrap(),
            offload
        );
    }

    #[test]
    fn the_owners_receipts_outweigh_the_shipped_law_as_they_come() {
        let offloaded = Work {
            device_weight_bytes: 1.0e9,
            host_weight_bytes: 0.8e9,
            host_blocks: 24.0,
            ..WORK
        };
        for work in [WORK, offloaded] {
            let shipped = outlook(&[]).forecast(&work, 400.0).unwrap();
            for off in [0.6, 1.4] {
                let truth = shipped.centre * off;
                let after = |n| {
                    let points = receipts(n, work, truth);
                    outlook(&points).forecast(&work, 400.0).unwrap()
                };
                let moved = (after(1).centre - shipped.centre) / (truth - shipped.centre);
                assert!(moved > 0.5, "one receipt moves it {moved:.2} of the way");
                let three = after(3);
                assert!(
                    three.low <= truth && truth <= three.high,
                    "{three:?} {truth}"
                );
                let ten = after(10);
                assert!((ten.centre / truth - 1.0).abs() < 0.05, "{ten:?} {truth}");
                let width = (ten.high / ten.centre - 1.0).max(1.0 - ten.low / ten.centre);
                assert!(width < 0.15, "±{width:.3} after ten");
                assert!(three.high / three.low > ten.high / ten.low);
                assert_eq!(ten.samples, shipped.samples + 10);
            }
        }
    }

    #[test]
    fn old_points_count_by_their_share_of_the_ceiling() {
        let shipped = outlook(&[]).forecast(&WORK, 400.0).unwrap();
        let share = shipped.centre / 400.0;
        let points: Vec<Point> = (0..10)
            .map(|_| Point {
                n_cpu_moe: Some(0),
                n_moe_layers: Some(48),
                ceiling_tok_s: Some(200.0),
                measured_tok_s: Some(200.0 * share * 0.7),
                ..Point::default()
            })
            .collect();
        let ten = outlook(&points).forecast(&WORK, 400.0).unwrap();
        assert!((ten.centre / shipped.centre - 0.7).abs() < 0.05, "{ten:?}");
        let other = [Point {
            n_cpu_moe: Some(9),
            ..points[0].clone()
        }];
        assert_eq!(
            outlook(&other).forecast(&WORK, 400.0).unwrap().centre,
            shipped.centre
        );
    }

    #[test]
    fn the_points_that_are_shipped_are_no_receipts_of_this_rig() {
        let seed = crate::calibration::seed();
        assert!(outlook(&seed).points.is_empty());
    }

    #[test]
    fn work_of_nothing_is_no_forecast() {
        let nothing = Work::default();
        assert!(outlook(&[]).forecast(&nothing, 1.0).is_none());
    }
}
