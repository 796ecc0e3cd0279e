//! What lies in a Maildir, for whoever reads it.

use std::io;
use std::path::Path;

use super::MailboxPath;
use crate::disk::Disk;

/// Octets of the messages in a mailbox, none if there is no such mailbox. What goes while it counts is not counted.
pub fn octets(disk: &dyn Disk, mailbox: &MailboxPath) -> io::Result<u64> {
    let mut octets = 0;
    for directory in ["new", "cur"] {
        let path = Path::new(mailbox.as_str()).join(directory);
        for name in unless_gone(disk.list(&path))?.unwrap_or_default() {
            octets += unless_gone(disk.size_of(&path.join(name)))?.unwrap_or(0);
        }
    }
    Ok(octets)
}

fn unless_gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::super::ROOT;
    use super::*;
    use crate::disk::RealDisk;
    use crate::smtp::Address;

    #[test]
    fn a_mailbox_is_as_large_as_its_messages_new_and_seen() {
        let root = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(root.path(), &[ROOT]).unwrap();
        let mailbox = MailboxPath::of(&Address::new("a", "b"));
        assert_eq!(octets(&disk, &mailbox).unwrap(), 0);
        let directory = root.path().join(mailbox.as_str());
        for (place, octets) in [("tmp", 100), ("new", 9), ("cur", 7)] {
            std::fs::create_dir_all(directory.join(place)).unwrap();
            std::fs::write(directory.join(place).join("1.a:2,S"), vec![0; octets]).unwrap();
        }
        assert_eq!(octets(&disk, &mailbox).unwrap(), 9 + 7, "what lies in tmp/ is nobody's yet");
    }
}
