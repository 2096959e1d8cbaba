//! One self-contained page about a plan or a run, to keep or to attach to a report of a fault.
//!
//! No script, font, link or other file; nothing in it is fetched, and nothing private is in it that
//! it does not name: see `html::private`.

mod private;
mod table;

use gpuc_core::document::{Concentration, Peaks, Plan, Receipt, Trace, Verdict};
use gpuc_core::plan::Frontier;
use serde::Serialize;

use crate::svg::number::decimals;
use crate::svg::xml::Xml;
use crate::svg::{self, Picture, Track};

const STYLE: &str = include_str!("page.css");

/// What a page is about: a plan, and what else there is.
#[derive(Debug, Clone, Copy)]
pub struct Page<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The curve that it chose from.
    pub curve: Option<&'a Frontier>,
    /// The measured run.
    pub receipt: Option<&'a Receipt>,
    /// The envelope of the run.
    pub peaks: Option<&'a Peaks>,
    /// The trajectory of the run.
    pub track: Option<&'a Track>,
    /// The model's routing, with the report on it.
    pub routing: Option<(&'a Trace, &'a Concentration)>,
}

impl<'a> Page<'a> {
    /// The page of a plan alone.
    pub fn of(plan: &'a Plan, curve: Option<&'a Frontier>) -> Self {
        Self {
            plan,
            curve,
            receipt: None,
            peaks: None,
            track: None,
            routing: None,
        }
    }

    /// The page as a file.
    pub fn html(&self) -> String {
        let title = if self.receipt.is_some() {
            "gpu-container: plan and run"
        } else {
            "gpu-container: plan"
        };
        let mut xml = Xml::default();
        xml.graft("<!DOCTYPE html>\n");
        xml.begin(
            "html",
            &[("xmlns", &"http://www.w3.org/1999/xhtml"), ("lang", &"en")],
        );
        head(&mut xml, title);
        xml.begin("body", &[]);
        xml.text("h1", &[], title);
        self.verdict(&mut xml);
        self.pictures(&mut xml);
        self.notes(&mut xml);
        self.documents(&mut xml);
        self.holds(&mut xml);
        xml.finish()
    }

    fn verdict(&self, xml: &mut Xml) {
        let plan = self.plan;
        let verdict = match plan.verdict {
            Verdict::Ship => "The plan ships.",
            Verdict::Refuse => "The plan is refused.",
        };
        xml.text("p", &[("class", &"verdict")], verdict);
        if let Some(message) = &plan.message {
            xml.lines("p", &[], &private::without_paths(message));
        }
        if let (Verdict::Ship, Some(flags)) = (plan.verdict, &plan.llama_flags) {
            xml.lines("pre", &[], &private::without_paths(flags));
        }
        xml.begin("section", &[]);
        xml.text("h2", &[], "In numbers");
        table::draw(xml, &["plan", ""], &table::plan(plan));
        if let Some(receipt) = self.receipt {
            table::draw(xml, &["run", ""], &table::receipt(receipt));
        }
        if let Some(peaks) = self.peaks {
            table::draw(xml, &["envelope", "worst", "limit"], &table::peaks(peaks));
        }
        xml.end();
    }

    fn pictures(&self, xml: &mut Xml) {
        let masked = private::plan(self.plan);
        let limits = self.peaks.map(|p| &p.thresholds);
        let drawn = [
            ("Plan", Some(svg::plan(&masked, self.curve))),
            ("Run", self.receipt.map(|r| svg::receipt(r, &masked))),
            ("Watch", self.track.map(|t| t.picture(limits))),
            ("Routing", self.routing.map(|(t, r)| svg::routing(t, r))),
        ];
        for (name, picture) in drawn {
            if let Some(picture) = picture {
                xml.begin("section", &[]);
                xml.text("h2", &[], name);
                xml.graft(&picture.inline());
                xml.end();
            }
        }
    }

    fn notes(&self, xml: &mut Xml) {
        let of_plan = self.plan.assumptions.iter().flat_map(|a| &a.notes);
        let of_run = self.receipt.iter().flat_map(|r| &r.notes);
        let of_routing = self.routing.iter().flat_map(|(_, r)| &r.notes);
        let all = of_plan.chain(of_run).chain(of_routing);
        let notes: Vec<&String> = all.take(100).collect();
        if notes.is_empty() {
            return;
        }
        xml.begin("section", &[]);
        xml.text("h2", &[], "Notes");
        xml.begin("ul", &[]);
        for note in notes {
            xml.lines("li", &[], &private::without_paths(note));
        }
        xml.end();
        xml.end();
    }

    fn documents(&self, xml: &mut Xml) {
        xml.begin("section", &[]);
        xml.text("h2", &[], "Documents");
        document(xml, "plan.json", Some(self.plan));
        document(xml, "receipt.json", self.receipt);
        document(xml, "peaks.json", self.peaks);
        document(
            xml,
            "concentration.json",
            self.routing.map(|(_, report)| report),
        );
        xml.end();
    }

    /// What whoever hands the page on gives away.
    fn holds(&self, xml: &mut Xml) {
        let mut holds =
            vec!["the plan (the GPU's and the model's name, sizes and rates)".to_owned()];
        if self.receipt.is_some() {
            holds.push("the receipt (what was measured, how, and with which build)".into());
        }
        if self.peaks.is_some() {
            holds.push("the worst readings of the run and its limits".into());
        }
        if let Some(track) = self.track {
            let looks = decimals(track.looks() as f64, 0);
            holds.push(format!(
                "the course of {looks} looks at the GPU and the host's memory"
            ));
        }
        if self.routing.is_some() {
            holds.push("how often each expert of the model was used, but no text".into());
        }
        xml.begin("footer", &[]);
        xml.lines(
            "p",
            &[],
            &format!(
                "This page holds {}. It names no host and no user: of a path it keeps the last \
                 part, of an action on a breach its kind, and none of the command that was run. \
                 Names of models and files are as they were given. Made by gpu-container {}.",
                holds.join("; "),
                env!("CARGO_PKG_VERSION")
            ),
        );
        xml.end();
    }
}

fn head(xml: &mut Xml, title: &str) {
    xml.begin("head", &[]);
    xml.empty("meta", &[("charset", &"utf-8")]);
    let policy = "default-src 'none'; style-src 'unsafe-inline'";
    xml.empty(
        "meta",
        &[
            ("http-equiv", &"Content-Security-Policy"),
            ("content", &policy),
        ],
    );
    let fit = "width=device-width, initial-scale=1";
    xml.empty("meta", &[("name", &"viewport"), ("content", &fit)]);
    xml.text("title", &[], title);
    xml.graft(&format!("<style>\n{STYLE}{}</style>\n", Picture::style()));
    xml.end();
}

/// A document as it is, without what is private, behind its name.
fn document<T: Serialize>(xml: &mut Xml, name: &str, document: Option<&T>) {
    let value = document.and_then(|d| serde_json::to_value(d).ok());
    let masked = value.map(private::masked);
    if let Some(Ok(text)) = masked.as_ref().map(serde_json::to_string_pretty) {
        xml.begin("details", &[]);
        xml.text("summary", &[], name);
        xml.lines("pre", &[], &text);
        xml.end();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::svg::tests::{curve, hostile, maybe, plan, well_formed};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn any_documents_make_a_page(
            plan in plan(),
            curve in prop::option::of(curve()),
            texts in prop::array::uniform3(hostile()),
            numbers in prop::array::uniform4(maybe()),
            log in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            let [method, note, action] = texts;
            let [measured, temp, vram, left] = numbers;
            let receipt = Receipt {
                measured_decode_tok_s: measured,
                method: Some(method),
                notes: vec![note],
                ..Receipt::default()
            };
            let peaks = Peaks {
                peak_gpu_temp_c: temp,
                peak_gpu_vram_pct: vram,
                min_host_avail_mib: left,
                on_breach: action,
                ..Peaks::default()
            };
            let mut track = Track::new();
            track.line(&log);
            let page = Page {
                receipt: Some(&receipt),
                peaks: Some(&peaks),
                track: Some(&track),
                ..Page::of(&plan, curve.as_ref())
            };
            well_formed(&page.html());
        }
    }
}
