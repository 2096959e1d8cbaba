//! What areas, lines and points stand for: each meaning has a colour in `style.css`, and a pattern,
//! dashes or a shape for those who do not see it.

use super::xml::Xml;

/// What an area stands for: each has a colour and, for those who do not see it, a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fill {
    Weights,
    Context,
    Compute,
    Margin,
    Free,
    Over,
    NoFit,
    Band,
    Ok,
    Warn,
    Abort,
}

impl Fill {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Weights => "weights",
            Self::Context => "context",
            Self::Compute => "compute",
            Self::Margin => "margin",
            Self::Free => "free",
            Self::Over => "over",
            Self::NoFit => "nofit",
            Self::Band => "band",
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Abort => "abort",
        }
    }

    /// Strokes over a tile of 8 pixels; none for a plain area.
    pub(super) fn strokes(self) -> Option<&'static str> {
        match self {
            Self::Context | Self::Warn => Some("M-1 1L1 -1M0 8L8 0M7 9L9 7"),
            Self::NoFit => Some("M-1 7L1 9M0 0L8 8M7 -1L9 1"),
            Self::Over | Self::Abort => Some("M0 8L8 0M0 0L8 8"),
            Self::Margin => Some("M2 0V8M6 0V8"),
            // Dots: lines of no length with round ends would depend on the renderer.
            Self::Compute => Some("M1 1h2v2h-2zM5 5h2v2h-2z"),
            Self::Weights | Self::Free | Self::Band | Self::Ok => None,
        }
    }
}

/// What a line stands for: each has a colour and dashes of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line {
    Forecast,
    Ceiling,
    Floor,
    Budget,
    Value,
    Limit,
    Warn,
    Even,
}

impl Line {
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Forecast => "line s-forecast",
            Self::Ceiling => "line s-ceiling",
            Self::Floor => "line s-floor",
            Self::Budget => "line s-budget",
            Self::Value => "line s-value",
            Self::Limit => "line s-limit",
            Self::Warn => "line s-warn",
            Self::Even => "line s-even",
        }
    }
}

/// A point with a meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    Circle,
    Diamond,
    Cross,
}

/// What stands before the words of a legend.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Swatch {
    Fill(Fill),
    Line(Line),
    Mark(Mark),
    Class(&'static str),
}

/// The definition of a fill's pattern; an area without one has none.
pub(super) fn pattern(xml: &mut Xml, name: &str, fill: Fill) {
    let Some(strokes) = fill.strokes() else {
        return;
    };
    let id = format!("{name}-{}", fill.name());
    xml.begin(
        "pattern",
        &[
            ("id", &id),
            ("width", &8),
            ("height", &8),
            ("patternUnits", &"userSpaceOnUse"),
        ],
    );
    let colour = format!("f-{}", fill.name());
    xml.empty("rect", &[("class", &colour), ("width", &8), ("height", &8)]);
    let class = match fill {
        Fill::Compute => "dot",
        Fill::NoFit => "faint",
        _ => "ink",
    };
    xml.empty("path", &[("class", &class), ("d", &strokes)]);
    xml.end();
}

/// How an area is painted.
pub(super) enum Paint {
    Class(String),
    Pattern(String),
}

impl Paint {
    /// As an attribute.
    pub(super) fn attr(&self) -> (&'static str, &dyn std::fmt::Display) {
        match self {
            Self::Class(name) => ("class", name),
            Self::Pattern(url) => ("fill", url),
        }
    }
}
