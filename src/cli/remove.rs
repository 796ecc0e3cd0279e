//! `fastsmtp remove`: mails are removed for good.

use clap::Args;

use super::exit::Failure;
use super::mailbox::{Patience, Place, WHICH, Which, resolve_all};
use super::output::{counted, print};

/// What `fastsmtp remove` is asked.
#[derive(Args)]
#[command(after_help = after())]
pub struct Remove {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    patience: Patience,
    /// Which mails: numbers, ranges like 3-7, 'last', ids or the beginnings of them, or id:ID
    #[arg(required = true, value_parser = Which::parse, allow_negative_numbers = true)]
    which: Vec<Which>,
}

fn after() -> String {
    format!(
        "\
{WHICH}
What is said is looked up as a whole before anything is removed: one that names
no mail, and none is removed.

Examples:
  fastsmtp remove bob@example.com 1 3-7 last --data /tmp/mail
  fastsmtp list bob@example.com --match newsletter --json |
      jq -r '.mails[] | \"id:\" + .id' |
      xargs -r fastsmtp remove bob@example.com"
    )
}

/// Does what is asked.
pub fn run(asked: Remove) -> Result<(), Failure> {
    let Remove { place, patience, which } = asked;
    let mut mailbox = place.find(patience.timeout)?.open()?;
    let entries = mailbox.list()?;
    let meant = resolve_all(&which, &entries)?;
    mailbox.remove(&meant)?;
    mailbox.close().map_err(unsure)?;
    print(format!("removed {}\n", counted(meant.len(), "mail")).as_bytes())
}

/// A server removes when the session ends.
fn unsure(Failure { exit, sentence }: Failure) -> Failure {
    Failure::new(exit, format!("{sentence}; whether mail was removed, 'fastsmtp list' shows"))
}
