//! Accounts, asked of the real program: what `fastsmtp user` does to the accounts file, what it says, and what it never
//! shows. Each password costs the debug build some seconds, so few are made.

mod common;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use common::server::{has_tool, wait_until};
use common::terminal::Terminal;
use fastsmtp::accounts::{self, Account, Accounts, HashMemory, PasswordHash};
use fastsmtp::smtp::Address;
use fastsmtp::wire::sasl::ScramKeys;

const PROGRAM: &str = env!("CARGO_BIN_EXE_fastsmtp");

const USAGE: i32 = 2;
const DATA: i32 = 65;
const NO_USER: i32 = 67;
const UNAVAILABLE: i32 = 69;
const CANNOT_CREATE: i32 = 73;

/// A directory with the data directory `mail` in it, which is not there yet.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    /// One with accounts that a password of nobody's is kept for, made without the program.
    fn with(addresses: &[&str]) -> Place {
        let place = Place::new();
        fs::create_dir(place.data()).unwrap();
        let accounts = addresses.iter().map(|address| nobodys(address)).collect();
        fs::write(
            place.file(),
            Accounts::new(*b"a secret of thirty-two octets...", accounts).unwrap().to_toml(),
        )
        .unwrap();
        fs::set_permissions(place.file(), fs::Permissions::from_mode(0o600)).unwrap();
        place
    }

    fn data(&self) -> PathBuf {
        self.0.path().join("mail")
    }

    fn file(&self) -> PathBuf {
        self.data().join("accounts.toml")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.file()).unwrap()
    }

    fn accounts(&self) -> Accounts {
        accounts::read(&self.file()).unwrap().unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .env_clear()
            .current_dir(self.0.path())
            .args(["user", "--data"])
            .arg(self.data())
            .args(arguments);
        command
    }

    fn start(&self, arguments: &[&str], input: &str) -> Child {
        let mut command = self.command(arguments);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // Who does not want a password may be gone already.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child
    }

    fn run(&self, arguments: &[&str], input: &str) -> Output {
        self.start(arguments, input).wait_with_output().unwrap()
    }

    /// What it prints when it must succeed.
    #[track_caller]
    fn ok(&self, arguments: &[&str], input: &str) -> String {
        let output = self.run(arguments, input);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The one sentence of a run that must fail with `code`.
    #[track_caller]
    fn fails(&self, code: i32, arguments: &[&str], input: &str) -> String {
        let output = self.run(arguments, input);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{error}");
        assert_eq!(output.stdout, b"");
        error.strip_prefix("fastsmtp: ").unwrap_or(&error).trim_end().to_owned()
    }
}

/// An account whose password nobody knows, made without computing anything.
fn nobodys(address: &str) -> Account {
    let hash =
        "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    Account {
        address: parsed(address),
        hash: PasswordHash::parse(hash).unwrap(),
        scram: ScramKeys { iterations: 600_000, salt: vec![1; 16], stored_key: [2; 32], server_key: [3; 32] },
        aliases: Vec::new(),
        catch_all: Vec::new(),
        quota: None,
    }
}

fn parsed(text: &str) -> Address {
    Address::parse(text.as_bytes()).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn an_account_is_added_listed_changed_given_a_password_and_removed() {
    let place = Place::new();
    let added = place.ok(&["add", "alice@example.com", "--alias", "sales@example.com"], "first pass\r\n");
    assert!(added.starts_with("added alice@example.com; its mailbox is "), "{added}");
    assert!(
        added.contains("mail/mailboxes/example.com/alice\n") && added.contains("the first account"),
        "{added}"
    );
    assert_eq!((mode(&place.data()), mode(&place.file())), (0o700, 0o600));
    assert!(!place.text().contains("first pass"));
    let login = |password| {
        place.accounts().login("alice@example.com").run(password, &mut HashMemory::default()).is_some()
    };
    assert!(login("first pass") && !login("first pass\r"));

    let set =
        ["set", "alice@example.com", "--alias", "info@example.com", "--alias", "a@exämple.de", "--catch-all"];
    place.ok(&[&set[..], &["Example.ORG", "--quota", "1GiB"]].concat(), "");
    let list = place.ok(&["list"], "");
    let expected = "ADDRESS            QUOTA  CATCH-ALL    ALIASES\n\
                    alice@example.com  1GiB   example.org  info@example.com, a@exämple.de\n1 account in ";
    assert!(list.starts_with(expected), "{list}");
    let json: serde_json::Value = serde_json::from_str(&place.ok(&["list", "--json"], "")).unwrap();
    let account = serde_json::json!({
        "address": "alice@example.com", "aliases": ["info@example.com", "a@exämple.de"], "catch_all": ["example.org"],
        "quota": 1 << 30,
    });
    assert_eq!(json, serde_json::json!({ "accounts": [account] }));

    let changed = place.ok(&["password", "ALICE@example.com"], "second pass");
    assert_eq!(changed, "ALICE@example.com has a new password\n");
    assert!(login("second pass") && !login("first pass"));
    assert_eq!(place.accounts().iter().next().unwrap().aliases.len(), 2, "a password changes nothing else");
    place.ok(&["set", "alice@example.com", "--no-alias", "--no-catch-all", "--no-quota"], "");
    assert!(place.ok(&["list"], "").contains("\nalice@example.com  -      -          -\n"));

    fs::create_dir_all(place.data().join("mailboxes/example.com/alice")).unwrap();
    let output = place.run(&["remove", "Alice@Example.com"], "");
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.starts_with("removed alice@example.com; its mailbox stays: "), "{told}");
    assert!(told.ends_with("mail/mailboxes/example.com/alice\n"), "{told}");
    let warning = String::from_utf8(output.stderr).unwrap();
    let meaning = format!(
        "fastsmtp: warning: no account is left, but the accounts file is: from now on mail is refused (550) for every \
         address but postmaster's; to take mail for every address again, remove {} and start the server anew\n",
        place.file().display()
    );
    assert_eq!(warning, meaning);
    assert!(place.data().join("mailboxes/example.com/alice").is_dir());
    assert!(place.accounts().is_empty());
}

#[test]
fn what_cannot_be_done_is_said_with_its_mend_and_changes_nothing() {
    let place = Place::with(&["alice@example.com", "bob@example.com"]);
    place.ok(&["set", "bob@example.com", "--alias", "sales@example.com", "--catch-all", "example.com"], "");
    let before = place.text();
    let file = place.file().display().to_string();
    let exists = "alice@example.com exists already; 'fastsmtp user set' changes it, 'fastsmtp user password' its password";
    assert_eq!(place.fails(UNAVAILABLE, &["add", "ALICE@example.com"], "x"), exists);
    let taken = "the alias sales@example.com is taken by bob@example.com; nothing was changed";
    assert_eq!(
        place.fails(UNAVAILABLE, &["set", "alice@example.com", "--alias", "sales@example.com"], ""),
        taken
    );
    let taken = "the catch-all of example.com is taken by bob@example.com; nothing was changed";
    assert_eq!(
        place.fails(UNAVAILABLE, &["set", "alice@example.com", "--catch-all", "example.com"], ""),
        taken
    );
    for (address, mend) in [
        ("alcie@example.com", "did you mean alice@example.com?"),
        ("sales@example.com", "it leads to bob@example.com"),
        ("somebody.else@example.org", "'fastsmtp user list' lists all"),
    ] {
        let sentence = format!("no account {address} in {file}; {mend}");
        assert_eq!(place.fails(NO_USER, &["remove", address], ""), sentence);
        assert_eq!(place.fails(NO_USER, &["password", address], "x"), sentence);
        assert_eq!(place.fails(NO_USER, &["set", address, "--no-quota"], ""), sentence);
    }
    let sentence = "'alice' has no domain; say the whole address, like alice@example.com";
    assert_eq!(place.fails(USAGE, &["add", "alice"], "x"), sentence);
    for (arguments, part) in [
        (&["add", "a b@example.com"][..], "'a b@example.com' is not an address"),
        (&["add", "carol@example.com", "--alias", "x"], "--alias: 'x' is not an address"),
        (&["add", "carol@example.com", "--catch-all", "a b"], "--catch-all: 'a b' is not a domain"),
        (&["add", "carol@example.com", "--quota", "0"], "--quota: 0 leaves no room for mail"),
        (&["set", "alice@example.com"], "required arguments were not provided"),
        (&["set", "alice@example.com", "--quota", "1", "--no-quota"], "cannot be used with"),
    ] {
        let error = place.fails(USAGE, arguments, "x");
        assert!(error.contains(part), "{arguments:?}: {error}");
    }
    assert_eq!(place.text(), before);
}

#[test]
fn a_password_is_never_an_argument_and_one_that_is_none_is_refused() {
    let place = Place::with(&["alice@example.com"]);
    let before = place.text();
    place.fails(USAGE, &["add", "bob@example.com", "secret"], "x");
    place.fails(USAGE, &["add", "bob@example.com", "--password", "secret"], "x");
    place.fails(USAGE, &["password", "alice@example.com", "secret"], "x");
    for (input, part) in [
        ("", "the password is empty"),
        ("\n", "the password is empty"),
        ("one\ntwo\n", "more than one line"),
        ("a\tb", "control characters"),
        (&"x".repeat(256), "longer than 255 octets"),
        (&"x".repeat(100_000), "longer than 255 octets"),
    ] {
        for arguments in [["add", "bob@example.com"], ["password", "alice@example.com"]] {
            let sentence = place.fails(DATA, &arguments, input);
            assert!(sentence.contains(part), "{part}: {sentence}");
        }
    }
    assert_eq!(place.text(), before);
}

#[test]
fn ctrl_c_at_the_password_ends_it_and_leaves_the_terminal_as_it_was() {
    if !has_tool("tmux") {
        return;
    }
    let place = Place::with(&["alice@example.com"]);
    let before = place.text();
    let mut command = Command::new("sh");
    let line = r#"tty > "$2"; "$0" user --data "$1" password alice@example.com; echo "code $?"; stty -a"#;
    let tty = place.0.path().join("tty");
    command.args(["-c", line, PROGRAM]).args([&place.data(), &tty]);
    let terminal = Terminal::start(&command);
    terminal.wait_for("Password for alice@example.com:");
    let tty = fs::read_to_string(tty).unwrap();
    wait_until("the echo is off", || {
        let output = Command::new("stty").args(["-a", "-F", tty.trim_end()]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).contains(" -echo ")
    });
    terminal.type_text("half of i");
    terminal.press(&["C-c"]);
    let screen = terminal.wait_for(" icanon ");
    assert!(screen.contains("fastsmtp: interrupted; nothing was changed\ncode 130\n"), "{screen}");
    assert!(screen.contains("\nisig icanon ") && screen.contains(" echo "), "{screen}");
    assert_eq!(terminal.end(), 0);
    assert_eq!(place.text(), before);
}

/// Types the answers at the prompts, each when the echo is off, and prints all that the terminal showed.
const TYPIST: &str = r#"
import os, pty, sys, termios, time
answers = sys.argv[1].split(",")
pid, master = pty.fork()
if pid == 0:
    os.execv(sys.argv[2], sys.argv[2:])
shown = b""
prompts = [b"Password for alice@example.com: ", b"Again: "]
try:
    while True:
        piece = os.read(master, 4096)
        if not piece:
            break
        shown += piece
        if prompts and shown.endswith(prompts[0]):
            while termios.tcgetattr(master)[3] & termios.ECHO:
                time.sleep(0.005)
            os.write(master, answers.pop(0).encode() + b"\n")
            prompts.pop(0)
except OSError:
    pass
status = os.waitpid(pid, 0)[1]
sys.stdout.write(shown.decode())
sys.exit(os.waitstatus_to_exitcode(status))
"#;

fn typed(place: &Place, answers: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new("python3");
    command.args(["-c", TYPIST, answers, PROGRAM, "user", "--data"]).arg(place.data()).args(arguments);
    let output = command.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn a_terminal_is_asked_twice_and_shows_nothing_of_the_password() {
    let place = Place::new();
    let (code, shown) = typed(&place, "hidden pass,hidden pass", &["add", "alice@example.com"]);
    assert_eq!(code, Some(0), "{shown}");
    assert!(!shown.contains("hidden") && shown.contains("added alice@example.com"), "{shown}");
    assert!(
        place.accounts().login("alice@example.com").run("hidden pass", &mut HashMemory::default()).is_some()
    );
    let before = place.text();
    let (code, shown) = typed(&place, "hidden pass,hidden pas", &["password", "alice@example.com"]);
    assert_eq!(code, Some(DATA), "{shown}");
    assert!(!shown.contains("hidden") && shown.contains("the two passwords differ"), "{shown}");
    assert_eq!(place.text(), before);
}

#[test]
fn changes_at_the_same_time_lose_nothing() {
    let names: Vec<String> = (0..14).map(|n| format!("user{n}@example.com")).collect();
    let place = Place::with(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let change = |n: usize| {
        let alias = format!("alias{n}@example.com");
        match names.get(n) {
            Some(address) => place.start(&["set", address, "--alias", &alias], ""),
            None => place.start(&["add", &format!("user{n}@example.com"), "--alias", &alias], "secret"),
        }
    };
    let children: Vec<Child> = (0..16).map(change).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let accounts = place.accounts();
    assert_eq!(accounts.iter().len(), 16);
    for n in 0..16 {
        let account = accounts.recipient(&parsed(&format!("alias{n}@example.com"))).unwrap();
        assert_eq!(account.address.to_string(), format!("user{n}@example.com"));
    }
}

#[test]
fn what_a_crash_left_before_the_rename_harms_nothing() {
    let place = Place::with(&["alice@example.com", "bob@example.com"]);
    let left = place.data().join("accounts.toml.new");
    fs::write(&left, "secret = \"half a f").unwrap();
    assert!(place.ok(&["list"], "").contains("2 accounts in "));
    place.ok(&["remove", "bob@example.com"], "");
    assert!(!left.exists());
    assert_eq!(place.accounts().iter().len(), 1);
}

#[test]
fn a_file_broken_by_hand_is_refused_with_its_line_and_left_alone() {
    let place = Place::with(&["alice@example.com"]);
    let file = place.file().display().to_string();
    let good = place.text();
    for (from, to, place_of) in [
        ("alice@example.com", "alice", ":7: 'alice' is not an address"),
        ("\npassword", "\npasword", ":8: unknown key 'pasword'"),
        ("$600000:", "$4096:", ":9: scram: 4096 iterations are out of range"),
        ("secret = \"", "secret = ", ":4: not TOML"),
    ] {
        let text = good.replacen(from, to, 1);
        fs::write(place.file(), &text).unwrap();
        for arguments in [&["list"][..], &["remove", "alice@example.com"], &["add", "bob@example.com"]] {
            let sentence = place.fails(DATA, arguments, "x");
            assert!(sentence.starts_with(&format!("{file}{place_of}")), "{sentence}");
        }
        assert_eq!(place.text(), text);
    }
}

#[test]
fn a_file_that_others_read_is_its_owners_and_groups_after_a_change_and_a_list_warns_before() {
    let place = Place::with(&["alice@example.com"]);
    fs::set_permissions(place.file(), fs::Permissions::from_mode(0o644)).unwrap();
    let output = place.run(&["list"], "");
    assert!(output.status.success());
    let warning = String::from_utf8(output.stderr).unwrap();
    assert!(warning.contains("chmod g-wx,o="), "{warning}");
    let inode = fs::metadata(place.file()).unwrap().ino();
    place.ok(&["set", "alice@example.com", "--quota", "1GiB"], "");
    assert_eq!(mode(&place.file()), 0o640);
    assert_ne!(fs::metadata(place.file()).unwrap().ino(), inode, "replaced, not written over");
}

#[test]
fn the_file_is_found_by_flag_variable_and_configuration() {
    let place = Place::with(&["alice@example.com"]);
    let elsewhere = place.0.path().join("users.toml");
    fs::rename(place.file(), &elsewhere).unwrap();
    fs::write(place.0.path().join("fastsmtp.toml"), "accounts = \"users.toml\"\n").unwrap();
    let counted = |command: &mut Command| {
        let output = command.output().unwrap();
        String::from_utf8(output.stdout).unwrap().lines().last().unwrap().to_owned()
    };
    assert!(counted(&mut place.command(&["list"])).starts_with("0 accounts in "));
    let expected = "1 account in users.toml";
    assert_eq!(counted(&mut place.command(&["list", "--accounts", "users.toml"])), expected);
    assert_eq!(counted(place.command(&["list"]).env("FASTSMTP_ACCOUNTS", "users.toml")), expected);
    assert_eq!(counted(&mut place.command(&["list", "--config", "fastsmtp.toml"])), expected);
    let sentence =
        place.fails(CANNOT_CREATE, &["add", "bob@example.com", "--accounts", "no/users.toml"], "x");
    assert_eq!(sentence, "no: there is no such directory; make it first");
}

#[test]
fn a_domain_that_is_not_local_is_warned_of() {
    let place = Place::with(&["alice@example.com"]);
    let mut command = place.command(&["set", "alice@example.com", "--catch-all", "example.org"]);
    let output = command.env("FASTSMTP_LOCAL_DOMAIN", "example.com").output().unwrap();
    assert!(output.status.success());
    let warning = "fastsmtp: warning: example.org is not among the local domains, example.com; add it to local-domain\n";
    assert_eq!(String::from_utf8_lossy(&output.stderr), warning);
    let error = place.command(&["add", "bob"]).env("FASTSMTP_LOCAL_DOMAIN", "example.org").output().unwrap();
    assert!(String::from_utf8_lossy(&error.stderr).contains("like bob@example.org"));
}

#[test]
fn asking_about_accounts_that_are_not_there_makes_nothing() {
    let place = Place::new();
    assert!(place.ok(&["list"], "").starts_with("0 accounts in "));
    place.fails(NO_USER, &["remove", "alice@example.com"], "");
    place.fails(NO_USER, &["password", "alice@example.com"], "x");
    assert!(!place.data().exists());
}
