use super::*;
use crate::disk::random_octets;
use crate::wire::sasl::{client_key, salted_password, stored_key};
use proptest::prelude::*;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;

const SECRET: Key = *b"a secret of thirty-two octets...";

/// An account whose password nobody knows, made without computing anything.
fn account(address: &str, aliases: &[&str], catch_all: &[&str]) -> Account {
    Account {
        address: super::address(address).unwrap(),
        hash: PasswordHash::nobodys(),
        scram: keys(),
        aliases: aliases.iter().map(|alias| super::address(alias).unwrap()).collect(),
        catch_all: catch_all.iter().map(|domain| super::domain(domain).unwrap()).collect(),
        quota: None,
    }
}

fn keys() -> ScramKeys {
    ScramKeys {
        iterations: ACCOUNT_SCRAM_ITERATIONS,
        salt: vec![1; 16],
        stored_key: [2; 32],
        server_key: [3; 32],
    }
}

fn some() -> Accounts {
    let accounts = vec![
        account("alice@example.com", &["sales@example.com", "a.smith@exämple.de"], &[]),
        account("Bob@Example.COM", &["list+all@example.com"], &["example.com"]),
        account("\"john doe\"@example.com", &[], &[]),
        account("jörg@example.org", &["c+d@example.org"], &[]),
    ];
    Accounts::new(SECRET, accounts).unwrap()
}

fn parsed(text: &str) -> Address {
    Address::parse(text.as_bytes()).unwrap()
}

/// The address of whoever gets mail for it.
fn recipient(accounts: &Accounts, address: &str) -> Option<String> {
    accounts.recipient(&parsed(address)).map(|account| account.address.to_string())
}

#[test]
fn without_accounts_nobody_is_known() {
    let none = Accounts::default();
    assert!(none.is_empty() && !none.is_kept());
    assert!(Accounts::new([0; 32], Vec::new()).unwrap().is_kept(), "it is the file that counts");
    assert_eq!(recipient(&none, "alice@example.com"), None);
    assert!(!none.is_known(&parsed("alice@example.com")) && !none.has_domain("example.com"));
    assert_eq!(none.scram_keys("alice@example.com").1, None);
}

#[test]
fn mail_goes_to_the_account_of_the_address_the_alias_the_tag_or_the_catch_all() {
    let accounts = some();
    for (address, expected) in [
        ("alice@example.com", "alice@example.com"),
        ("ALICE@EXAMPLE.com", "alice@example.com"),
        ("alice+tag@example.com", "alice@example.com"),
        ("alice+a+b@example.com", "alice@example.com"),
        ("sales@example.com", "alice@example.com"),
        ("Sales+x@example.com", "alice@example.com"),
        ("a.smith@xn--exmple-cua.de", "alice@example.com"),
        ("a.smith@EXÄMPLE.de", "alice@example.com"),
        ("\"alice\"@example.com", "alice@example.com"),
        ("bob@example.com", "Bob@Example.COM"),
        ("list+all@example.com", "Bob@Example.COM"),
        ("nobody@example.com", "Bob@Example.COM"),
        ("+tag@example.com", "Bob@Example.COM"),
        ("\"john doe\"@example.com", "\"john doe\"@example.com"),
        ("\"John Doe+x\"@example.com", "\"john doe\"@example.com"),
        ("jo\u{308}rg@example.org", "jörg@example.org"),
        ("c+d@example.org", "jörg@example.org"),
    ] {
        assert_eq!(recipient(&accounts, address).as_deref(), Some(expected), "{address}");
    }
    for address in
        ["nobody@example.org", "c@example.org", "c+x@example.org", "alice@other.example", "+jörg@example.org"]
    {
        assert_eq!(recipient(&accounts, address), None, "{address}");
    }
}

#[test]
fn a_sender_is_known_by_its_names_and_not_by_a_catch_all() {
    let accounts = some();
    let may = |account: &str, sender: &str| accounts.may_send_as(account, &parsed(sender));
    for sender in ["alice@example.com", "sales@example.com", "alice+x@EXAMPLE.com", "a.smith+y@exämple.de"] {
        assert!(may("Alice@example.com", sender) && accounts.is_known(&parsed(sender)), "{sender}");
    }
    assert!(!may("alice@example.com", "bob@example.com"));
    assert!(!may("bob@example.com", "alice+bob@example.com"));
    assert!(!may("bob@example.com", "nobody@example.com"), "a catch-all makes nobody");
    assert!(!accounts.is_known(&parsed("nobody@example.com")));
    assert!(!may("sales@example.com", "sales@example.com"), "an alias is no account");
    assert!(!may("nobody@example.com", "nobody@example.com"));
}

#[test]
fn the_domains_are_those_of_addresses_aliases_and_catch_alls() {
    let accounts =
        Accounts::new(SECRET, vec![account("a@B.example", &["x@exämple.de"], &["C.example"])]).unwrap();
    assert_eq!(accounts.domains().collect::<Vec<_>>(), ["b.example", "c.example", "xn--exmple-cua.de"]);
    assert!(accounts.has_domain("c.example") && !accounts.has_domain("example"));
}

#[test]
fn nothing_has_two_owners() {
    let clash = |accounts: &[Account]| Accounts::new(SECRET, accounts.to_vec()).unwrap_err().to_string();
    let alice = account("alice@example.com", &["sales@example.com"], &["example.com"]);
    let bob = |aliases: &[&str], catch_all: &[&str]| account("bob@example.com", aliases, catch_all);
    for (second, sentence) in [
        (account("ALICE@example.com", &[], &[]), "ALICE@example.com is taken by alice@example.com"),
        (account("sales@Example.com", &[], &[]), "sales@Example.com is taken by alice@example.com"),
        (bob(&["alice@example.com"], &[]), "the alias alice@example.com is taken by alice@example.com"),
        (
            bob(&["x@y", "SALES@example.com"], &[]),
            "the alias SALES@example.com is taken by alice@example.com",
        ),
        (bob(&["bob@example.com"], &[]), "the alias bob@example.com is taken by bob@example.com"),
        (bob(&[], &["Example.com"]), "the catch-all of example.com is taken by alice@example.com"),
    ] {
        assert_eq!(clash(&[alice.clone(), second]), sentence);
    }
}

#[test]
fn accounts_are_added_replaced_and_removed_by_their_address() {
    let accounts = some().with(account("carol@example.com", &[], &[])).unwrap();
    assert_eq!(accounts.iter().len(), 5);
    let accounts = accounts.with(account("CAROL@example.com", &["c@example.com"], &[])).unwrap();
    assert_eq!(accounts.iter().len(), 5);
    assert!(accounts.is_known(&parsed("c@example.com")));
    let accounts = accounts.without(&parsed("carol@EXAMPLE.com")).without(&parsed("nobody@example.com"));
    assert_eq!(accounts.to_toml(), some().to_toml());
    assert!(accounts.clone().with(account("sales@example.com", &[], &[])).is_err());
    let clash = accounts.with(account("alice@example.com", &["list+all@example.com"], &[])).unwrap_err();
    let sentence = "the alias list+all@example.com is taken by Bob@Example.COM";
    assert_eq!(clash.to_string(), sentence, "who had it first has it, wherever it stands");
}

#[test]
fn the_right_password_of_an_account_is_right_by_all_mechanisms_and_no_other_is() {
    let address = super::address("jörg@exämple.de").unwrap();
    let made = Account::new(address, "I\u{00AD}X pass\u{2168}", Salts::random()).unwrap();
    let accounts = Accounts::new(SECRET, vec![made]).unwrap();
    let canonical = "jörg@exämple.de";
    let right = |user: &str, password: &str| accounts.login(user).run(password, &mut HashMemory::default());
    for user in [canonical, "JöRG@xn--exmple-cua.de", "jo\u{308}rg@EXÄMPLE.de", "\"jörg\"@exämple.de"] {
        assert_eq!(right(user, "IX passIX").as_deref(), Some(canonical), "{user}");
    }
    assert_eq!(right(canonical, "I\u{00AD}X pass\u{2168}").as_deref(), Some(canonical));
    for (user, password) in [
        (canonical, "ix passix"),
        (canonical, ""),
        (canonical, "a\u{E000}"),
        ("jörg", "IX passIX"),
        ("", "IX passIX"),
    ] {
        assert_eq!(right(user, password), None, "{user} {password}");
    }
    let (keys, user) = accounts.scram_keys("JöRG@exämple.de");
    assert_eq!((user.as_deref(), keys.iterations), (Some(canonical), ACCOUNT_SCRAM_ITERATIONS));
    let salted = salted_password("IX passIX", &keys.salt, keys.iterations);
    assert_eq!(keys.stored_key, stored_key(&client_key(&salted)));
}

#[test]
fn a_user_that_does_not_exist_looks_like_one_that_does() {
    let mut dear = account("dear@example.com", &[], &[]);
    dear.hash = PasswordHash::parse(&dear.hash.as_str().replace("m=19456,t=2", "m=65536,t=3")).unwrap();
    dear.scram.iterations = 700_000;
    dear.scram.salt = vec![1; 40];
    let accounts = Accounts::new(SECRET, vec![account("cheap@example.com", &[], &[]), dear]).unwrap();
    let costs: std::collections::HashSet<_> = (0..100)
        .map(|n| {
            let user = format!("user{n}@example.com");
            let (keys, account) = accounts.scram_keys(&user);
            assert_eq!(account, None);
            assert_eq!(
                keys,
                accounts.scram_keys(&user.to_uppercase()).0,
                "the same each time, in each spelling"
            );
            (keys.iterations, keys.salt.len())
        })
        .collect();
    assert_eq!(costs, [(600_000, 16), (700_000, 40)].into());
    let salt = |accounts: &Accounts, user: &str| accounts.scram_keys(user).0.salt;
    assert_ne!(salt(&accounts, "a@b"), salt(&accounts, "b@b"));
    let elsewhere = Accounts::new([8; 32], accounts.iter().cloned().collect()).unwrap();
    assert_ne!(salt(&accounts, "a@b"), salt(&elsewhere, "a@b"));
}

/// The second half of long salts once was the first again, which no user's is.
#[test]
fn a_strangers_salt_does_not_repeat_itself() {
    let mut long = account("alice@example.com", &[], &[]);
    long.scram.salt = vec![1; 64];
    let accounts = Accounts::new(SECRET, vec![long]).unwrap();
    let salt = accounts.scram_keys("nobody@example.com").0.salt;
    assert_eq!(salt.len(), 64);
    assert_ne!(salt[..32], salt[32..]);
}

/// Each stranger once took another's likeness whenever an account was added, and so was seen to be one.
#[test]
fn a_stranger_keeps_the_likeness_when_accounts_come_and_go() {
    let like = |accounts: &Accounts, n: u32| {
        let user = user_key(&format!("stranger{n}@example.com"));
        accounts.accounts[accounts.likeness(&user).unwrap()].address.to_string()
    };
    let addresses = (0..20).map(|n| format!("user{n}@example.com"));
    let before =
        Accounts::new(SECRET, addresses.map(|address| account(&address, &[], &[])).collect()).unwrap();
    let after = before.clone().with(account("new@example.com", &[], &[])).unwrap();
    for n in 0..200 {
        let now = like(&after, n);
        assert!(now == like(&before, n) || now == "new@example.com", "{n}");
    }
    let gone = after.without(&parsed("user3@example.com"));
    for n in 0..200 {
        let then = like(&before, n);
        let now = like(&gone, n);
        assert!(now == then || now == "new@example.com" || then == "user3@example.com", "{n}");
    }
}

#[test]
fn an_alias_or_a_tag_is_no_login_name_and_no_password_makes_it_one() {
    let made = Account {
        hash: Account::new(parsed("a@b"), "secret", Salts::random()).unwrap().hash,
        ..account("a@b", &["x@b"], &["b"])
    };
    let accounts = Accounts::new(SECRET, vec![made]).unwrap();
    assert!(accounts.login("a@b").run("secret", &mut HashMemory::default()).is_some());
    for user in ["x@b", "a+t@b", "y@b", "a", "@b", "a@b ", "a@b\0"] {
        // The check is a@b's, and so is its hash: still it fails.
        assert_eq!(accounts.login(user).run("secret", &mut HashMemory::default()), None, "{user:?}");
        assert_eq!(accounts.scram_keys(user).1, None, "{user:?}");
    }
}

#[test]
fn what_cannot_be_a_password_is_refused() {
    let error = |password: &str| Account::new(parsed("a@b"), password, Salts::random()).unwrap_err();
    assert_eq!(error(""), PasswordError::Empty);
    assert_eq!(error(&"x".repeat(256)), PasswordError::TooLong);
    for password in ["a\0", "a\tb", "a\u{E000}", "\u{00AD}", "a\u{7f}"] {
        assert_eq!(error(password), PasswordError::Prohibited, "{password:?}");
    }
}

#[test]
fn a_hash_is_argon2id_of_bounded_cost() {
    let with =
        |from: &str, to: &str| PasswordHash::parse(&PasswordHash::nobodys().as_str().replace(from, to));
    for good in ["m=65536,t=3,p=4", "m=7168,t=5,p=1", "m=262144,t=4,p=1"] {
        assert!(with("m=19456,t=2,p=1", good).is_ok(), "{good}");
    }
    for bad in ["m=262145,t=3,p=1", "m=19456,t=1000,p=1", "m=8,t=1,p=1", "m=65536,t=3,p=17"] {
        assert_eq!(with("m=19456,t=2,p=1", bad), Err(HashError::Cost), "{bad}");
    }
    assert_eq!(with("argon2id", "argon2i"), Err(HashError::Algorithm));
    assert_eq!(with("v=19", "v=16"), Err(HashError::Algorithm));
    assert_eq!(PasswordHash::parse("secret"), Err(HashError::Malformed));
    assert_eq!(
        PasswordHash::parse("$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA"),
        Err(HashError::Malformed)
    );
}

#[test]
fn a_hash_that_argon2s_own_program_made_is_checked_at_its_own_cost() {
    let theirs = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
    let made = Account { hash: PasswordHash::parse(theirs).unwrap(), ..account("a@b", &[], &[]) };
    let accounts = Accounts::new(SECRET, vec![made]).unwrap();
    assert!(accounts.login("a@b").run("password", &mut HashMemory::default()).is_some());
    assert!(accounts.login("a@b").run("passwore", &mut HashMemory::default()).is_none());
}

#[test]
fn nothing_that_is_kept_of_a_password_is_shown_in_a_log() {
    let shown = format!("{:?} {:?}", some(), some().login("alice@example.com"));
    let scram = crate::wire::sasl::encode(&[2; 32]);
    assert!(!shown.contains("argon2id") && !shown.contains(&scram) && !shown.contains("2, 2, 2"), "{shown}");
}

/// What is wrong with an accounts file of one account, `changed` from a good one.
fn broken(from: &str, to: &str) -> String {
    let good =
        Accounts::new(SECRET, vec![account("alice@example.com", &["sales@example.com"], &["example.com"])]);
    let text = good.unwrap().to_toml();
    assert!(text.contains(from), "{from}");
    Accounts::parse(&text.replace(from, to)).unwrap_err().to_string()
}

#[test]
fn what_is_wrong_with_a_file_is_said_with_its_line() {
    let second = "[[account]]\naddress = \"ALICE@example.com\"\npassword = \"$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"\nscram =";
    for (from, to, start) in [
        ("secret = ", "#", "line 1: the secret is missing"),
        ("secret = \"YSBz", "secret = \"YSB", "line 4: secret: it is not 32 octets in base64"),
        (
            "YSBzZWNyZXQgb2YgdGhpcnR5LXR3byBvY3RldHMuLi4=",
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
            "line 4: secret: its octets are all the same, so everybody can guess it; 'openssl rand",
        ),
        ("[[account]]", "[account]", "line 6: account: takes [[account]] in front of each"),
        (
            "[[account]]",
            "user = 1\n[[account]]",
            "line 6: unknown key 'user'; above the accounts stands only secret",
        ),
        ("aliases", "alias", "line 10: unknown key 'alias'; an account has address,"),
        ("address", "#", "line 6: address is missing; an account has address,"),
        ("password", "#", "line 6: password is missing"),
        ("\"alice@example.com\"", "5", "line 7: address: takes one text, in quotes"),
        ("alice@example.com", "alice", "line 7: 'alice' is not an address"),
        ("\"alice@", "\"\\u0000@", "line 7: '\\0@example.com' is not an address"),
        (
            "$argon2id",
            "$argon2i",
            "line 8: password: it does not begin with $argon2id$v=19$; 'fastsmtp user password'",
        ),
        ("t=2", "t=900000", "line 8: password: its cost is out of range: m to 262144,"),
        ("SCRAM-SHA-256", "SCRAM-SHA-1", "line 9: scram: it is not SCRAM-SHA-256$<iterations>"),
        ("600000", "599999", "line 9: scram: 599999 iterations are out of range 600000 to 10000000"),
        ("600000", "+600000", "line 9: scram: it is not SCRAM-SHA-256$<iterations>"),
        ("[\"sales@example.com\"]", "\"sales@example.com\"", "line 10: aliases: takes a list of texts"),
        ("[\"sales@example.com\"]", "[5]", "line 10: aliases: takes a list of texts"),
        (
            "[\"sales@example.com\"]",
            "[\n\"x@y\",\n\"alice@example.com\"]",
            "line 12: the alias alice@example.com is taken by alice@example.com",
        ),
        ("[\"example.com\"]", "[\"a b\"]", "line 11: 'a b' is not a domain"),
        ("[\"example.com\"]\n", "[\"example.com\"]\nquota = 0", "line 12: quota: 0 leaves no room"),
        ("[\"example.com\"]\n", "[\"example.com\"]\nquota = \"x\"", "line 12: quota: 'x' is not a size"),
        ("[\"example.com\"]\n", "[\"example.com\"]\nquota = true", "line 12: quota: takes a size like"),
        ("[\"example.com\"]\n", "[\"example.com\"\n", "line 11: not TOML ("),
        ("address = ", "address = \"x@y\"\naddress = ", "line 8: not TOML ("),
    ] {
        let sentence = broken(from, to);
        assert!(sentence.starts_with(start) && !sentence.contains('\n'), "{from} -> {to}\n{sentence}");
    }
    let text = some().to_toml();
    let doubled = text.replacen(
        "[[account]]\naddress = \"Bob@Example.COM\"\n",
        &format!("{second} \"{}\"\n[[account]]\naddress = \"Bob@Example.COM\"\n", "x"),
        1,
    );
    assert!(Accounts::parse(&doubled).unwrap_err().to_string().contains("scram: it is not"), "{doubled}");
    let twice = text.replace("Bob@Example.COM", "ALICE@example.com");
    let line = 1 + twice.lines().position(|line| line.contains("ALICE")).unwrap();
    assert_eq!(
        Accounts::parse(&twice).unwrap_err().to_string(),
        format!("line {line}: ALICE@example.com is taken by alice@example.com; take it from one of them")
    );
}

#[test]
fn an_empty_file_is_broken_and_not_without_accounts() {
    assert!(Accounts::parse("").unwrap_err().to_string().starts_with("line 1: the secret is missing"));
}

prop_compose! {
    fn any_address()(local_part in "[ -~é]{1,12}", domain in prop::sample::select(vec!["example.com", "exämple.de", "[192.0.2.1]"])) -> Address {
        Address::new(&local_part, domain)
    }
}

prop_compose! {
    fn any_account()(
        address in any_address(),
        aliases in prop::collection::vec(any_address(), 0..3),
        catch_all in prop::collection::vec("[a-z]{1,3}\\.[a-z]{2}", 0..2),
        quota in prop::option::of(1u64..),
        iterations in ACCOUNT_SCRAM_ITERATIONS..=crate::limits::SCRAM_ITERATIONS_MAX,
        salt in prop::collection::vec(any::<u8>(), 8..=64),
        keys in any::<[Key; 2]>(),
    ) -> Account {
        let scram = ScramKeys { iterations, salt, stored_key: keys[0], server_key: keys[1] };
        Account { address, hash: PasswordHash::nobodys(), scram, aliases, catch_all, quota: quota.and_then(NonZeroU64::new) }
    }
}

fn any_secret() -> impl Strategy<Value = Key> {
    any::<Key>().prop_filter("nobody guesses it", |secret| secret.iter().any(|octet| *octet != secret[0]))
}

proptest! {
    #[test]
    fn what_is_written_is_read_as_the_same(secret in any_secret(), accounts in prop::collection::vec(any_account(), 0..6)) {
        let mut written = Accounts::new(secret, Vec::new()).unwrap();
        for account in accounts {
            if let Ok(more) = written.clone().with(account) {
                written = more;
            }
        }
        let read = Accounts::parse(&written.to_toml()).unwrap();
        prop_assert_eq!(read.secret, Some(secret));
        prop_assert_eq!(read.accounts, written.accounts);
    }

    #[test]
    fn any_text_is_judged_without_a_panic(text in "(secret|account|\\[\\[account\\]\\]|=|\"|\\[|\\]|\n|[ -~])*") {
        let _ = Accounts::parse(&text);
    }

    #[test]
    fn any_name_is_judged_without_a_panic(user in ".*") {
        let accounts = some();
        let _ = accounts.login(&user);
        let (keys, account) = accounts.scram_keys(&user);
        prop_assert_eq!(account.is_some(), keys == super::tests::keys());
    }
}

/// Writes a file as an editor would that renames.
fn put(path: &Path, text: &str) {
    let new = path.with_extension("editor");
    fs::write(&new, text).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(new, path).unwrap();
}

fn looked(file: &mut AccountsFile) -> Option<Result<usize, String>> {
    file.look().map(|look| look.map(|accounts| accounts.iter().len()).map_err(|error| error.to_string()))
}

/// What a look tells of a change that stays for one look.
fn settled(file: &mut AccountsFile) -> Option<Result<usize, String>> {
    assert_eq!(looked(file), None, "perhaps somebody still writes");
    looked(file)
}

#[test]
fn a_look_tells_what_changed_and_only_once() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("accounts.toml");
    let mut file = AccountsFile::new(&path);
    assert_eq!(looked(&mut file), Some(Ok(0)), "no file is no accounts");
    assert_eq!(looked(&mut file), None);
    put(&path, &some().to_toml());
    assert_eq!(settled(&mut file), Some(Ok(4)));
    assert_eq!(looked(&mut file), None);
    assert_eq!(file.warning(), None);
    put(&path, "secret = 5");
    let broken = format!("{}:1: secret: takes one text, in quotes", path.display());
    assert_eq!(settled(&mut file), Some(Err(broken)));
    assert_eq!(looked(&mut file), None);
    put(&path, &some().without(&parsed("alice@example.com")).to_toml());
    assert_eq!(settled(&mut file), Some(Ok(3)));
}

/// A file that went missing once made every address a mailbox, for as long as nobody noticed.
#[test]
fn accounts_that_were_read_once_hold_when_the_file_is_gone() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("accounts.toml");
    put(&path, &some().to_toml());
    let mut file = AccountsFile::new(&path);
    assert_eq!(looked(&mut file), Some(Ok(4)));
    fs::remove_file(&path).unwrap();
    let gone = format!("{}: the accounts file is gone; put it back,", path.display());
    let is_told = |told: Option<Result<usize, String>>| told.unwrap().unwrap_err().starts_with(&gone);
    assert!(is_told(settled(&mut file)));
    assert_eq!(looked(&mut file), None, "once");
    file.insist();
    assert!(is_told(looked(&mut file)), "who insists opens nothing either");
    assert_eq!(looked(&mut file), None);
    put(&path, &some().to_toml());
    assert_eq!(settled(&mut file), Some(Ok(4)));
}

#[test]
fn a_file_that_is_gone_for_a_moment_is_not_gone() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("accounts.toml");
    put(&path, &some().to_toml());
    let mut file = AccountsFile::new(&path);
    assert_eq!(looked(&mut file), Some(Ok(4)));
    fs::rename(&path, path.with_extension("backup")).unwrap();
    assert_eq!(looked(&mut file), None);
    put(&path, &some().to_toml());
    assert_eq!(settled(&mut file), Some(Ok(4)));
}

/// Whose account stood behind the cut got no mail for a second, and who sent it a 550.
#[test]
fn a_file_that_is_being_written_in_place_is_not_read_half() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("accounts.toml");
    let text = some().to_toml();
    put(&path, &text);
    let mut file = AccountsFile::new(&path);
    assert_eq!(looked(&mut file), Some(Ok(4)));
    let half = text.rfind("\n[[account]]").unwrap();
    fs::write(&path, &text[..half]).unwrap();
    assert_eq!(looked(&mut file), None, "half of it is good TOML");
    fs::write(&path, &text).unwrap();
    assert_eq!(settled(&mut file), Some(Ok(4)));
}

#[test]
fn what_is_not_a_file_is_said_once_and_never_waited_for() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("accounts.toml");
    fs::create_dir(&path).unwrap();
    let mut file = AccountsFile::new(&path);
    let sentence = format!("{}: the accounts cannot be read: it is not a regular file", path.display());
    assert_eq!(looked(&mut file), Some(Err(sentence)));
    assert_eq!(looked(&mut file), None);
    fs::remove_dir(&path).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    assert_eq!(settled(&mut file), None, "still the same");
    put(&path, &some().to_toml());
    assert_eq!(settled(&mut file), Some(Ok(4)));
}

#[test]
fn a_link_is_followed_to_the_file_which_is_replaced_where_it_lies() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("etc")).unwrap();
    let (path, real) = (root.path().join("accounts.toml"), root.path().join("etc/real.toml"));
    put(&real, &some().to_toml());
    symlink("etc/real.toml", &path).unwrap();
    let mut file = AccountsFile::new(&path);
    assert_eq!(looked(&mut file), Some(Ok(4)));
    change(&path, |accounts| Ok::<_, FileError>(accounts.without(&parsed("alice@example.com")))).unwrap();
    assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
    assert_eq!(read(&real).unwrap().unwrap().iter().len(), 3);
    assert_eq!(settled(&mut file), Some(Ok(3)));
}

#[test]
fn a_file_that_others_may_read_is_warned_of() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("accounts.toml");
    put(&path, &some().to_toml());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let mut file = AccountsFile::new(&path);
    assert_eq!(looked(&mut file), Some(Ok(4)));
    assert!(file.warning().unwrap().ends_with(&format!("say 'chmod g-wx,o= {}'", path.display())));
    change(&path, Ok::<_, FileError>).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640, "the group reads on");
    assert_eq!(settled(&mut file), Some(Ok(4)));
    assert_eq!(file.warning(), None);
}

#[test]
fn a_change_makes_the_file_with_a_secret_of_its_own_and_keeps_it() {
    let root = tempfile::tempdir().unwrap();
    let [one, other] = ["one", "other"].map(|name| root.path().join(name));
    let add = |address: &str| {
        let account = account(address, &[], &[]);
        move |accounts: Accounts| Ok::<_, FileError>(accounts.with(account).unwrap())
    };
    change(&one, add("a@b")).unwrap();
    let secret = read(&one).unwrap().unwrap().secret;
    change(&one, add("c@b")).unwrap();
    change(&other, add("a@b")).unwrap();
    let again = read(&one).unwrap().unwrap();
    assert_eq!((again.secret, again.iter().len()), (secret, 2));
    assert_ne!(read(&other).unwrap().unwrap().secret, secret);
    assert_ne!(random_octets::<32>(), random_octets::<32>());
}

#[test]
fn what_root_makes_belongs_to_the_owner_of_the_directory_and_then_of_the_file() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("accounts.toml");
    if chown(root.path(), Some(4321), Some(4321)).is_err() {
        return; // only root can be in this situation
    }
    change(&path, Ok::<_, FileError>).unwrap();
    let owner = |path: &Path| fs::metadata(path).unwrap().uid();
    assert_eq!((owner(&path), owner(&root.path().join("accounts.toml.lock"))), (4321, 4321));
    chown(&path, Some(1234), None).unwrap();
    change(&path, Ok::<_, FileError>).unwrap();
    assert_eq!(owner(&path), 1234);
}

/// A file of root's that the server's group may read was its owner's alone after a change, and the server read it no more.
#[test]
fn owner_group_and_what_the_group_may_read_stay() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("accounts.toml");
    put(&path, &some().to_toml());
    if chown(&path, Some(0), Some(4321)).is_err() {
        return; // only root can be in this situation
    }
    for (mode, after) in [(0o640, 0o640), (0o600, 0o600), (0o666, 0o640), (0o444, 0o640)] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        change(&path, Ok::<_, FileError>).unwrap();
        let about = fs::metadata(&path).unwrap();
        assert_eq!((about.uid(), about.gid(), about.mode() & 0o7777), (0, 4321, after), "{mode:o}");
    }
}

/// The server's user can put any name into its directory; root must not give it the file behind that.
#[test]
fn root_gives_away_only_a_lock_that_is_one() {
    let root = tempfile::tempdir().unwrap();
    let [data, etc] = ["data", "etc"].map(|name| root.path().join(name));
    fs::create_dir(&data).unwrap();
    fs::create_dir(&etc).unwrap();
    if chown(&data, Some(4321), Some(4321)).is_err() {
        return; // only root can be in this situation
    }
    let owner = |path: &Path| fs::metadata(path).unwrap().uid();
    let (path, shadow) = (data.join("accounts.toml"), etc.join("shadow"));
    fs::write(&shadow, "").unwrap();
    fs::hard_link(&shadow, data.join("accounts.toml.lock")).unwrap();
    change(&path, Ok::<_, FileError>).unwrap();
    assert_eq!(owner(&shadow), 0);
    // A link leads to a file elsewhere; what is made beside that is not the link's owner's.
    fs::remove_file(data.join("accounts.toml.lock")).unwrap();
    fs::rename(&path, etc.join("accounts.toml")).unwrap();
    symlink(etc.join("accounts.toml"), &path).unwrap();
    change(&path, Ok::<_, FileError>).unwrap();
    assert!(!etc.join("accounts.toml.lock").exists());
    assert_eq!(owner(&data.join("accounts.toml.lock")), 4321);
    // A link in the lock's place is no lock, nor is a pipe.
    fs::remove_file(data.join("accounts.toml.lock")).unwrap();
    symlink(&shadow, data.join("accounts.toml.lock")).unwrap();
    assert!(change(&path, Ok::<_, FileError>).is_err());
    fs::remove_file(data.join("accounts.toml.lock")).unwrap();
    assert!(
        std::process::Command::new("mkfifo").arg(data.join("accounts.toml.lock")).status().unwrap().success()
    );
    assert!(change(&path, Ok::<_, FileError>).is_err());
}

#[test]
fn what_a_crash_left_harms_nothing_and_an_error_leaves_the_file() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("accounts.toml");
    put(&path, &some().to_toml());
    let new = root.path().join("accounts.toml.new");
    fs::write(&new, "half a fi").unwrap();
    assert_eq!(read(&path).unwrap().unwrap().iter().len(), 4);
    let before = fs::read(&path).unwrap();
    let refused = change(&path, |_| Err(FileError::TooLarge("x".into())));
    assert!(refused.is_err());
    assert_eq!(fs::read(&path).unwrap(), before);
    change(&path, |accounts| Ok::<_, FileError>(accounts.without(&parsed("alice@example.com")))).unwrap();
    assert!(!new.exists());
    assert_eq!(read(&path).unwrap().unwrap().iter().len(), 3);
    put(&path, "broken");
    let error = change(&path, Ok::<_, FileError>).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}:1: not TOML", path.display())), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"broken");
}

#[test]
fn a_file_that_is_no_text_is_refused_with_its_line() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("accounts.toml");
    fs::write(&path, b"secret = \"\"\n# \xff\n").unwrap();
    assert_eq!(read(&path).unwrap_err().to_string(), format!("{}:2: is not UTF-8 text", path.display()));
}
