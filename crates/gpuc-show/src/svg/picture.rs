//! A finished picture: a file of its own, or a part of a page.

use super::canvas::WIDTH;
use super::xml::Xml;

/// The classes that everything is drawn in.
const STYLE: &str = include_str!("style.css");

/// A finished picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    pub(super) title: String,
    pub(super) description: String,
    pub(super) body: String,
    pub(super) height: String,
    pub(super) name: &'static str,
}

impl Picture {
    /// The picture as a file of its own.
    pub fn svg(&self) -> String {
        let head = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
        format!("{head}{}", self.element(true))
    }

    /// The picture as an element of a page that has [`Picture::style`].
    pub(crate) fn inline(&self) -> String {
        self.element(false)
    }

    /// The classes of all pictures.
    pub(crate) fn style() -> &'static str {
        STYLE
    }

    fn element(&self, alone: bool) -> String {
        let (title, description) = (
            format!("{}-title", self.name),
            format!("{}-desc", self.name),
        );
        let mut xml = Xml::default();
        let view = format!("0 0 {WIDTH} {}", self.height);
        let labelled = format!("{title} {description}");
        xml.begin(
            "svg",
            &[
                ("xmlns", &"http://www.w3.org/2000/svg"),
                ("class", &"gc"),
                ("viewBox", &view),
                ("width", &WIDTH),
                ("height", &self.height),
                ("role", &"img"),
                ("aria-labelledby", &labelled),
            ],
        );
        xml.text("title", &[("id", &title)], &self.title);
        xml.lines("desc", &[("id", &description)], &self.description);
        if alone {
            // Nothing in the style is from a document, and `>` and `&` are not in it.
            xml.graft(&format!("<style>\n{STYLE}</style>\n"));
        }
        xml.graft(&self.body);
        xml.finish()
    }
}
