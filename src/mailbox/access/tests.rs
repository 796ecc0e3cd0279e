use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::super::ROOT;
use super::*;
use crate::disk::{RealDisk, read_full_at};
use crate::smtp::Address;

/// A mailbox on a real disk, and another program that changes it at the worst moment.
struct Fixture {
    root: tempfile::TempDir,
    disk: RealDisk,
    mailbox: MailboxPath,
    /// How often a directory was read.
    lists: AtomicUsize,
    /// The end of the paths whose files the disk cannot look at, and why.
    broken: Option<(&'static str, ErrorKind)>,
    /// What the other program does before an operation: which, of which directory or file, and how.
    meanwhile: Mutex<Vec<Meanwhile>>,
}

struct Meanwhile {
    before: (&'static str, &'static str),
    act: Box<dyn Fn(&Path) + Send>,
}

impl Fixture {
    fn new() -> Fixture {
        let root = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(root.path(), &[ROOT]).unwrap();
        let mailbox = MailboxPath::of(&Address::new("a", "b"));
        for directory in ["tmp", "new", "cur"] {
            fs::create_dir_all(root.path().join(mailbox.as_str()).join(directory)).unwrap();
        }
        Fixture { root, disk, mailbox, lists: AtomicUsize::new(0), broken: None, meanwhile: Mutex::default() }
    }

    fn with(files: &[&str]) -> Fixture {
        let fixture = Fixture::new();
        for file in files {
            fs::write(fixture.path(file), file).unwrap();
        }
        fixture
    }

    fn path(&self, file: &str) -> PathBuf {
        self.root.path().join(self.mailbox.as_str()).join(file)
    }

    fn files(&self) -> Vec<String> {
        let mut files = Vec::new();
        for directory in ["new", "cur"] {
            let names = fs::read_dir(self.path(directory)).unwrap();
            files.extend(
                names.map(|entry| format!("{directory}/{}", entry.unwrap().file_name().to_str().unwrap())),
            );
        }
        files.sort();
        files
    }

    /// Once, before the next such operation on a path that ends so.
    fn meanwhile(&self, operation: &'static str, end: &'static str, act: impl Fn(&Path) + Send + 'static) {
        self.meanwhile.lock().unwrap().push(Meanwhile { before: (operation, end), act: Box::new(act) });
    }

    fn begin(&self, operation: &str, path: &Path) {
        let mut all = self.meanwhile.lock().unwrap();
        let is_it =
            |one: &Meanwhile| one.before.0 == operation && path.to_str().unwrap().ends_with(one.before.1);
        if let Some(at) = all.iter().position(is_it) {
            (all.remove(at).act)(&self.root.path().join(self.mailbox.as_str()));
        }
    }

    fn list(&self) -> Vec<Mail> {
        let mails = list(self, &self.mailbox).unwrap();
        assert!(self.meanwhile.lock().unwrap().is_empty(), "something was to happen meanwhile and did not");
        mails
    }

    fn names(&self) -> Vec<String> {
        self.list().iter().map(|mail| mail.name.to_string()).collect()
    }

    fn read(&self, mail: &Mail) -> io::Result<String> {
        let file = open(self, &self.mailbox, mail)?;
        let mut octets = vec![0; file.size()? as usize];
        read_full_at(&*file, &mut octets, 0)?;
        Ok(String::from_utf8(octets).unwrap())
    }
}

impl Disk for Fixture {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn File>> {
        self.begin("open", path);
        self.disk.open(path, how)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.begin("list", path);
        self.lists.fetch_add(1, Ordering::Relaxed);
        self.disk.list(path)
    }

    fn size_of(&self, path: &Path) -> io::Result<u64> {
        self.begin("size_of", path);
        if let Some((end, kind)) = self.broken
            && path.to_str().unwrap().ends_with(end)
        {
            return Err(kind.into());
        }
        self.disk.size_of(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.begin("remove", path);
        self.disk.remove(path)
    }

    fn move_to(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.begin("move_to", from);
        self.disk.move_to(from, to)
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        unreachable!("it would replace what has the name")
    }

    fn link(&self, _: &Path, _: &Path) -> io::Result<()> {
        unreachable!("no mail gets a second name")
    }

    fn create_dir(&self, _: &Path) -> io::Result<()> {
        unreachable!("a reader makes nothing")
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        unreachable!("the caller says when")
    }

    fn sync_all(&self) -> io::Result<()> {
        unreachable!("the caller says when")
    }

    fn random(&self) -> u64 {
        unreachable!("nothing here is random")
    }
}

fn remove(disk: &dyn Disk, mailbox: &MailboxPath, mail: &Mail) -> io::Result<()> {
    Changer::new(mailbox.clone(), Arc::from([mail.clone()])).remove(disk, 0)
}

/// A reader that moves a file.
fn moves(from: &'static str, to: &'static str) -> impl Fn(&Path) + Send + 'static {
    move |mailbox| fs::rename(mailbox.join(from), mailbox.join(to)).unwrap()
}

#[test]
fn mail_is_listed_oldest_first_with_its_state_and_its_size() {
    let fixture =
        Fixture::with(&["new/20.b", "cur/3.z:2,FS", "cur/20.a:2,F", "new/nothing", "tmp/1.unfinished"]);
    let mails: Vec<_> = fixture
        .list()
        .into_iter()
        .map(|mail| (mail.name.to_string(), mail.arrived, mail.is_new, mail.is_seen, mail.octets))
        .collect();
    let expected = [
        ("nothing", 0, true, false, 11),
        ("3.z", 3, false, true, 12),
        ("20.a", 20, false, false, 12),
        ("20.b", 20, true, false, 8),
    ];
    assert_eq!(
        mails,
        expected.map(|(name, arrived, new, seen, octets)| (name.into(), arrived, new, seen, octets))
    );
}

#[test]
fn flags_mean_nothing_in_new() {
    let fixture = Fixture::with(&["new/1.a:2,S"]);
    let mail = &fixture.list()[0];
    assert_eq!((&*mail.name, mail.is_new, mail.is_seen), ("1.a", true, false));
    assert_eq!(fixture.read(mail).unwrap(), "new/1.a:2,S");
}

#[test]
fn a_mailbox_that_is_not_there_is_not_found_and_an_empty_one_is_empty() {
    let fixture = Fixture::new();
    assert_eq!(fixture.list(), []);
    fs::remove_dir(fixture.path("new")).unwrap();
    assert_eq!(fixture.list(), []);
    fs::remove_dir(fixture.path("cur")).unwrap();
    assert_eq!(list(&fixture, &fixture.mailbox).unwrap_err().kind(), ErrorKind::NotFound);
    fs::write(fixture.path("new"), "a file in the way").unwrap();
    assert_eq!(list(&fixture, &fixture.mailbox).unwrap_err().kind(), ErrorKind::NotADirectory);
}

#[test]
fn hostile_names_and_what_is_no_file_do_no_harm() {
    let long = format!("new/{}", "9".repeat(255));
    let names = ["new/.hidden", "cur/:2,S", "cur/1:a:b:2,S", "new/ \n\u{1b}[2J", "cur/5.x:2,SFS", "new/7"];
    let fixture = Fixture::with(&names);
    fs::write(fixture.path(&long), "long").unwrap();
    fs::write(fixture.path("secret"), "another's").unwrap();
    symlink(fixture.path("secret"), fixture.path("new/1.link")).unwrap();
    symlink("/nowhere", fixture.path("cur/1.dangling")).unwrap();
    fs::create_dir(fixture.path("new/1.directory")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        fixture.path("cur/1.pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    let mails = fixture.list();
    let listed: Vec<&str> = mails.iter().map(|mail| &*mail.name).collect();
    assert_eq!(listed, [" \n\u{1b}[2J", &long[4..], "1", "5.x", "7"]);
    for mail in &mails {
        fixture.read(mail).unwrap();
    }
    assert_eq!(
        octets(&fixture, &fixture.mailbox).unwrap(),
        mails.iter().map(|mail| mail.octets).sum::<u64>() + 19
    );
    for mail in &mails {
        let _ = mark_seen(&fixture, &fixture.mailbox, mail); // some names leave no room for it
        remove(&fixture, &fixture.mailbox, mail).unwrap();
    }
    assert_eq!(fixture.list(), []);
}

#[test]
fn mail_that_a_reader_moves_while_we_list_is_listed_once() {
    for (operation, end) in [("list", "new"), ("list", "cur"), ("size_of", "1.a"), ("size_of", "2.b")] {
        let fixture = Fixture::with(&["new/1.a", "new/2.b"]);
        fixture.meanwhile(operation, end, moves("new/1.a", "cur/1.a:2,S"));
        let mails = fixture.list();
        let names: Vec<_> = mails.iter().map(|mail| (&*mail.name, mail.octets)).collect();
        assert_eq!(names, [("1.a", 7), ("2.b", 7)], "moved before {operation} {end}");
    }
    let fixture = Fixture::with(&["cur/1.a:2,", "new/2.b"]);
    fixture.meanwhile("size_of", "1.a:2,", moves("cur/1.a:2,", "cur/1.a:2,S"));
    assert_eq!(fixture.names(), ["1.a", "2.b"]);
}

#[test]
fn mail_that_goes_while_we_list_is_not_listed() {
    let fixture = Fixture::with(&["new/1.a", "new/2.b"]);
    fixture.meanwhile("size_of", "1.a", |mailbox| fs::remove_file(mailbox.join("new/1.a")).unwrap());
    assert_eq!(fixture.names(), ["2.b"]);
}

#[test]
fn a_name_that_two_files_have_is_listed_once_and_none_of_them_is_lost() {
    let fixture = Fixture::with(&["new/1.a", "cur/1.a:2,S"]);
    let mails = fixture.list();
    assert_eq!((mails.len(), mails[0].is_seen), (1, true));
    remove(&fixture, &fixture.mailbox, &mails[0]).unwrap();
    assert_eq!(fixture.files(), ["new/1.a"]);
}

#[test]
fn mail_is_opened_wherever_a_reader_has_moved_it() {
    for to in ["cur/1.a", "cur/1.a:2,", "cur/1.a:2,S", "cur/1.a:2,FRS"] {
        let fixture = Fixture::with(&["new/1.a", "new/1.ab"]);
        let mail = fixture.list()[0].clone();
        fs::rename(fixture.path("new/1.a"), fixture.path(to)).unwrap();
        assert_eq!(fixture.read(&mail).unwrap(), "new/1.a", "moved to {to}");
    }
}

#[test]
fn mail_that_moves_again_while_we_look_for_it_is_opened() {
    let fixture = Fixture::with(&["cur/1.a:2,F"]);
    let mail = fixture.list()[0].clone();
    fs::rename(fixture.path("cur/1.a:2,F"), fixture.path("cur/1.a:2,FR")).unwrap();
    fixture.meanwhile("open", "1.a:2,FR", moves("cur/1.a:2,FR", "cur/1.a:2,FRS"));
    assert_eq!(fixture.read(&mail).unwrap(), "cur/1.a:2,F");
}

#[test]
fn mail_that_is_gone_is_not_found_and_is_removed_already() {
    let fixture = Fixture::with(&["new/1.a", "new/2.b"]);
    let mail = fixture.list()[0].clone();
    fs::remove_file(fixture.path("new/1.a")).unwrap();
    assert_eq!(fixture.read(&mail).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(mark_seen(&fixture, &fixture.mailbox, &mail).unwrap_err().kind(), ErrorKind::NotFound);
    remove(&fixture, &fixture.mailbox, &mail).unwrap();
    assert_eq!(fixture.files(), ["new/2.b"]);
    fs::remove_dir_all(fixture.path("")).unwrap();
    remove(&fixture, &fixture.mailbox, &mail).unwrap();
}

#[test]
fn mail_is_removed_wherever_a_reader_moves_it_meanwhile() {
    let fixture = Fixture::with(&["new/1.a", "new/2.b"]);
    let mail = fixture.list()[0].clone();
    fixture.meanwhile("remove", "new/1.a", moves("new/1.a", "cur/1.a:2,RS"));
    remove(&fixture, &fixture.mailbox, &mail).unwrap();
    assert_eq!(fixture.files(), ["new/2.b"]);
}

#[test]
fn however_much_was_moved_a_mailbox_is_read_once_to_find_it_and_once_more_for_what_is_gone() {
    let fixture = Fixture::new();
    for number in 0..100 {
        fs::write(fixture.path(&format!("new/{number}.a")), "x").unwrap();
    }
    let mails: Arc<[Mail]> = fixture.list().into();
    for number in 0..100 {
        let (from, to) = (format!("new/{number}.a"), format!("cur/{number}.a:2,F"));
        fs::rename(fixture.path(&from), fixture.path(&to)).unwrap();
    }
    let lists = || fixture.lists.swap(0, Ordering::Relaxed);
    let mut changer = Changer::new(fixture.mailbox.clone(), mails.clone());
    lists();
    (0..40).for_each(|index| changer.remove(&fixture, index).unwrap());
    (40..50).for_each(|index| changer.mark_seen(&fixture, index).unwrap());
    assert_eq!(lists(), 2, "one for each directory");
    for number in 50..80 {
        fs::remove_file(fixture.path(&format!("cur/{number}.a:2,F"))).unwrap();
    }
    (50..100).for_each(|index| changer.remove(&fixture, index).unwrap());
    assert_eq!(lists(), 2);
    let expected: Vec<String> = (40..50).map(|number| format!("cur/{number}.a:2,FS")).collect();
    assert_eq!(fixture.files(), expected);
}

#[test]
fn mail_that_moves_whenever_we_look_is_not_said_to_be_removed() {
    let fixture = Fixture::with(&["new/1.a"]);
    let mail = fixture.list()[0].clone();
    let places = ["new/1.a", "cur/1.a:2,F", "cur/1.a:2,FR", "cur/1.a:2,FRT", "cur/1.a:2,FT"];
    for pair in places.windows(2) {
        fixture.meanwhile("remove", pair[0], moves(pair[0], pair[1]));
    }
    assert_eq!(remove(&fixture, &fixture.mailbox, &mail).unwrap_err().kind(), ErrorKind::ResourceBusy);
    assert_eq!(fixture.files(), ["cur/1.a:2,FT"]);
    remove(&fixture, &fixture.mailbox, &mail).unwrap();
    assert_eq!(fixture.files(), [""; 0]);
}

#[test]
fn a_file_that_the_disk_cannot_look_at_is_left_out_and_the_others_are_listed_and_counted() {
    let mut fixture = Fixture::with(&["new/1.a", "new/2.b", "cur/3.c:2,S"]);
    fixture.broken = Some(("2.b", ErrorKind::Other));
    assert_eq!(fixture.names(), ["1.a", "3.c"]);
    assert_eq!(octets(&fixture, &fixture.mailbox).unwrap(), 7 + 11);
    // What is no fault of this file is no reason to show a mailbox without it.
    for kind in [ErrorKind::PermissionDenied, ErrorKind::OutOfMemory] {
        fixture.broken = Some(("2.b", kind));
        assert_eq!(list(&fixture, &fixture.mailbox).unwrap_err().kind(), kind);
        assert_eq!(octets(&fixture, &fixture.mailbox).unwrap_err().kind(), kind);
    }
}

#[test]
fn of_a_mailbox_beyond_the_room_the_oldest_mails_are_listed_without_a_gap() {
    let fixture = Fixture::new();
    let long = "n".repeat(100);
    for number in 10..99 {
        let name = if number % 2 == 0 { &long } else { "a" };
        fs::write(fixture.path(&format!("new/{number}.{name}")), "x").unwrap();
    }
    let all = fixture.list();
    let beside = |name: &str| name.len();
    let mut counts = Vec::new();
    for octets in [0, 100, 1000, 5000, 50_000] {
        let oldest = list_oldest(&fixture, &fixture.mailbox, Room { octets, beside: &beside }).unwrap();
        let count = oldest.mails.len();
        assert_eq!(oldest.mails, all[..count]);
        assert_eq!(count + oldest.left_out, all.len());
        let taken = |mails: &[Mail]| mails.iter().map(|mail| mail.memory() + mail.name.len()).sum::<usize>();
        assert!(taken(&oldest.mails) <= octets);
        assert!(all.get(..count + 1).is_none_or(|more| taken(more) > octets), "one more fits {octets}");
        counts.push(count);
    }
    assert!(counts[0] == 0 && counts.is_sorted() && counts[4] == all.len(), "{counts:?}");
}

#[test]
fn what_is_marked_as_seen_keeps_its_flags_in_order() {
    for (from, to) in [
        ("new/1.a", "cur/1.a:2,S"),
        ("new/1.a:2,F", "cur/1.a:2,FS"),
        ("cur/1.a", "cur/1.a:2,S"),
        ("cur/1.a:2,", "cur/1.a:2,S"),
        ("cur/1.a:2,FRT", "cur/1.a:2,FRST"),
        ("cur/1.a:2,FSab", "cur/1.a:2,FSab"),
        ("cur/1.a:2,TSF", "cur/1.a:2,FST"),
    ] {
        let fixture = Fixture::with(&[from]);
        let mail = fixture.list()[0].clone();
        mark_seen(&fixture, &fixture.mailbox, &mail).unwrap();
        mark_seen(&fixture, &fixture.mailbox, &mail).unwrap();
        assert_eq!(fixture.files(), [to], "from {from}");
        assert!(fixture.list()[0].is_seen);
    }
}

#[test]
fn mail_is_marked_as_seen_wherever_a_reader_moves_it_meanwhile() {
    let fixture = Fixture::with(&["new/1.a"]);
    let mail = fixture.list()[0].clone();
    fixture.meanwhile("move_to", "new/1.a", moves("new/1.a", "cur/1.a:2,F"));
    mark_seen(&fixture, &fixture.mailbox, &mail).unwrap();
    assert_eq!(fixture.files(), ["cur/1.a:2,FS"]);
}

#[test]
fn marking_as_seen_replaces_no_file_and_no_other_programs_word() {
    let fixture = Fixture::with(&["new/1.a", "cur/2.b:1,x"]);
    let mails = fixture.list();
    fs::write(fixture.path("cur/1.a:2,S"), "another's").unwrap();
    let error = mark_seen(&fixture, &fixture.mailbox, &mails[0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert_eq!(mark_seen(&fixture, &fixture.mailbox, &mails[1]).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(fixture.files(), ["cur/1.a:2,S", "cur/2.b:1,x", "new/1.a"]);
    assert_eq!(fs::read(fixture.path("cur/1.a:2,S")).unwrap(), b"another's");
}

#[test]
fn a_mailbox_is_as_large_as_its_messages_new_and_seen() {
    let fixture = Fixture::with(&["tmp/nobodys.yet", "new/1.a", "cur/2.b:2,S"]);
    assert_eq!(octets(&fixture, &fixture.mailbox).unwrap(), 7 + 11);
    fs::remove_dir_all(fixture.path("")).unwrap();
    assert_eq!(octets(&fixture, &fixture.mailbox).unwrap(), 0);
}

#[test]
fn every_name_has_a_unique_id_that_pop3_can_say() {
    let id = |name: &str| Mail::of(Directory::New, name, 0).unwrap().unique_id().to_string();
    let long = "n".repeat(71);
    assert_eq!(id("1735689600.9f3c.fs"), "1735689600.9f3c.fs");
    assert_eq!(id(&long[..70]), &long[..70]);
    let others = [&long, "with blank", "with blank\u{7f}", "ö", "ä"].map(id);
    for other in &others {
        assert!(other.len() == 32 && other.bytes().all(|octet| octet.is_ascii_hexdigit()), "{other}");
    }
    assert_eq!(HashSet::from(others).len(), 5);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_a_file_is_called_it_is_one_mail_or_none(name in "[0-9]{0,22}[.:,2SaF ]{0,6}") {
        prop_assume!(!matches!(&*name, "" | "." | ".."));
        let fixture = Fixture::with(&[&*format!("cur/{name}")]);
        let mails = fixture.list();
        prop_assert!(mails.len() <= 1);
        if let [mail] = &mails[..] {
            prop_assert_eq!(fixture.read(mail).unwrap(), format!("cur/{name}"));
            let marked = mark_seen(&fixture, &fixture.mailbox, mail);
            prop_assert!(marked.is_err() || fixture.list()[0].is_seen);
            remove(&fixture, &fixture.mailbox, mail).unwrap();
            prop_assert!(fixture.files().is_empty());
        }
    }
}
