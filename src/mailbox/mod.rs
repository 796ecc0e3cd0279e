//! Maildirs: where a mailbox lies, and what its files are called.
//!
//! ```text
//! mailboxes/example.com/user/tmp/1735689600.9f3c00000000000100000001.fs     being written
//!                           /new/1735689600.9f3c00000000000100000001.fs     delivered
//!                           /cur/1735689600.9f3c00000000000100000001.fs:2,S seen by its reader, with flags
//! ```
//!
//! A file is the message's trace fields and its mail data, octet for octet. [`delivery`](Maildirs) puts it there, for the
//! courier; [`access`](list) is for whoever reads.

mod access;
mod delivery;

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::limits::{BASE_NAME_MAX, MAILBOX_NAME_KEPT, MAILBOX_NAME_MAX};
use crate::queue_id::QueueId;
use crate::smtp::Address;

pub use access::{Changer, Mail, Oldest, Room, list, list_oldest, mark_seen, octets, open, unique_id_len};
pub use delivery::{Content, Delivered, Maildirs};

/// The directory that all mailboxes lie below.
pub const ROOT: &str = "mailboxes";

/// A mailbox's directory below the disk's root: `mailboxes/<domain>/<local-part>`.
///
/// Two addresses have one path exactly if their local parts and their [`Address::domain_key`]s are the same octets.
/// No component of it is empty, begins with a dot or a hyphen, or has a slash, a colon, NUL or another control
/// character in it; all are at most [`MAILBOX_NAME_MAX`] octets long.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MailboxPath(Arc<str>);

impl MailboxPath {
    /// Where the mail of `address` lies.
    pub fn of(address: &Address) -> MailboxPath {
        let domain = component(&address.domain_key());
        let local_part = component(address.local_part());
        MailboxPath(format!("{ROOT}/{domain}/{local_part}").into())
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MailboxPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A message's file name, but for the flags that a reader appends:
/// `<unix seconds of arrival>.<queue id>.fs`, and a letter before `.fs` where others had the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BaseName {
    arrived: u64,
    id: QueueId,
    letter: Option<char>,
}

impl BaseName {
    /// The name of the message `id` that arrived at `arrived`, in Unix seconds.
    pub fn new(arrived: u64, id: QueueId) -> BaseName {
        BaseName { arrived, id, letter: None }
    }

    /// This name and those to fall back on where it is taken.
    fn candidates(self) -> impl Iterator<Item = BaseName> {
        let others = LETTERS.map(move |letter| BaseName { letter: Some(letter), ..self });
        std::iter::once(self).chain(others)
    }

    /// The queue id in a file name, whoever wrote it and whatever flags it has.
    fn queue_id_in(name: &str) -> Option<QueueId> {
        let (_, rest) = base_of(name).split_once('.')?;
        rest.strip_suffix(".fs")?.trim_end_matches(|c| LETTERS.contains(&c)).parse().ok()
    }
}

impl fmt::Display for BaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.arrived, self.id)?;
        if let Some(letter) = self.letter {
            write!(f, "{letter}")?;
        }
        f.write_str(".fs")
    }
}

/// What distinguishes further names for one message: no hexadecimal digits, so that the queue id ends before them.
const LETTERS: std::ops::RangeInclusive<char> = 'g'..='z';

const _: () = assert!(20 + 1 + 32 + 1 + 3 <= BASE_NAME_MAX, "seconds, dot, queue id, letter, .fs");

/// A file name without a reader's flags (`:2,S`).
fn base_of(name: &str) -> &str {
    name.split_once(':').map_or(name, |(base, _)| base)
}

/// How often a mailbox is listed for one message that moves while we look.
const LISTINGS_MAX: usize = 3;

/// A message's name in one mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The mailbox.
    pub mailbox: MailboxPath,
    /// The name of the message's file there.
    pub base: BaseName,
}

impl Place {
    fn path_in_tmp(&self) -> String {
        format!("{}/tmp/{}", self.mailbox, self.base)
    }

    fn path_in_new(&self) -> String {
        format!("{}/new/{}", self.mailbox, self.base)
    }
}

/// One component of a mailbox's path. Octets that could mean something to a file system, a shell's user or a Maildir
/// reader become `%XX`; the rest stays readable.
///
/// No two texts have one component. An encoded text of up to [`MAILBOX_NAME_MAX`] octets reads back, for `%` is always
/// encoded. A longer one is its beginning and a hash; a short text that looks like that has its last hyphen encoded,
/// which otherwise only happens to a first one.
fn component(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for (at, character) in text.char_indices() {
        if is_harmless(character) && !(at == 0 && matches!(character, '.' | '-')) {
            encoded.push(character);
        } else {
            for octet in character.encode_utf8(&mut [0; 4]).bytes() {
                encoded.push_str(&format!("%{octet:02X}"));
            }
        }
    }
    if encoded.is_empty() {
        return "%".into(); // nothing else is encoded so
    }
    if encoded.len() > MAILBOX_NAME_MAX {
        let boundary = (0..=MAILBOX_NAME_KEPT).rev().find(|&at| encoded.is_char_boundary(at));
        encoded.truncate(boundary.unwrap_or(0));
        encoded.push_str(&format!("-{}", hash(text)));
    } else if looks_cut(&encoded) {
        encoded.replace_range(encoded.len() - HASH_DIGITS - 1..encoded.len() - HASH_DIGITS, "%2D");
    }
    encoded
}

fn is_harmless(character: char) -> bool {
    match character {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' | '+' | '=' | '.' | '@' => true,
        _ => !character.is_ascii() && !character.is_control() && !character.is_whitespace(),
    }
}

/// Whether an encoded text ends as one that was cut, and is as long.
fn looks_cut(encoded: &str) -> bool {
    let Some((kept, digits)) = encoded.rsplit_once('-') else { return false };
    digits.len() == HASH_DIGITS
        && (MAILBOX_NAME_KEPT - 3..=MAILBOX_NAME_KEPT).contains(&kept.len())
        && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// The first 128 bits of the text's SHA-256.
fn hash(text: &str) -> String {
    Sha256::digest(text).iter().take(HASH_DIGITS / 2).map(|octet| format!("{octet:02x}")).collect()
}

const HASH_DIGITS: usize = 32;

const _: () =
    assert!(MAILBOX_NAME_KEPT + 3 + HASH_DIGITS <= MAILBOX_NAME_MAX, "an encoded hyphen still fits");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(local_part: &str, domain: &str) -> String {
        MailboxPath::of(&Address::new(local_part, domain)).as_str().to_owned()
    }

    #[test]
    fn names_stay_readable_where_they_are_harmless() {
        for (local_part, domain, expected) in [
            ("user+tag", "Example.COM", "example.com/user+tag"),
            ("John.Doe_x=y@z", "x.example", "x.example/John.Doe_x=y@z"),
            ("jörg", "exämple.de", "xn--exmple-cua.de/jörg"),
            ("john doe", "[192.0.2.1]", "%5B192.0.2.1%5D/john%20doe"),
            ("50%", "x", "x/50%25"),
            ("a:2,S", "x", "x/a%3A2%2CS"),
            ("-rf", "x", "x/%2Drf"),
            ("a-b", "x", "x/a-b"),
            ("", "", "%/%"),
        ] {
            assert_eq!(path(local_part, domain), format!("mailboxes/{expected}"));
        }
    }

    #[test]
    fn a_name_that_would_leave_its_directory_stays_inside() {
        for local_part in
            [".", "..", "../..", "../../etc/passwd", "/", "/etc", "a/../b", ".hidden", "\0", "a\0/", "\u{85}"]
        {
            let path = path(local_part, "x.example");
            assert_safe(&path);
        }
        assert_safe(&path("a", ".."));
        assert_eq!(path("..", "x"), "mailboxes/x/%2E.");
    }

    fn assert_safe(path: &str) {
        let components: Vec<_> = path.split('/').collect();
        assert_eq!((components.len(), components[0]), (3, ROOT), "{path}");
        for component in components {
            assert!((1..=MAILBOX_NAME_MAX).contains(&component.len()), "{path}");
            assert!(!component.starts_with(['.', '-']), "{path}");
            assert!(!component.contains(|c: char| c.is_control() || c.is_whitespace() || c == ':'), "{path}");
        }
    }

    #[test]
    fn a_long_name_is_cut_between_characters_and_keeps_apart_by_its_hash() {
        let long = format!("a{}", "ö".repeat(120));
        let cut = component(&long);
        assert_eq!(cut, format!("a{}-{}", "ö".repeat(74), hash(&long)));
        assert_ne!(cut, component(&format!("{long}ö")));
        assert_eq!(component(&"b".repeat(200)), "b".repeat(200));
        assert_eq!(component(&"b".repeat(201)).len(), 183);
    }

    #[test]
    fn a_name_made_to_look_like_anothers_hash_is_another_name() {
        let victim = "v".repeat(201);
        let forged = component(&victim);
        assert_eq!(component(&forged), format!("{}%2D{}", "v".repeat(150), hash(&victim)));
        assert!(component(&forged).len() <= MAILBOX_NAME_MAX);
    }

    /// Names as an adversary would choose them: long, dotted, and made from other names' encodings.
    fn name() -> impl Strategy<Value = String> {
        let text = prop_oneof![
            "[a-c./%@:-]{0,6}",
            "[a-bö\u{80}-\u{a0}. ]{140,210}",
            any::<String>(),
            "[a-f0-9]{147,151}-[a-f0-9]{31,33}",
        ];
        (text, 0..3).prop_map(|(text, times)| (0..times).fold(text, |text, _| component(&text)))
    }

    proptest! {
        #[test]
        fn any_name_is_safe(local_part in name(), domain in name()) {
            assert_safe(&path(&local_part, &domain));
        }

        #[test]
        fn no_two_names_have_one_component(one in name(), other in name()) {
            let again = component(&one);
            prop_assert_eq!(one == other, again == component(&other));
            prop_assert_eq!(one == again, component(&again) == again);
        }

        #[test]
        fn a_short_name_reads_back(name in name()) {
            let encoded = component(&name);
            if name.len() * 3 <= MAILBOX_NAME_MAX {
                prop_assert_eq!(decoded(&encoded), name);
            }
        }
    }

    fn decoded(encoded: &str) -> String {
        let mut octets = Vec::new();
        let mut rest = encoded.bytes();
        while let Some(octet) = rest.next() {
            octets.push(match octet {
                b'%' => match (rest.next(), rest.next()) {
                    (Some(high), Some(low)) => {
                        u8::from_str_radix(std::str::from_utf8(&[high, low]).unwrap(), 16).unwrap()
                    }
                    _ => continue,
                },
                _ => octet,
            });
        }
        String::from_utf8(octets).unwrap()
    }

    #[test]
    fn a_base_name_gives_its_queue_id_back() {
        let id = QueueId { run: u64::MAX, counter: u64::MAX };
        for base in BaseName::new(u64::MAX, id).candidates() {
            let name = base.to_string();
            assert!(name.len() <= BASE_NAME_MAX);
            assert_eq!(BaseName::queue_id_in(&name), Some(id));
            assert_eq!(BaseName::queue_id_in(&format!("{name}:2,FS")), Some(id));
        }
        assert_eq!(
            BaseName::new(7, QueueId { run: 1, counter: 2 }).to_string(),
            "7.000000000000000100000002.fs"
        );
        assert_eq!(BaseName::queue_id_in("1735689600.M1P2.host"), None);
    }
}
