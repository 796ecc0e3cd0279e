//! The menu's dialogue, as states over a console, a mailbox and a sender; it knows neither servers nor files.
//!
//! ```text
//!   sign in ──▶ menu ─┬─ 1 ─▶ compose: To, Subject, text, Send? ─┐
//!               ▲     ├─ 2 ─▶ view: list, read, remove ──────────┤
//!               │     └─ 3 ─▶ leave                              │
//!               └── Enter, Ctrl-C, done ─────────────────────────┘        Ctrl-D or the end of input leaves from anywhere
//! ```
//!
//! Nothing that a mail or a server says is told here unless it was made fit for a terminal.

use std::ops::Range;

use fastsmtp::limits::{COMPOSED_TEXT_MAX, MENU_ROWS};
use fastsmtp::smtp::Address;
use fastsmtp::units::size_text;

use super::console::{Answer, Console, Kind};
use crate::cli::compose::{Draft, Mailbox};
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{counted, printable};
use crate::cli::sending::Outcome;

/// Where one signs in.
pub trait Door {
    /// Whether it takes a password.
    fn wants_password(&self) -> bool;
    /// Opens it for an address. [`Exit::Permission`] and [`Exit::NoUser`] may be tried again.
    fn open(&mut self, address: &Address, password: &str) -> Result<Desk, Failure>;
}

/// What who signed in may do.
pub struct Desk {
    /// Of mail that came.
    pub inbox: Box<dyn Inbox>,
    /// Of mail that is to go.
    pub sender: Box<dyn Sender>,
}

/// The mailbox of who signed in. [`Exit::NoInput`] is a number that no mail has, or no longer.
pub trait Inbox {
    /// Looks into it anew. There are as many mails as it says: 1 is the oldest, and each keeps its number until the next look.
    fn look(&mut self) -> Result<usize, Failure>;
    /// These mails as a list for a terminal; what was removed is not in it.
    fn list(&mut self, numbers: Range<usize>) -> Result<String, Failure>;
    /// A mail, as it is shown on a terminal.
    fn read(&mut self, number: usize) -> Result<String, Failure>;
    /// Removes a mail; for good once the mailbox is [left](Inbox::leave).
    fn remove(&mut self, number: usize) -> Result<(), Failure>;
    /// Ends the look into it.
    fn leave(&mut self) -> Result<(), Failure>;
}

/// What sends for who signed in.
pub trait Sender {
    /// Sends a mail. A refusal of single recipients is part of the outcome.
    fn send(&mut self, draft: &Draft) -> Result<Outcome, Failure>;
    /// Keeps a text that could not be sent, and says where.
    fn keep(&mut self, text: &str) -> Result<String, Failure>;
}

/// Why a state ended without coming to its end.
enum Left {
    /// Back to the menu.
    Back,
    /// Out of the program.
    Leave,
    Failed(Failure),
}

impl From<Failure> for Left {
    fn from(failure: Failure) -> Left {
        Left::Failed(failure)
    }
}

/// Runs the menu until who signed in leaves it. `address` is who signs in, where that is known. If something failed and no
/// person saw it, the first such failure is the end's.
pub fn run(console: &mut dyn Console, door: &mut dyn Door, address: Option<Address>) -> Result<(), Failure> {
    let signed_in = SignIn { console, door }.run(address);
    let ended = signed_in.and_then(|(address, desk)| Session { console, desk, address }.run());
    match (ended, console.failed()) {
        (Ok(()) | Err(Left::Leave | Left::Back), None) => Ok(()),
        (Ok(()) | Err(Left::Leave | Left::Back), Some(exit)) => Err(Failure::told(exit)),
        (Err(Left::Failed(failure)), exit) => {
            Err(Failure::new(exit.unwrap_or(failure.exit), failure.sentence))
        }
    }
}

/// Asks for a line.
fn ask(console: &mut dyn Console, prompt: &str) -> Result<String, Left> {
    line(console.ask(prompt)?)
}

fn line(answer: Answer) -> Result<String, Left> {
    match answer {
        Answer::Line(line) => Ok(line),
        Answer::Interrupted => Err(Left::Back),
        Answer::End => Err(Left::Leave),
    }
}

/// Whether a question is answered with yes; what is neither is asked again. Enter is `usual`.
fn agrees(console: &mut dyn Console, question: &str, usual: bool) -> Result<bool, Left> {
    loop {
        match ask(console, question)?.trim().to_lowercase().as_str() {
            "" => return Ok(usual),
            "y" | "yes" => return Ok(true),
            "n" | "no" => return Ok(false),
            _ => console.say("Say y for yes or n for no.\n")?,
        }
    }
}

struct SignIn<'a> {
    console: &'a mut dyn Console,
    door: &'a mut dyn Door,
}

impl SignIn<'_> {
    fn run(&mut self, named: Option<Address>) -> Result<(Address, Desk), Left> {
        let mut tries = 0;
        loop {
            let address = match &named {
                Some(address) => address.clone(),
                None => self.address()?,
            };
            let password = match self.door.wants_password() {
                true => match self.console.ask_secret("Password: ")? {
                    // There is no menu yet to go back to, but another address may be meant.
                    Answer::Interrupted if named.is_none() => continue,
                    answer => line(answer)?,
                },
                false => String::new(),
            };
            tries += 1;
            match self.door.open(&address, &password) {
                Ok(desk) => return Ok((address, desk)),
                Err(failure) if tries < TRIES_MAX && self.may_be_tried_again(&failure, named.is_some()) => {
                    self.console.say(&format!("{}.\n", printable(failure.sentence.as_bytes())))?;
                }
                Err(failure) => return Err(Left::Failed(failure)),
            }
        }
    }

    /// Whether another answer may open the door: a password, or an address where it is asked for.
    fn may_be_tried_again(&self, failure: &Failure, is_named: bool) -> bool {
        match failure.exit {
            Exit::Permission => self.door.wants_password(),
            Exit::NoUser => !is_named,
            _ => false,
        }
    }

    fn address(&mut self) -> Result<Address, Left> {
        loop {
            let text = ask(self.console, "Your address: ")?;
            match Address::parse(text.trim().as_bytes()) {
                Ok(address) => return Ok(address),
                Err(_) => self.console.say(&no_address(text.trim()))?,
            }
        }
    }
}

/// How often somebody may try to sign in.
const TRIES_MAX: usize = 3;

fn no_address(text: &str) -> String {
    match text {
        "" => "Say an address, like alice@example.com.\n".to_owned(),
        text => format!("'{}' is no address, like alice@example.com.\n", printable(text.as_bytes())),
    }
}

/// Somebody who signed in.
struct Session<'a> {
    console: &'a mut dyn Console,
    desk: Desk,
    address: Address,
}

impl Session<'_> {
    fn run(&mut self) -> Result<(), Left> {
        let address = shown(&self.address);
        self.console.say(&format!("Signed in as {address}.\n"))?;
        loop {
            self.console.say("\n1 compose, 2 view the mailbox, 3 exit\n")?;
            let done = match self.choice() {
                Ok(Choice::Compose) => self.compose(),
                Ok(Choice::View) => self.view(),
                Ok(Choice::Exit) => return Ok(()),
                Err(left) => Err(left),
            };
            match done {
                Ok(()) | Err(Left::Back) => {}
                // What failed here may work the next time, or in another place of the menu.
                Err(Left::Failed(failure)) if failure.exit != Exit::InputOutput => {
                    self.console.complain(&failure)?;
                }
                Err(left) => return Err(left),
            }
        }
    }

    fn choice(&mut self) -> Result<Choice, Left> {
        loop {
            let text = ask(self.console, "> ")?;
            match text.trim().to_lowercase().as_str() {
                "1" | "c" | "compose" => return Ok(Choice::Compose),
                "2" | "v" | "view" => return Ok(Choice::View),
                "3" | "e" | "exit" | "q" | "quit" => return Ok(Choice::Exit),
                _ => self.console.say("Say 1 to compose a mail, 2 to view the mailbox, or 3 to exit.\n")?,
            }
        }
    }

    fn compose(&mut self) -> Result<(), Left> {
        let draft = match self.draft() {
            Ok(draft) => draft,
            Err(left) => return Err(self.abandoned(left)?),
        };
        loop {
            let failure = match self.desk.sender.send(&draft) {
                Ok(outcome) => return self.tell(&outcome, &draft.text),
                Err(failure) => failure,
            };
            self.console.complain(&failure)?;
            let again = match self.console.kind() {
                Kind::Person => agrees(self.console, "Try again? [Y/n] ", true),
                Kind::Program => Ok(false),
            };
            if !matches!(again, Ok(true)) {
                self.keep(&draft.text)?;
                return again.map(|_| ());
            }
        }
    }

    /// Tells that a mail comes to nothing whose writer left it; a program's input may have ended too early.
    fn abandoned(&mut self, left: Left) -> Result<Left, Failure> {
        match (&left, self.console.kind()) {
            (Left::Leave, Kind::Program) => {
                let sentence = "the input ended within the mail; nothing was sent";
                self.console.complain(&Failure::new(Exit::Data, sentence))?;
            }
            (Left::Leave | Left::Back, _) => self.console.say("Nothing is sent.\n")?,
            (Left::Failed(_), _) => {}
        }
        Ok(left)
    }

    /// Tells what became of a mail; if nobody got it, its text is kept.
    fn tell(&mut self, outcome: &Outcome, text: &str) -> Result<(), Left> {
        for refused in outcome.recipients.iter().filter(|recipient| !recipient.said.is_positive()) {
            let sentence = format!("not sent to {}: {}", shown(&refused.address), refused.said.text);
            self.console.complain(&Failure::new(refused.said.exit(), sentence))?;
        }
        match outcome.recipients.iter().filter(|recipient| recipient.said.is_positive()).count() {
            0 => self.keep(text),
            sent => Ok(self.console.say(&format!("Sent to {}.\n", counted(sent, "recipient")))?),
        }
    }

    /// Keeps the text of a mail that could not be sent, if it has one.
    fn keep(&mut self, text: &str) -> Result<(), Left> {
        if text.trim().is_empty() {
            return Ok(());
        }
        let place = self.desk.sender.keep(text)?;
        let place = printable(place.as_bytes());
        Ok(self
            .console
            .say(&format!("The text is kept in {place}; 'fastsmtp send --text FILE' sends it.\n"))?)
    }

    /// What is to be sent; [`Left::Back`] if nothing is.
    fn draft(&mut self) -> Result<Draft, Left> {
        let to = self.recipients()?;
        let subject = self.subject()?;
        self.console.say("The text; a line that is a single '.' ends it:\n")?;
        let text = self.text()?;
        let from = Mailbox { name: String::new(), address: self.address.clone() };
        let (cc, bcc, attachments, fields) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let draft = Draft { from, to, cc, bcc, subject, text, attachments, fields };
        self.console.say(&summary(&draft))?;
        match agrees(self.console, "Send? [Y/n] ", true)? {
            true => Ok(draft),
            false => Err(Left::Back),
        }
    }

    fn recipients(&mut self) -> Result<Vec<Mailbox>, Left> {
        loop {
            let text = ask(self.console, "To: ")?;
            let text = text.trim_matches([' ', '\t', ',']);
            if text.is_empty() {
                self.console.say("Say one address, or several with commas between them.\n")?;
                continue;
            }
            match Mailbox::parse_list(text) {
                Ok(recipients) => return Ok(recipients),
                Err(wrong) => self.console.say(&format!("{}.\n", printable(wrong.to_string().as_bytes())))?,
            }
        }
    }

    fn subject(&mut self) -> Result<String, Left> {
        loop {
            let subject = ask(self.console, "Subject: ")?.trim().to_owned();
            if !subject.contains(char::is_control) {
                return Ok(subject);
            }
            self.console.say("A subject has no control characters; say it again without.\n")?;
        }
    }

    fn text(&mut self) -> Result<String, Left> {
        let mut text = String::new();
        let mut is_too_large = false;
        loop {
            match ask(self.console, "")?.as_str() {
                "." if is_too_large => {
                    let size = size_text(COMPOSED_TEXT_MAX as u64);
                    self.console
                        .say(&format!("The text is larger than {size}; 'fastsmtp send' takes files.\n"))?;
                    return Err(Left::Back);
                }
                "." => return Ok(text),
                // To its end, although it is no use: the rest of a text is not for the menu.
                line if text.len() + line.len() >= COMPOSED_TEXT_MAX => is_too_large = true,
                line => {
                    text.push_str(line);
                    text.push('\n');
                }
            }
        }
    }

    fn view(&mut self) -> Result<(), Left> {
        let Session { console, desk, .. } = self;
        let count = desk.inbox.look()?;
        let start = count.saturating_sub(1) / MENU_ROWS * MENU_ROWS + 1;
        let viewed = match count {
            0 => console.say("There is no mail.\n").map_err(Left::Failed),
            _ => View { console: *console, inbox: &mut *desk.inbox, count, start }.run(),
        };
        // Left in any case, so that what was removed stays so; but of two failures the first is told.
        let left = desk.inbox.leave();
        viewed.and(left.map_err(Left::Failed))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    Compose,
    View,
    Exit,
}

fn summary(draft: &Draft) -> String {
    let to: Vec<String> = draft.to.iter().map(|mailbox| shown(&mailbox.address)).collect();
    let subject =
        if draft.subject.is_empty() { "(none)".into() } else { printable(draft.subject.as_bytes()) };
    format!(
        "\nFrom:    {}\nTo:      {}\nSubject: {subject}\nText:    {}\n",
        shown(&draft.from.address),
        to.join(", "),
        counted(draft.text.lines().count(), "line")
    )
}

fn shown(address: &Address) -> String {
    printable(address.to_string().as_bytes())
}

/// A look into the mailbox.
struct View<'a> {
    console: &'a mut dyn Console,
    inbox: &'a mut dyn Inbox,
    /// Mails in it, at least one.
    count: usize,
    /// The number of the first that is shown.
    start: usize,
}

impl View<'_> {
    fn run(mut self) -> Result<(), Left> {
        self.show()?;
        loop {
            let text = ask(self.console, "Number, d number, or Enter: ")?;
            let done = match Wish::of(&text) {
                Some(Wish::Back) => return Ok(()),
                Some(Wish::Earlier) if self.start > 1 => self.turn_to(self.start - MENU_ROWS),
                Some(Wish::Later) if self.end() <= self.count => self.turn_to(self.end()),
                Some(Wish::Earlier | Wish::Later) => self.say("There are no more.\n"),
                Some(Wish::List) => self.show(),
                Some(Wish::Read(number)) => self.read(number),
                Some(Wish::Remove(number)) => self.remove(number),
                None => self.say(HELP),
            };
            match done {
                Err(Left::Failed(failure)) if is_about_one_mail(&failure) => {
                    self.say(&format!("{}.\n", printable(failure.sentence.as_bytes())))?;
                }
                // A question that is not answered changes nothing, and there are other mails.
                Err(Left::Back) => {}
                done => done?,
            }
        }
    }

    fn say(&mut self, text: &str) -> Result<(), Left> {
        Ok(self.console.say(text)?)
    }

    /// The number behind the last that is shown.
    fn end(&self) -> usize {
        (self.start + MENU_ROWS).min(self.count + 1)
    }

    fn turn_to(&mut self, start: usize) -> Result<(), Left> {
        self.start = start;
        self.show()
    }

    fn show(&mut self) -> Result<(), Left> {
        let (start, end, count) = (self.start, self.end(), self.count);
        let mut text = format!("\n{}", self.inbox.list(start..end)?);
        if count > MENU_ROWS {
            text.push_str(&format!(
                "{start} to {} of {count}; p shows earlier ones, n later ones\n",
                end - 1
            ));
        }
        self.say(&text)
    }

    fn read(&mut self, number: usize) -> Result<(), Left> {
        let text = self.inbox.read(number)?;
        self.say(&format!("\n{}\n\n", text.trim_end()))
    }

    fn remove(&mut self, number: usize) -> Result<(), Left> {
        let line = self.inbox.list(number..number.saturating_add(1))?;
        self.say(&line)?;
        if agrees(self.console, "Remove it? [y/N] ", false)? {
            self.inbox.remove(number)?;
            self.say(&format!("Removed {number}.\n"))?;
        }
        Ok(())
    }
}

/// What is to be done in a mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Back,
    Earlier,
    Later,
    List,
    Read(usize),
    Remove(usize),
}

impl Wish {
    /// What a line says; none if it says nothing that is known.
    fn of(text: &str) -> Option<Wish> {
        match text.split_whitespace().collect::<Vec<_>>()[..] {
            [] => Some(Wish::Back),
            ["p"] => Some(Wish::Earlier),
            ["n"] => Some(Wish::Later),
            ["l"] => Some(Wish::List),
            ["d", number] => number.parse().ok().map(Wish::Remove),
            [number] => number.parse().ok().map(Wish::Read),
            _ => None,
        }
    }
}

const HELP: &str = "A number reads that mail, d and a number removes it, l lists again, Enter goes back.\n";

/// Whether the others may still be read.
fn is_about_one_mail(failure: &Failure) -> bool {
    matches!(failure.exit, Exit::NoInput | Exit::Data | Exit::Permission)
}

#[cfg(test)]
mod tests;
