//! HTML as text: what a reader sees of it, with the address of each link behind its words. The library decodes the
//! characters; its own way to text loses links, lines of tables and lists, and the space behind a bold word.

use mail_parser::decoders::html::add_html_token;

/// What a reader sees. Broken HTML is text as far as it goes.
pub fn text(html: &str) -> String {
    let mut page = Page::default();
    let mut rest = html;
    while let Some(start) = rest.find('<') {
        page.words(&rest[..start]);
        rest = &rest[start..];
        if !page.is_tag(rest) {
            page.words("<");
            rest = &rest[1..];
            continue;
        }
        let Some(end) = tag_end(rest) else { return page.text };
        page.tag(&rest[..end]);
        rest = &rest[end..];
    }
    page.words(rest);
    page.text
}

/// What was written so far.
#[derive(Default)]
struct Page<'a> {
    text: String,
    /// What is to come before the next word.
    gap: Gap,
    /// The element whose content nobody sees.
    hidden: Option<String>,
    /// Where the link leads whose words are being written.
    link: Option<&'a str>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Gap {
    #[default]
    None,
    Space,
    Line,
    Paragraph,
}

impl<'a> Page<'a> {
    /// Whether what begins with `<` is a tag or comment. In what nobody sees, only an end is.
    fn is_tag(&self, text: &str) -> bool {
        match text.chars().nth(1) {
            Some('/') => true,
            Some(c) => self.hidden.is_none() && (c.is_ascii_alphabetic() || matches!(c, '!' | '?')),
            None => false,
        }
    }

    fn words(&mut self, text: &str) {
        if self.hidden.is_some() {
            return;
        }
        for piece in text.split_inclusive(|c: char| c.is_ascii_whitespace()) {
            let word = piece.trim_ascii_end();
            if !word.is_empty() {
                self.fill_gap();
                push_decoded(&mut self.text, word);
            }
            if word.len() < piece.len() {
                self.gap = self.gap.max(Gap::Space);
            }
        }
    }

    fn fill_gap(&mut self) {
        let gap = std::mem::take(&mut self.gap);
        if !self.text.is_empty() {
            self.text.push_str(match gap {
                Gap::None => "",
                Gap::Space => " ",
                Gap::Line => "\n",
                Gap::Paragraph => "\n\n",
            });
        }
    }

    fn tag(&mut self, tag: &'a str) {
        let name = name(tag);
        if let Some(hidden) = &self.hidden {
            if name.strip_prefix('/') == Some(hidden) {
                self.hidden = None;
            }
            return;
        }
        match name.as_str() {
            "script" | "style" | "title" | "template" => self.hidden = Some(name),
            "a" => self.link = address(tag).filter(|address| is_worth_showing(address)),
            "/a" => self.end_link(),
            "br" => self.gap = if self.gap < Gap::Line { Gap::Line } else { Gap::Paragraph },
            "li" => {
                self.gap = self.gap.max(Gap::Line);
                self.words("- ");
            }
            "td" | "/td" | "th" | "/th" => self.gap = self.gap.max(Gap::Space),
            name => {
                let element = name.trim_start_matches('/');
                let gap = if PARAGRAPHS.contains(&element) {
                    Gap::Paragraph
                } else if LINES.contains(&element) {
                    Gap::Line
                } else {
                    Gap::None
                };
                self.gap = self.gap.max(gap);
            }
        }
    }

    /// Behind a link's words its address, unless they are that.
    fn end_link(&mut self) {
        let Some(address) = self.link.take() else { return };
        let mut decoded = String::new();
        push_decoded(&mut decoded, address);
        if !self.text.ends_with(&decoded) {
            self.gap = self.gap.max(Gap::Space);
            self.fill_gap();
            self.text.push_str(&format!("({decoded})"));
        }
    }
}

/// Elements that stand apart, and those that stand on lines of their own.
const PARAGRAPHS: [&str; 11] = ["blockquote", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "p", "pre", "table"];
/// See [`PARAGRAPHS`].
const LINES: [&str; 11] =
    ["address", "article", "dd", "div", "dl", "dt", "footer", "header", "ol", "tr", "ul"];

/// Where the tag or comment ends that a text begins with.
fn tag_end(text: &str) -> Option<usize> {
    match text.starts_with("<!--") {
        true => text.find("-->").map(|at| at + "-->".len()),
        false => text.find('>').map(|at| at + 1),
    }
}

/// The name of a tag with its slash, in lower case.
fn name(tag: &str) -> String {
    let inner = tag.trim_start_matches('<');
    let is_part = |at: usize, c: char| c.is_ascii_alphanumeric() || at == 0 && c == '/';
    let end = inner.char_indices().find(|(at, c)| !is_part(*at, *c));
    inner[..end.map_or(inner.len(), |(at, _)| at)].to_ascii_lowercase()
}

/// Where a link leads.
fn address(tag: &str) -> Option<&str> {
    let at = tag.to_ascii_lowercase().find("href=")? + "href=".len();
    let value = &tag[at..];
    match value.chars().next().filter(|c| matches!(c, '"' | '\'')) {
        Some(quote) => value[1..].split(quote).next(),
        None => value.split(|c: char| c.is_whitespace() || c == '>').next(),
    }
}

fn is_worth_showing(address: &str) -> bool {
    let has =
        |scheme: &str| address.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    ["http://", "https://", "mailto:"].into_iter().any(has)
}

/// Appends a text, its character references decoded.
fn push_decoded(out: &mut String, text: &str) {
    let mut rest = text;
    while let Some(start) = rest.find('&') {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        let end = rest.bytes().take(REFERENCE_MAX).position(|octet| octet == b';').map_or(1, |at| at + 1);
        add_html_token(out, &rest.as_bytes()[..end], false);
        rest = &rest[end..];
    }
    out.push_str(rest);
}

/// Octets of a character reference: the longest name has 31 letters.
const REFERENCE_MAX: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_stand_on_lines_of_their_own_and_links_keep_their_addresses() {
        let html = "<html><head><title>no</title><style>p{}</style></head><body><h1>Hello</h1>\n\
                    <div>one</div><div><b>two</b> &amp; three</div><ul><li>a<li>b</ul>\
                    <table><tr><td>x</td><td>y</td></tr><tr><td>z</table>\
                    <p>Please <A class=x HREF=\"https://x.example/?a=1&amp;b=2\">confirm</A>.<br><br><a href='#top'>up</a>\
                    <a href=https://y.example/>https://y.example/</a></p></body></html>";
        assert_eq!(
            text(html),
            "Hello\n\none\ntwo & three\n- a\n- b\n\nx y\nz\n\nPlease confirm (https://x.example/?a=1&b=2).\n\n\
             uphttps://y.example/"
        );
    }

    #[test]
    fn broken_html_is_text_as_far_as_it_goes() {
        for (html, expected) in [
            ("a<b", "a"),
            ("<", "<"),
            ("1 < 2 <3", "1 < 2 <3"),
            ("a <!-- x > y", "a"),
            ("a <!-- <p> --> b", "a b"),
            ("<a href=>x</a>", "x"),
            ("1 &lt; 2 & 3 &nosuch; &#x41;&#0;", "1 < 2 & 3 &nosuch; A\0"),
            ("<script>if (a<b) x</script>y", "y"),
            ("</a></p>", ""),
            ("", ""),
        ] {
            assert_eq!(text(html), expected, "{html}");
        }
    }
}
