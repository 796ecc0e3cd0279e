//! `fastsmtp read`: one mail, decoded; its attachments, saved; or its exact content.

use clap::Args;

use super::exit::Failure;
use super::mail::json;
use super::mailbox::{Patience, Place, WHICH, Which, resolve};
use super::reading::Reading;

/// What `fastsmtp read` is asked.
#[derive(Args)]
#[command(after_help = after())]
pub struct Read {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    patience: Patience,
    /// Which mail: its number, 'last', its id or the beginning of it, or id:ID
    #[arg(value_parser = Which::parse, allow_negative_numbers = true)]
    which: Which,
    #[command(flatten)]
    reading: Reading,
}

fn after() -> String {
    format!(
        "\
{WHICH}

Shows header fields and text, decoded; HTML as text. Nothing that a mail has
can steer the terminal: control characters are shown like \\x1b. Afterwards the
mail is marked as seen (from new/ to cur/), unless --peek is said or it came by
POP3.

{}
And: version (1), headers (a list of {{name, value}}), text, attachments (a list
of {{name, type, size, saved}}; saved is the file's name in --save DIR, or null).

Examples:
  fastsmtp read bob@example.com last --data /tmp/mail
  fastsmtp read bob@example.com 3 --save /tmp/attachments
  fastsmtp read bob@example.com 3 --raw > mail.eml
  fastsmtp read bob@example.com 1 --server mail.example.com --json |
      jq -r .text",
        json::EXPLAINED
    )
}

/// Does what is asked.
pub fn run(asked: Read) -> Result<(), Failure> {
    let Read { place, patience, which, reading } = asked;
    let mut mailbox = place.find(patience.timeout)?.open()?;
    let entries = mailbox.list()?;
    reading.read(&mut mailbox, resolve(&which, &entries)?)?;
    mailbox.leave();
    Ok(())
}
