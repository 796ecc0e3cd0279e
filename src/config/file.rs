//! The configuration file: TOML whose keys are the flags' names. Every error names file and line.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use fastsmtp::limits::CONFIG_FILE_MAX;

use super::{KEYS, Key, Origin, Setting, Takes, did_you_mean};
use crate::cli::exit::{Exit, Failure};

/// Reads a file into settings, in the order of their lines.
pub fn read(path: &Path) -> Result<Vec<Setting>, Failure> {
    let failure =
        |sentence: String| Failure::new(Exit::Configuration, format!("{}: {sentence}", path.display()));
    let mut octets = Vec::new();
    File::open(path)
        .and_then(|file| file.take(CONFIG_FILE_MAX + 1).read_to_end(&mut octets))
        .map_err(|error| failure(format!("the configuration cannot be read: {error}")))?;
    if octets.len() as u64 > CONFIG_FILE_MAX {
        return Err(failure(format!("is larger than {CONFIG_FILE_MAX} octets: is it the configuration?")));
    }
    let text = String::from_utf8(octets).map_err(|_| failure("is not UTF-8 text".to_owned()))?;
    parse(path, &text)
        .map_err(|sentence| Failure::new(Exit::Configuration, format!("{}:{sentence}", path.display())))
}

/// A text of TOML as settings; an error begins with the line.
fn parse(path: &Path, text: &str) -> Result<Vec<Setting>, String> {
    let table = DeTable::parse(text).map_err(|error| {
        let line = line_of(text, error.span().map_or(0, |span| span.start));
        // The parser's own words guess what was meant, often wrongly ('expected inf'); examples help more.
        let reason = error.message().replace('\n', ", ");
        format!("{line}: not TOML ({reason}); write name = \"text\", name = 100 or name = [\"one\", \"two\"]")
    })?;
    let mut entries: Vec<_> = table.get_ref().iter().collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    entries.into_iter().map(|(name, value)| setting(path, text, name, value)).collect()
}

fn setting(
    path: &Path,
    text: &str,
    name: &Spanned<impl AsRef<str>>,
    value: &Spanned<DeValue<'_>>,
) -> Result<Setting, String> {
    let line = line_of(text, name.span().start);
    let name = name.get_ref().as_ref();
    let Some(key) = Key::named(name) else {
        let mend = did_you_mean(name, KEYS.iter().map(|key| key.name.to_owned()));
        return Err(format!("{line}: unknown key '{name}'; {mend}"));
    };
    let values = values(key, value.get_ref()).map_err(|sentence| format!("{line}: {name}: {sentence}"))?;
    Ok(Setting { key, values, origin: Origin::File(path.to_owned(), line) })
}

/// The values of a key as texts, like those of a flag.
fn values(key: &Key, value: &DeValue<'_>) -> Result<Vec<String>, String> {
    match (key.takes, value) {
        (_, DeValue::String(text)) => Ok(vec![text.to_string()]),
        (Takes::Number(_), DeValue::Integer(number)) => Ok(vec![decimal(number)]),
        (Takes::Switch(_), DeValue::Boolean(is_on)) => Ok(vec![is_on.to_string()]),
        (Takes::List(_), DeValue::Array(array)) => array.iter().map(|value| text(value.get_ref())).collect(),
        (Takes::List(_), _) => Err("takes a list of texts, like [\"one\", \"two\"]".to_owned()),
        (Takes::Number(_), _) => Err("takes one number, or a text with its unit in quotes".to_owned()),
        (Takes::Switch(_), _) => Err("takes true or false".to_owned()),
        (Takes::One(_), _) => Err("takes one text, in quotes".to_owned()),
    }
}

fn text(value: &DeValue<'_>) -> Result<String, String> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        _ => Err("takes texts, each in quotes".to_owned()),
    }
}

/// An integer as the flags would have it, whatever its base; one beyond all sense stays as it is, to be refused there.
fn decimal(number: &DeInteger<'_>) -> String {
    match i128::from_str_radix(number.as_str(), number.radix()) {
        Ok(value) => value.to_string(),
        Err(_) => number.as_str().to_owned(),
    }
}

/// The line of an octet, counted from 1.
fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|&b| b == b'\n').count()
}

/// One value of a key as TOML: a number without a unit is an integer, a switch is a boolean, all else a text.
pub fn literal(key: &Key, value: &str) -> String {
    let is_integer = matches!(key.takes, Takes::Number(_)) && value.bytes().all(|b| b.is_ascii_digit());
    if is_integer || matches!(key.takes, Takes::Switch(_)) { value.to_owned() } else { quoted(value) }
}

/// A text as a TOML basic string.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            _ if character.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(character))),
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key's name, its values, its line.
    type Row = (&'static str, Vec<String>, usize);

    fn parsed(text: &str) -> Result<Vec<Row>, String> {
        let settings = parse(Path::new("f"), text)?;
        let line = |origin| match origin {
            Origin::File(_, line) => line,
            _ => 0,
        };
        Ok(settings.into_iter().map(|each| (each.key.name, each.values, line(each.origin))).collect())
    }

    fn strings(values: &[&str]) -> Vec<String> {
        values.iter().map(|value| (*value).to_owned()).collect()
    }

    #[test]
    fn keys_come_with_their_lines_in_their_order() {
        let text = "# ours\nmemory = 1_000\nlisten = [\n  \"a\",\n  \"b\",\n]\ndata = '/x\"y'\nlog = \"info\"\n\
                    max-recipients = 0x64\nlocal-domain = \"one.example\"\n";
        let expected = vec![
            ("memory", strings(&["1000"]), 2),
            ("listen", strings(&["a", "b"]), 3),
            ("data", strings(&["/x\"y"]), 7),
            ("log", strings(&["info"]), 8),
            ("max-recipients", strings(&["100"]), 9),
            ("local-domain", strings(&["one.example"]), 10),
        ];
        assert_eq!(parsed(text), Ok(expected));
    }

    #[test]
    fn errors_name_the_line() {
        let cases = [
            ("\n\nlisen = [\"a\"]", "3: unknown key 'lisen'; did you mean 'listen'?"),
            ("max_message_size = 1", "1: unknown key 'max_message_size'; did you mean 'max-message-size'?"),
            ("\n[zq]\nx = 1", "2: unknown key 'zq'; 'fastsmtp --help' names all"),
            ("listen = 5", "1: listen: takes a list of texts, like [\"one\", \"two\"]"),
            ("listen = [5]", "1: listen: takes texts, each in quotes"),
            ("\ndata = [\"x\"]", "2: data: takes one text, in quotes"),
            ("data = 5", "1: data: takes one text, in quotes"),
            ("memory = 1.5", "1: memory: takes one number, or a text with its unit in quotes"),
            ("tls-self-signed = 1", "1: tls-self-signed: takes true or false"),
            ("memory = true", "1: memory: takes one number, or a text with its unit in quotes"),
        ];
        for (text, sentence) in cases {
            assert_eq!(parsed(text), Err(sentence.to_owned()));
        }
    }

    #[test]
    fn what_is_no_toml_is_refused_with_its_line() {
        for (text, line) in
            [("data = \"x\"\nlog = info\n", "2: "), ("data = \"x\"\ndata = \"y\"\n", "2: "), ("\n=", "2: ")]
        {
            let sentence = parsed(text).unwrap_err();
            assert!(sentence.starts_with(line) && !sentence.contains('\n'), "{sentence}");
        }
    }

    #[test]
    fn a_quoted_text_reads_back() {
        for text in ["", "plain", "a\"b\\c", "tab\there\n\u{7f}", "exämple"] {
            let line = format!("data = {}", quoted(text));
            assert_eq!(parsed(&line).unwrap()[0].1, [text]);
        }
    }
}
