//! Removing and marking mail, of which a session may have much to do at once. Other programs move mail meanwhile, and may
//! have moved all of it: so a mailbox is read once for all that is not where it was, not once for each.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;

use super::{Mail, Spot, each_spot, flags, unless_gone, usual_spots, with_seen};
use crate::disk::Disk;
use crate::mailbox::{LISTINGS_MAX, MailboxPath, base_of};

/// Changes some mails of a mailbox, each known by its index, and remembers where it found those that were moved. However
/// many there are, the mailbox is read [`LISTINGS_MAX`] times at the most; the memory is in proportion to the mails given,
/// not to what the mailbox has.
pub struct Changer {
    mailbox: MailboxPath,
    mails: Arc<[Mail]>,
    /// Where the last look found mails, by index.
    found: HashMap<usize, Spot>,
    looks: usize,
}

impl Changer {
    /// For these mails of the mailbox.
    pub fn new(mailbox: MailboxPath, mails: Arc<[Mail]>) -> Changer {
        Changer { mailbox, mails, found: HashMap::new(), looks: 0 }
    }

    /// The mailbox.
    pub fn mailbox(&self) -> &MailboxPath {
        &self.mailbox
    }

    /// Removes the mail of this index, wherever a reader has moved it. That it is gone already is fine. `ResourceBusy` if it
    /// was moved each time that we looked.
    pub fn remove(&mut self, disk: &dyn Disk, index: usize) -> io::Result<()> {
        let mailbox = self.mailbox.clone();
        let removed = self.at_its_spot(disk, index, |spot| disk.remove(Path::new(&spot.path(&mailbox))));
        unless_gone(removed).map(|_| ())
    }

    /// Marks the mail of this index as seen: it lies in `cur/` with flag S then, and all flags that it had. Seen already is
    /// fine. `NotFound` if it is gone; `ResourceBusy` if it was moved each time that we looked; `AlreadyExists` if another
    /// file has the name that it should get; `InvalidInput` if what follows its base name is something other than flags.
    pub fn mark_seen(&mut self, disk: &dyn Disk, index: usize) -> io::Result<()> {
        let mailbox = self.mailbox.clone();
        self.at_its_spot(disk, index, |spot| mark_seen_at(disk, &mailbox, spot))
    }

    /// Does something with a mail's file: where it was, else where readers mostly put it, else where a look at the whole
    /// mailbox finds it. `NotFound` if it is nowhere.
    fn at_its_spot<T>(
        &mut self,
        disk: &dyn Disk,
        index: usize,
        act: impl Fn(&Spot) -> io::Result<T>,
    ) -> io::Result<T> {
        let mail = self.mails.get(index).ok_or(ErrorKind::NotFound)?;
        for spot in usual_spots(mail) {
            if let Some(done) = unless_gone(act(&spot))? {
                return Ok(done);
            }
        }
        loop {
            let found = self.found.get(&index);
            if let Some(spot) = found
                && let Some(done) = unless_gone(act(spot))?
            {
                return Ok(done);
            }
            // What two looks did not find is gone. What they found elsewhere each time is not.
            let (looks_max, failure) = match found {
                None => (LOOKS_FOR_THE_LOST, ErrorKind::NotFound),
                Some(_) => (LISTINGS_MAX, ErrorKind::ResourceBusy),
            };
            if self.looks >= looks_max {
                return Err(failure.into());
            }
            self.look(disk)?;
        }
    }

    /// Looks where all the mails are now.
    fn look(&mut self, disk: &dyn Disk) -> io::Result<()> {
        self.looks += 1;
        let Changer { mailbox, mails, found, .. } = self;
        let indices: HashMap<&str, usize> =
            mails.iter().enumerate().map(|(index, mail)| (&*mail.name, index)).collect();
        found.clear();
        // `cur/` comes last, and is where a mail is that is in both.
        let looked = each_spot(disk, mailbox, &mut |directory, file_name| {
            if let Some(&index) = indices.get(base_of(file_name)) {
                found.insert(index, Spot { directory, file_name: file_name.to_owned() });
            }
            Ok(())
        });
        unless_gone(looked).map(|_| ())
    }
}

/// How often a mailbox is read before a mail that is not in it is held to be gone: a file that is renamed just while its
/// directory is read may be missing from what the kernel shows.
const LOOKS_FOR_THE_LOST: usize = 2;
const _: () = assert!(LOOKS_FOR_THE_LOST < LISTINGS_MAX);

/// See [`Changer::mark_seen`], for a single mail.
pub fn mark_seen(disk: &dyn Disk, mailbox: &MailboxPath, mail: &Mail) -> io::Result<()> {
    Changer::new(mailbox.clone(), Arc::from([mail.clone()])).mark_seen(disk, 0)
}

fn mark_seen_at(disk: &dyn Disk, mailbox: &MailboxPath, spot: &Spot) -> io::Result<()> {
    let name = base_of(&spot.file_name);
    let Some(flags) = flags(&spot.file_name[name.len()..]) else {
        return Err(ErrorKind::InvalidInput.into());
    };
    let seen = Spot { directory: super::Directory::Cur, file_name: format!("{name}:2,{}", with_seen(flags)) };
    if *spot == seen {
        return disk.size_of(Path::new(&seen.path(mailbox))).map(|_| ()); // if it is there
    }
    disk.move_to(Path::new(&spot.path(mailbox)), Path::new(&seen.path(mailbox)))
}
