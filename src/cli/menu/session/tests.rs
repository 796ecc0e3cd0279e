//! The dialogue with a person, a mailbox and a sender of paper.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use super::*;
use crate::cli::sending::{Recipient, Said};

/// What happened, in its order.
type Journal = Rc<RefCell<Vec<String>>>;

/// Types what it was told beforehand; `^C` is Ctrl-C, and behind the last comes the end.
struct Typist {
    lines: VecDeque<String>,
    said: String,
    kind: Kind,
    failed: Option<Exit>,
}

impl Console for Typist {
    fn ask(&mut self, prompt: &str) -> Result<Answer, Failure> {
        self.said.push_str(prompt);
        Ok(match self.lines.pop_front() {
            Some(line) if line == "^C" => Answer::Interrupted,
            Some(line) => Answer::Line(line),
            None => Answer::End,
        })
    }

    fn ask_secret(&mut self, prompt: &str) -> Result<Answer, Failure> {
        self.ask(prompt)
    }

    fn say(&mut self, text: &str) -> Result<(), Failure> {
        self.said.push_str(text);
        Ok(())
    }

    fn complain(&mut self, failure: &Failure) -> Result<(), Failure> {
        self.failed = self.failed.or(Some(failure.exit));
        self.say(&format!("{}.\n", failure.sentence))
    }

    fn failed(&self) -> Option<Exit> {
        self.failed.filter(|_| self.kind == Kind::Program)
    }

    fn kind(&self) -> Kind {
        self.kind
    }
}

/// A door with a password, or without one.
struct PaperDoor {
    password: Option<&'static str>,
    mails: usize,
    journal: Journal,
}

impl Door for PaperDoor {
    fn wants_password(&self) -> bool {
        self.password.is_some()
    }

    fn open(&mut self, address: &Address, password: &str) -> Result<Desk, Failure> {
        if address.local_part() == "nobody" {
            return Err(Failure::new(Exit::NoUser, "there is no nobody"));
        }
        if self.password.is_some_and(|right| right != password) {
            return Err(Failure::new(Exit::Permission, "wrong password"));
        }
        let inbox = Box::new(PaperInbox { mails: vec![true; self.mails], journal: self.journal.clone() });
        Ok(Desk { inbox, sender: Box::new(PaperSender(self.journal.clone())) })
    }
}

struct PaperInbox {
    /// Whether each is still there.
    mails: Vec<bool>,
    journal: Journal,
}

impl PaperInbox {
    fn has(&self, number: usize) -> bool {
        number.checked_sub(1).and_then(|at| self.mails.get(at)).copied().unwrap_or(false)
    }

    fn must_have(&self, number: usize) -> Result<(), Failure> {
        match self.has(number) {
            true => Ok(()),
            false => Err(Failure::new(Exit::NoInput, format!("there is no mail {number}"))),
        }
    }
}

impl Inbox for PaperInbox {
    fn look(&mut self) -> Result<usize, Failure> {
        self.journal.borrow_mut().push("look".into());
        self.mails.retain(|is_there| *is_there);
        Ok(self.mails.len())
    }

    fn list(&mut self, numbers: Range<usize>) -> Result<String, Failure> {
        if numbers.len() == 1 {
            self.must_have(numbers.start)?;
        }
        Ok(numbers.filter(|number| self.has(*number)).map(|number| format!("{number} mail\n")).collect())
    }

    fn read(&mut self, number: usize) -> Result<String, Failure> {
        self.must_have(number)?;
        match number {
            2 => Err(Failure::new(Exit::NoInput, "somebody took it away")),
            number => Ok(format!("the text of {number}\n\n")),
        }
    }

    fn remove(&mut self, number: usize) -> Result<(), Failure> {
        self.must_have(number)?;
        self.mails[number - 1] = false;
        self.journal.borrow_mut().push(format!("remove {number}"));
        Ok(())
    }

    fn leave(&mut self) -> Result<(), Failure> {
        self.journal.borrow_mut().push("leave".into());
        Ok(())
    }
}

/// Refuses `bad`, and fails for `down`.
struct PaperSender(Journal);

impl Sender for PaperSender {
    fn send(&mut self, draft: &Draft) -> Result<Outcome, Failure> {
        let to: Vec<Address> = draft.to.iter().map(|mailbox| mailbox.address.clone()).collect();
        if to.iter().any(|to| to.local_part() == "down") {
            return Err(Failure::new(Exit::Unavailable, "no server answers"));
        }
        let names: Vec<String> = to.iter().map(Address::to_string).collect();
        self.0.borrow_mut().push(format!("{} to {}: {:?}", draft.subject, names.join(" "), draft.text));
        let said = |to: &Address| match to.local_part() {
            "bad" => Said { code: 550, text: "550 5.1.1 no".into() },
            _ => Said { code: 250, text: "250 yes".into() },
        };
        let recipients = to.iter().map(|to| Recipient { address: to.clone(), said: said(to) });
        Ok(Outcome { recipients: recipients.collect(), mail: None })
    }

    fn keep(&mut self, text: &str) -> Result<String, Failure> {
        self.0.borrow_mut().push(format!("keep {text:?}"));
        Ok("a file".into())
    }
}

/// A session of `lines`: what was said, what happened, and how it ended.
fn played(
    password: Option<&'static str>,
    mails: usize,
    lines: &[&str],
) -> (String, Vec<String>, Result<(), Exit>) {
    played_by(Kind::Person, password, mails, lines)
}

fn played_by(
    kind: Kind,
    password: Option<&'static str>,
    mails: usize,
    lines: &[&str],
) -> (String, Vec<String>, Result<(), Exit>) {
    let journal = Journal::default();
    let lines = lines.iter().map(|line| (*line).to_owned()).collect();
    let mut typist = Typist { lines, said: String::new(), kind, failed: None };
    let mut door = PaperDoor { password, mails, journal: journal.clone() };
    let end = run(&mut typist, &mut door, None).map_err(|failure| failure.exit);
    let happened = journal.borrow().clone();
    (typist.said, happened, end)
}

/// The same without a password, by alice, with an end that is well.
fn by_alice(mails: usize, lines: &[&str]) -> (String, Vec<String>) {
    let (said, happened, end) = played(None, mails, &[&["alice@example.com"], lines].concat());
    assert_eq!(end, Ok(()), "{said}");
    (said, happened)
}

#[test]
fn a_mail_goes_to_each_of_its_recipients() {
    let lines = ["1", "Bob <bob@example.com>, carol@example.com, ", " hello ", "one", "", "..", ".", "", "3"];
    let (said, happened) = by_alice(0, &lines);
    assert_eq!(happened, ["hello to bob@example.com carol@example.com: \"one\\n\\n..\\n\""]);
    let summary = "\nFrom:    alice@example.com\nTo:      bob@example.com, carol@example.com\nSubject: hello\nText:    3 lines\nSend? [Y/n] ";
    assert!(said.contains(summary), "{said}");
    assert!(said.contains("Sent to 2 recipients.\n"), "{said}");
}

#[test]
fn refusals_are_told_of_each_recipient() {
    let (said, _) = by_alice(0, &["1", "bob@example.com, bad@example.com", "", ".", "y", "3"]);
    assert!(said.contains("not sent to bad@example.com: 550 5.1.1 no.\nSent to 1 recipient.\n"), "{said}");
    let (said, _) = by_alice(0, &["1", "bad@example.com", "", ".", "y", "3"]);
    assert!(said.contains("550 5.1.1 no.\n") && !said.contains("Sent to"), "{said}");
}

#[test]
fn a_server_that_is_down_ends_the_mail_and_not_the_menu() {
    let mail = ["1", "down@example.com", "", "words", ".", "y"];
    let (said, happened) = by_alice(1, &[&mail[..], &["", "n", "2", "", "3"]].concat());
    assert_eq!(said.matches("no server answers.\nTry again? [Y/n] ").count(), 2, "{said}");
    assert!(said.contains("The text is kept in a file; "), "{said}");
    assert_eq!(happened, ["keep \"words\\n\"", "look", "leave"]);
    for rest in [&["^C", "3"][..], &[]] {
        let (_, happened) = by_alice(0, &[&mail[..], rest].concat());
        assert_eq!(happened, ["keep \"words\\n\""], "whoever goes away has it, too");
    }
    let (_, happened) = by_alice(0, &["1", "down@example.com", "", ".", "y", "n", "3"]);
    assert_eq!(happened, [""; 0], "no text is nothing to keep");
}

#[test]
fn a_text_that_nobody_got_is_kept() {
    let (said, happened) = by_alice(0, &["1", "bad@example.com", "s", "words", ".", "y", "3"]);
    assert_eq!(happened[1..], ["keep \"words\\n\""], "{said}");
}

#[test]
fn of_a_program_the_first_failure_is_the_end() {
    let ended = |lines: &[&str]| {
        let lines = [&["alice@example.com"], lines].concat();
        let (said, happened, end) = played_by(Kind::Program, None, 1, &lines);
        assert!(!said.contains("Try again?"), "{said}");
        (said, happened, end)
    };
    let down = ["1", "down@example.com", "", "words", ".", "y"];
    let refused = ["1", "bob@example.com, bad@example.com", "", ".", "y"];
    let (said, happened, end) = ended(&[&down[..], &["2", "1", "", "3"]].concat());
    assert_eq!(end, Err(Exit::Unavailable));
    assert!(said.contains("the text of 1"), "what follows is done: {said}");
    assert_eq!(happened, ["keep \"words\\n\"", "look", "leave"]);
    assert_eq!(ended(&[&refused[..], &["3"]].concat()).2, Err(Exit::Unavailable));
    for rest in [&[][..], &["s"], &["s", "t"], &["s", "t", "."]] {
        let (said, happened, end) = ended(&[&["1", "bob@example.com"], rest].concat());
        assert_eq!((end, happened), (Err(Exit::Data), vec![]), "{said}");
        assert!(said.contains("the input ended within the mail; nothing was sent"), "{said}");
    }
    assert_eq!(ended(&[&down[..], &["1"]].concat()).2, Err(Exit::Unavailable), "the first");
    assert_eq!(ended(&["1", "bob@example.com", "s", ".", "n"]).2, Ok(()));
}

#[test]
fn ctrl_c_at_the_password_asks_for_the_address_again() {
    let (said, _, end) =
        played(Some("secret"), 0, &["bob@example.com", "^C", "alice@example.com", "secret", "3"]);
    assert_eq!(end, Ok(()), "{said}");
    assert!(said.contains("Signed in as alice@example.com."), "{said}");
}

#[test]
fn who_says_no_or_goes_away_sends_nothing() {
    let mail = ["1", "bob@example.com", "s", "t"];
    for rest in [&[".", "n", "3"][..], &["^C", "3"], &[], &["."], &[".", "^C"]] {
        let (said, happened) = by_alice(0, &[&mail[..], rest].concat());
        assert_eq!(happened, [""; 0], "{rest:?}");
        assert!(said.contains("Nothing is sent.\n"), "{said}");
    }
}

#[test]
fn what_is_no_address_is_asked_for_again() {
    let (said, happened) = by_alice(
        0,
        &["1", "", "bob", "bob@example.com, c\u{202e}", "\"a,b\"@example.com", "a\x1b", "", ".", "y"],
    );
    assert!(
        said.contains("To: Say one address, or several with commas between them.\nTo: 'bob' is no address"),
        "{said}"
    );
    assert!(said.contains("'c\\u{202e}' is no address"), "{said}");
    assert!(said.contains("Subject: A subject has no control characters"), "{said}");
    assert_eq!(happened, [" to \"a,b\"@example.com: \"\""]);
}

#[test]
fn a_text_that_is_too_large_is_not_sent_and_its_rest_is_no_command() {
    let large = "x".repeat(COMPOSED_TEXT_MAX);
    let (said, happened) = by_alice(1, &["1", "bob@example.com", "", &large, "2", ".", "3"]);
    assert!(said.contains("The text is larger than "), "{said}");
    assert_eq!(happened, [""; 0]);
}

#[test]
fn the_mailbox_is_listed_the_newest_last() {
    let (said, happened) = by_alice(3, &["2", "", "3"]);
    assert!(said.contains("\n1 mail\n2 mail\n3 mail\nNumber, d number, or Enter: "), "{said}");
    assert_eq!(happened, ["look", "leave"]);
    assert!(by_alice(0, &["2", "3"]).0.contains("There is no mail.\n"));
}

#[test]
fn many_mails_come_in_pages_from_the_newest_back() {
    let count = 2 * MENU_ROWS + 3;
    let (said, _) = by_alice(count, &["2", "p", "p", "p", "n", "n", "n", ""]);
    let pages: Vec<String> = said
        .lines()
        .filter(|line| line.contains(" p shows "))
        .map(|line| line.split(';').next().unwrap().to_owned())
        .collect();
    let page = |from: usize, to: usize| format!("{from} to {to} of {count}");
    let [first, second, third] =
        [page(1, MENU_ROWS), page(MENU_ROWS + 1, 2 * MENU_ROWS), page(2 * MENU_ROWS + 1, count)];
    assert_eq!(pages, [&third, &second, &first, &second, &third].map(String::clone));
    assert_eq!(said.matches("There are no more.").count(), 2);
}

#[test]
fn a_number_reads_and_d_removes_after_a_question() {
    let (said, happened) =
        by_alice(3, &["2", "1", "d 3", "", "d 3", "y", "3", "l", "d 9", "0", "what", "", "2", "3", "", "3"]);
    assert!(said.contains("\nthe text of 1\n\n"), "{said}");
    assert_eq!(happened, ["look", "remove 3", "leave", "look", "leave"]);
    assert!(said.contains("3 mail\nRemove it? [y/N] Removed 3.\n"), "{said}");
    assert!(said.contains("\n1 mail\n2 mail\nNumber"), "{said}");
    assert_eq!(said.matches("there is no mail 3.").count(), 2, "{said}");
    assert!(said.contains("there is no mail 9.") && said.contains("there is no mail 0."), "{said}");
    assert!(said.contains(HELP), "{said}");
}

#[test]
fn a_mail_that_is_gone_is_told_and_the_others_can_be_read() {
    let (said, happened) = by_alice(3, &["2", "2", "3", ""]);
    assert!(said.contains("somebody took it away.\n") && said.contains("the text of 3"), "{said}");
    assert_eq!(happened, ["look", "leave"]);
}

#[test]
fn whoever_leaves_in_the_midst_of_the_mailbox_has_removed_what_was_removed() {
    for rest in [&["^C"][..], &[]] {
        let (_, happened) = by_alice(3, &[&["2", "d 1", "y"], rest].concat());
        assert_eq!(happened, ["look", "remove 1", "leave"]);
    }
}

#[test]
fn what_is_not_known_is_answered_with_one_line_of_help() {
    let (said, _) = by_alice(0, &["", "4", "3"]);
    assert_eq!(
        said.matches("Say 1 to compose a mail, 2 to view the mailbox, or 3 to exit.\n").count(),
        2,
        "{said}"
    );
}

#[test]
fn the_end_of_input_leaves_well_wherever_it_comes() {
    assert_eq!(played(None, 3, &[]).2, Ok(()));
    assert_eq!(played(Some("secret"), 3, &["alice@example.com"]).2, Ok(()));
    for lines in [&[][..], &["2"], &["2", "1"], &["1"], &["1", "bob@example.com"]] {
        by_alice(3, lines);
    }
}

#[test]
fn a_wrong_password_may_be_mended_twice() {
    let wrong = ["alice@example.com", "x"];
    let right = ["alice@example.com", "secret", "3"];
    let (said, _, end) = played(Some("secret"), 0, &[&wrong[..], &wrong, &right].concat());
    assert_eq!((end, said.matches("wrong password.\n").count()), (Ok(()), 2), "{said}");
    let (said, _, end) = played(Some("secret"), 0, &[&wrong[..], &wrong, &wrong, &right].concat());
    assert_eq!(end, Err(Exit::Permission), "{said}");
}

#[test]
fn an_address_that_nobody_has_may_be_mended() {
    let (said, _, end) = played(None, 0, &["", "alice", "nobody@example.com", "alice@example.com", "3"]);
    assert_eq!(end, Ok(()), "{said}");
    assert!(said.contains("'alice' is no address") && said.contains("there is no nobody."), "{said}");
    let nobody = ["nobody@example.com"; 3];
    assert_eq!(played(None, 0, &nobody).2, Err(Exit::NoUser));
}

#[test]
fn ctrl_c_at_a_question_about_a_mail_goes_back_to_the_others() {
    let (said, happened) = by_alice(3, &["2", "d 1", "^C", "3", "^C", "3"]);
    assert!(said.contains("the text of 3"), "{said}");
    assert_eq!(happened, ["look", "leave"]);
}
