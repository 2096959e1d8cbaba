//! Well-formed XML whatever the text in it: names come from documents that anybody may have
//! written.

use std::fmt::Display;

/// More of one text than anybody reads in a picture.
const MOST_TEXT: usize = 400;

/// `text` in one line and at most `most` characters, without what is invisible, turns the reading
/// direction or is no character at all.
pub(crate) fn clean(text: &str, most: usize) -> String {
    let mut out: String = text.chars().take(most).map(visible).collect();
    if text.chars().nth(most).is_some() {
        out.pop();
        out.push('…');
    }
    out
}

fn visible(c: char) -> char {
    let low = u32::from(c) & 0xffff;
    match c {
        c if c.is_whitespace() => ' ',
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        // Zero widths, marks and overrides of direction, annotations, tags.
        '\u{ad}'
        | '\u{61c}'
        | '\u{180e}'
        | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{fdd0}'..='\u{fdef}'
        | '\u{e0000}'..='\u{e007f}' => char::REPLACEMENT_CHARACTER,
        _ if low >= 0xfffe => char::REPLACEMENT_CHARACTER,
        c => c,
    }
}

/// `text`, cleaned already, as XML has it.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            c => out.push(c),
        }
    }
    out
}

/// An attribute: its name is ours, its value anything.
pub(crate) type Attr<'a> = (&'static str, &'a dyn Display);

/// A tree of elements, written from its start to its end.
#[derive(Debug, Default)]
pub(crate) struct Xml {
    out: String,
    open: Vec<&'static str>,
}

impl Xml {
    /// Begins an element that others go into.
    pub(crate) fn begin(&mut self, tag: &'static str, attrs: &[Attr<'_>]) {
        self.tag(tag, attrs);
        self.out += ">\n";
        self.open.push(tag);
    }

    /// Ends the element begun last.
    pub(crate) fn end(&mut self) {
        if let Some(tag) = self.open.pop() {
            self.out += &format!("</{tag}>\n");
        }
    }

    /// An element with nothing in it.
    pub(crate) fn empty(&mut self, tag: &'static str, attrs: &[Attr<'_>]) {
        self.tag(tag, attrs);
        self.out += "/>\n";
    }

    /// An element with text in it.
    pub(crate) fn text(&mut self, tag: &'static str, attrs: &[Attr<'_>], text: &str) {
        self.tag(tag, attrs);
        let text = escape(&clean(text, MOST_TEXT));
        self.out += &format!(">{text}</{tag}>\n");
    }

    /// An element with lines of text in it, however many and however long.
    pub(crate) fn lines(&mut self, tag: &'static str, attrs: &[Attr<'_>], text: &str) {
        self.tag(tag, attrs);
        self.out.push('>');
        for (i, line) in text.lines().enumerate() {
            if i > 0 {
                self.out.push('\n');
            }
            self.out += &escape(&clean(line, usize::MAX));
        }
        self.out += &format!("</{tag}>\n");
    }

    /// What another tree wrote, here.
    pub(crate) fn graft(&mut self, xml: &str) {
        self.out += xml;
    }

    /// All of it, every element ended.
    pub(crate) fn finish(mut self) -> String {
        while !self.open.is_empty() {
            self.end();
        }
        self.out
    }

    fn tag(&mut self, tag: &'static str, attrs: &[Attr<'_>]) {
        self.out += &format!("<{tag}");
        for (name, value) in attrs {
            let value = escape(&clean(&value.to_string(), usize::MAX));
            self.out += &format!(" {name}=\"{value}\"");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_cannot_leave_its_element() {
        let mut xml = Xml::default();
        xml.begin("g", &[("class", &"\" onload=\"x")]);
        xml.text(
            "text",
            &[],
            "</text><script>alert('&')</script>\u{0}\u{202e}\n",
        );
        xml.text("text", &[], &"a".repeat(1000));
        let out = xml.finish();
        let tree = roxmltree::Document::parse(&out).unwrap();
        let texts: Vec<_> = tree
            .descendants()
            .filter(|n| n.has_tag_name("text"))
            .collect();
        assert_eq!(
            texts[0].text(),
            Some("</text><script>alert('&')</script>\u{fffd}\u{fffd} ")
        );
        assert_eq!(texts[1].text().unwrap().chars().count(), MOST_TEXT);
        assert_eq!(
            tree.root_element().attribute("class"),
            Some("\" onload=\"x")
        );
    }

    proptest! {
        #[test]
        fn any_text_is_well_formed(
            chars in prop::collection::vec(any::<char>(), 0..200),
            most in 1usize..100,
        ) {
            let text: String = chars.iter().collect();
            let cleaned = clean(&text, most);
            prop_assert!(cleaned.chars().count() <= most);
            prop_assert!(!cleaned.contains(char::is_control));
            prop_assert_eq!(&clean(&cleaned, most), &cleaned);
            let mut xml = Xml::default();
            xml.begin("a", &[("b", &text)]);
            xml.text("c", &[("d", &text)], &text);
            xml.lines("e", &[], &text);
            let out = xml.finish();
            prop_assert!(roxmltree::Document::parse(&out).is_ok(), "{}", out);
        }
    }
}
