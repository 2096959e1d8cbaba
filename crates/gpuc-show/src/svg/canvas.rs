//! A picture while it is drawn: shapes in the classes of `style.css`, from top to bottom.

use super::axis::Axis;
use super::number::Px;
use super::paint::{Fill, Line, Mark, Paint, Swatch, pattern};
use super::picture::Picture;
use super::text;
use super::xml::{Xml, clean};

/// Every picture is this wide, in pixels.
pub(crate) const WIDTH: f64 = 960.0;
/// Kept free on either side.
pub(crate) const MARGIN: f64 = 24.0;
/// Where a plot begins: its tick labels are to the left.
pub(crate) const LEFT: f64 = 84.0;
/// Where a plot ends.
pub(crate) const RIGHT: f64 = WIDTH - MARGIN;

/// Where a text is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// A picture being drawn.
#[derive(Debug)]
pub(crate) struct Canvas {
    xml: Xml,
    name: &'static str,
    used: Vec<Fill>,
    title: String,
    /// How far down it is drawn.
    pub(crate) y: f64,
}

impl Canvas {
    /// `name` tells the picture's identifiers from those of others on the same page.
    pub(crate) fn new(name: &'static str, title: &str) -> Self {
        let mut canvas = Self {
            xml: Xml::default(),
            name,
            used: Vec::new(),
            title: clean(title, 160),
            y: 38.0,
        };
        // Bold letters are wider than the guess.
        let shown = text::fit(&canvas.title, 22.0, RIGHT - MARGIN);
        canvas.text("title", MARGIN, canvas.y, Anchor::Start, &shown);
        canvas.y += 8.0;
        canvas
    }

    /// Lines of text below what is there.
    pub(crate) fn paragraph(&mut self, class: &'static str, words: &str, lines: usize) {
        let size = if class == "code" { 13.0 } else { 13.5 };
        for line in text::wrap(&clean(words, 1200), size, RIGHT - MARGIN, lines) {
            self.y += 18.0;
            self.text(class, MARGIN, self.y, Anchor::Start, &line);
        }
        self.y += 6.0;
    }

    /// The heading of a part.
    pub(crate) fn heading(&mut self, words: &str) {
        self.y += 30.0;
        let shown = text::fit(&clean(words, 200), 17.0, RIGHT - MARGIN);
        self.text("head", MARGIN, self.y, Anchor::Start, &shown);
        self.y += 10.0;
    }

    /// An area.
    pub(crate) fn area(&mut self, fill: Fill, x: f64, y: f64, width: f64, height: f64) {
        let paint = self.paint(fill);
        self.xml.empty(
            "rect",
            &[
                ("x", &Px(x)),
                ("y", &Px(y)),
                ("width", &Px(width.max(0.0))),
                ("height", &Px(height.max(0.0))),
                paint.attr(),
            ],
        );
    }

    /// An area with any outline.
    pub(crate) fn shape(&mut self, fill: Fill, d: &str) {
        let paint = self.paint(fill);
        self.xml.empty("path", &[("d", &d), paint.attr()]);
    }

    fn paint(&mut self, fill: Fill) -> Paint {
        if fill.strokes().is_none() {
            return Paint::Class(format!("f-{}", fill.name()));
        }
        if !self.used.contains(&fill) {
            self.used.push(fill);
        }
        Paint::Pattern(format!("url(#{}-{})", self.name, fill.name()))
    }

    /// A straight line of a meaning.
    pub(crate) fn line(&mut self, line: Line, x1: f64, y1: f64, x2: f64, y2: f64) {
        self.stroke(line.class(), x1, y1, x2, y2);
    }

    /// A straight line of a class.
    pub(crate) fn stroke(&mut self, class: &'static str, x1: f64, y1: f64, x2: f64, y2: f64) {
        self.xml.empty(
            "line",
            &[
                ("class", &class),
                ("x1", &Px(x1)),
                ("y1", &Px(y1)),
                ("x2", &Px(x2)),
                ("y2", &Px(y2)),
            ],
        );
    }

    /// A line through points.
    pub(crate) fn curve(&mut self, line: Line, points: &[(f64, f64)]) {
        if points.len() > 1 {
            let d = path(points);
            self.path(line.class(), &d);
        }
    }

    /// A path of a class.
    pub(crate) fn path(&mut self, class: &'static str, d: &str) {
        self.xml.empty("path", &[("class", &class), ("d", &d)]);
    }

    /// A path in cells of `width` by `height` instead of pixels, from a corner on.
    pub(crate) fn cells(&mut self, corner: (f64, f64), cell: (f64, f64), paths: &[(&str, String)]) {
        let place = format!(
            "translate({} {}) scale({:.6} {:.6})",
            Px(corner.0),
            Px(corner.1),
            cell.0,
            cell.1
        );
        let sharp: &str = "crispEdges";
        self.xml.begin(
            "g",
            &[
                ("class", &"heat"),
                ("transform", &place),
                ("shape-rendering", &sharp),
            ],
        );
        for (class, d) in paths {
            self.xml.empty("path", &[("class", class), ("d", d)]);
        }
        self.xml.end();
    }

    /// A point.
    pub(crate) fn mark(&mut self, mark: Mark, x: f64, y: f64) {
        let at = |dx: f64, dy: f64| format!("{} {}", Px(x + dx), Px(y + dy));
        match mark {
            Mark::Circle => self.xml.empty(
                "circle",
                &[
                    ("class", &"mark"),
                    ("cx", &Px(x)),
                    ("cy", &Px(y)),
                    ("r", &6),
                ],
            ),
            Mark::Diamond => {
                let corners = [at(0.0, -8.0), at(8.0, 0.0), at(0.0, 8.0), at(-8.0, 0.0)];
                self.path("mark", &format!("M{}z", corners.join("L")));
            }
            Mark::Cross => {
                let corners = [at(-6.0, -6.0), at(6.0, 6.0), at(-6.0, 6.0), at(6.0, -6.0)];
                let [from, to, again, end] = corners;
                self.path("cross", &format!("M{from}L{to}M{again}L{end}"));
            }
        }
    }

    /// A text in one line.
    pub(crate) fn text(
        &mut self,
        class: &'static str,
        x: f64,
        y: f64,
        anchor: Anchor,
        words: &str,
    ) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        self.xml.text(
            "text",
            &[
                ("class", &class),
                ("x", &Px(x)),
                ("y", &Px(y)),
                ("text-anchor", &anchor),
            ],
            words,
        );
    }

    /// A text beside a point, between `top` and `bottom`, where none of `lines` runs through it;
    /// where there is no such place, its background keeps them off it.
    pub(crate) fn beside(
        &mut self,
        (x, y): (f64, f64),
        (top, bottom): (f64, f64),
        words: &str,
        lines: &[&[(f64, f64)]],
    ) {
        // Bold letters are wider.
        let words = text::fit(&clean(words, 200), 14.0, (RIGHT - LEFT) / 2.0);
        let wide = text::width(&words, 14.0);
        let sides = [(x + 12.0, Anchor::Start), (x - 12.0, Anchor::End)];
        let rows = [
            y - 12.0,
            y + 20.0,
            top + 16.0,
            bottom - 8.0,
            y - 32.0,
            y + 40.0,
        ];
        let left = |x: f64, anchor: Anchor| if anchor == Anchor::End { x - wide } else { x };
        let spots = || {
            sides
                .into_iter()
                .flat_map(|(x, anchor)| rows.map(|y| (x, y, anchor)))
                .filter(|(x, _, anchor)| {
                    let left = left(*x, *anchor);
                    left >= LEFT && left + wide <= RIGHT
                })
        };
        let is_free = |(x, y, anchor): &(f64, f64, Anchor)| {
            let left = left(*x, *anchor);
            let frame = [left - 2.0, y - 13.0, left + wide + 2.0, y + 5.0];
            let inside = y - 13.0 >= top && y + 4.0 <= bottom;
            inside && !lines.iter().any(|line| crosses(line, frame))
        };
        if let Some((x, y, anchor)) = spots().find(is_free).or_else(|| spots().next()) {
            self.text("bold halo", x, y, anchor, &words);
        }
    }

    /// Swatches with their words, in as many rows as they need, from the cursor down.
    pub(crate) fn legend(&mut self, items: &[(Swatch, String)]) {
        const ROW: f64 = 20.0;
        const GAP: f64 = 20.0;
        const SWATCH: f64 = 30.0;
        let (mut x, mut y) = (MARGIN, self.y + 14.0);
        for (swatch, words) in items {
            let words = text::fit(&clean(words, 200), 13.0, RIGHT - MARGIN - SWATCH);
            let wide = SWATCH + text::width(&words, 13.0);
            if x > MARGIN && x + wide > RIGHT {
                (x, y) = (MARGIN, y + ROW);
            }
            match swatch {
                Swatch::Fill(fill) => self.area(*fill, x, y - 10.0, 22.0, 12.0),
                Swatch::Line(line) => self.line(*line, x, y - 4.0, x + 24.0, y - 4.0),
                Swatch::Mark(mark) => self.mark(*mark, x + 11.0, y - 4.0),
                Swatch::Class(class) => {
                    let d = format!("M{} {}h22v12h-22z", Px(x), Px(y - 10.0));
                    self.path(class, &d);
                    // The palest is seen by its edge.
                    self.path("axis", &d);
                }
            }
            self.text("dim", x + SWATCH, y, Anchor::Start, &words);
            x += wide + GAP;
        }
        self.y = y + 6.0;
    }

    /// A horizontal axis at `y` with its ticks below it and, over `height` above it, its grid.
    pub(crate) fn bottom_axis(&mut self, axis: &Axis, y: f64, height: f64, name: &str) {
        for (value, label) in &axis.ticks {
            let x = axis.at(*value, LEFT, RIGHT);
            self.stroke("grid", x, y - height, x, y);
            self.stroke("axis", x, y, x, y + 4.0);
            let anchor = if x + text::width(label, 12.0) / 2.0 > WIDTH {
                Anchor::End
            } else {
                Anchor::Middle
            };
            self.text("tick", x, y + 17.0, anchor, label);
        }
        self.stroke("axis", LEFT, y, RIGHT, y);
        if !name.is_empty() {
            self.text(
                "dim",
                f64::midpoint(LEFT, RIGHT),
                y + 35.0,
                Anchor::Middle,
                name,
            );
        }
    }

    /// A vertical axis from `top` to `bottom`, its ticks to the left of it, its grid to the right.
    pub(crate) fn left_axis(&mut self, axis: &Axis, top: f64, bottom: f64) {
        for (value, label) in &axis.ticks {
            let y = axis.at(*value, bottom, top);
            self.stroke("grid", LEFT, y, RIGHT, y);
            self.text("tick", LEFT - 8.0, y + 4.0, Anchor::End, label);
        }
        self.stroke("axis", LEFT, top, LEFT, bottom);
    }

    /// The picture, with what it shows in words.
    pub(crate) fn finish(self, description: &str) -> Picture {
        let height = Px((self.y + 22.0).ceil());
        let mut xml = Xml::default();
        if !self.used.is_empty() {
            xml.begin("defs", &[]);
            for fill in &self.used {
                pattern(&mut xml, self.name, *fill);
            }
            xml.end();
        }
        xml.empty(
            "rect",
            &[("class", &"paper"), ("width", &WIDTH), ("height", &height)],
        );
        xml.graft(&self.xml.finish());
        Picture {
            title: self.title,
            description: description.to_owned(),
            body: xml.finish(),
            height: height.to_string(),
            name: self.name,
        }
    }
}

/// A path through points.
pub(crate) fn path(points: &[(f64, f64)]) -> String {
    let mut d = String::new();
    for (i, (x, y)) in points.iter().enumerate() {
        d.push(if i == 0 { 'M' } else { 'L' });
        d += &format!("{} {}", Px(*x), Px(*y));
    }
    d
}

/// Whether a line through points touches a frame of left, top, right and bottom.
fn crosses(points: &[(f64, f64)], [left, top, right, bottom]: [f64; 4]) -> bool {
    points.windows(2).any(|pair| {
        let [a, b] = pair else { return false };
        let (a, b) = if a.0 <= b.0 { (a, b) } else { (b, a) };
        if b.0 < left || a.0 > right {
            return false;
        }
        let slope = if b.0 > a.0 {
            (b.1 - a.1) / (b.0 - a.0)
        } else {
            0.0
        };
        let at = |x: f64| a.1 + slope * (x - a.0);
        let (from, to) = if b.0 > a.0 {
            (at(a.0.max(left)), at(b.0.min(right)))
        } else {
            (a.1, b.1)
        };
        from.min(to) <= bottom && from.max(to) >= top
    })
}
