//! What a server said, made harmless: for the terminal that shows it and for the page that quotes it.
//!
//! Banners and replies come from whoever listens at the target. Control characters could steer a terminal, and those
//! that turn the direction of writing could make a line read as another; both are shown as `\u{..}`.

/// As text of one line: control characters and the invisible ones that reorder text are written out, and beyond
/// `SHOWN_MAX` characters it is cut and ends in `...`.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for (at, character) in text.chars().enumerate() {
        if at == SHOWN_MAX {
            shown.push_str("...");
            break;
        }
        if is_harmless(character) {
            shown.push(character);
        } else {
            shown.extend(character.escape_unicode());
        }
    }
    shown
}

/// As text or as a quoted attribute of HTML and SVG: [`printable`], and no mark-up.
pub fn html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in printable(text).chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// Neither a control character nor one that has no place in a line of text: marks and overrides of direction, joiners,
/// separators of lines, variation selectors, tags, and what Unicode leaves for private use or says is no character.
fn is_harmless(character: char) -> bool {
    let invisible = matches!(
        character as u32,
        0xAD | 0x34F | 0x61C | 0x115F..=0x1160 | 0x17B4..=0x17B5 | 0x180B..=0x180F | 0x200B..=0x200F
            | 0x2028..=0x202E | 0x2060..=0x206F | 0x3164 | 0xFE00..=0xFE0F | 0xFEFF | 0xFFA0 | 0xFFF0..=0xFFFF
            | 0xE000..=0xF8FF | 0xE0000..=0x10FFFF
    );
    !character.is_control() && !invisible
}

/// Characters that are shown of one thing that was said: an SMTP reply line has at most 512 octets (RFC 5321
/// 4.5.3.1.5), and a command line that we quote may be as long.
const SHOWN_MAX: usize = 600;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_mark_up_and_no_quote_survives() {
        assert_eq!(html(r#"<b a="1" c='2'>&amp;"#), "&lt;b a=&quot;1&quot; c=&#39;2&#39;&gt;&amp;amp;");
    }

    #[test]
    fn nothing_steers_the_terminal_or_turns_the_line_round() {
        let hostile = "a\x1b[2J\r\n\0b\u{202e}c\u{9b}d\u{feff}";
        let shown = printable(hostile);
        assert_eq!(shown, r"a\u{1b}[2J\u{d}\u{a}\u{0}b\u{202e}c\u{9b}d\u{feff}");
        assert!(html(hostile).chars().all(is_harmless));
    }

    #[test]
    fn what_people_write_stays_as_it_is() {
        let greeting = "220 mail.exämple.org ESMTP – 朝 ☃";
        assert_eq!(printable(greeting), greeting);
    }

    #[test]
    fn what_never_ends_is_cut() {
        assert_eq!(printable(&"x".repeat(100_000)).len(), SHOWN_MAX + 3);
    }
}
