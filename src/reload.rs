//! What may change while the server runs: files, looked at by [`Workers`](crate::workers::Workers) once a second, and read
//! only when they changed. The loop gets what came of it as a completion; what cannot be used changes nothing and is said
//! once.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use log::{error, info, warn};

use crate::accounts::{Accounts, AccountsFile};
use crate::certificates::{CertificateFiles, Told};
use crate::net::tls::ServerTls;
use crate::server::job::Reload;

/// What is looked at: each kind by itself, for the fault of one must not keep the others from being read.
pub struct Watch {
    certificate: Option<Certificate>,
    accounts: AccountsFile,
}

/// Those of the certificate.
struct Certificate {
    files: CertificateFiles,
    looks: Files,
}

impl Watch {
    /// Looks at these, which were read just now.
    pub fn new(certificate: Option<CertificateFiles>, accounts: AccountsFile) -> Watch {
        let certificate = certificate.map(|files| {
            let looks = Files::read(stamps(&[&files.chain, &files.key]));
            Certificate { files, looks }
        });
        Watch { certificate, accounts }
    }

    /// Has the next look read everything.
    pub fn insist(&mut self) {
        if let Some(certificate) = &mut self.certificate {
            certificate.looks.insist();
        }
        self.accounts = AccountsFile::new(self.accounts.path());
    }

    /// Looks whether something changed, and reads what did. None if there is nothing new that can be used.
    pub fn look(&mut self) -> Option<Reload> {
        let tls = self.certificate.as_mut().and_then(Certificate::look);
        let accounts = self.look_at_accounts();
        (tls.is_some() || accounts.is_some()).then_some(Reload { tls, accounts })
    }

    fn look_at_accounts(&mut self) -> Option<Arc<Accounts>> {
        match self.accounts.look()? {
            Ok(accounts) => {
                tell_of(&accounts, &self.accounts);
                Some(accounts)
            }
            Err(error) => {
                error!("{error}; the accounts that were read before hold on");
                None
            }
        }
    }
}

/// Says which accounts there are.
pub fn tell_of(accounts: &Accounts, file: &AccountsFile) {
    let path = file.path().display();
    match accounts.is_kept() {
        true if accounts.is_empty() => info!("accounts: 0 in {path}; mail is taken for nobody"),
        true => info!("accounts: {} in {path}; mail is taken for their addresses", accounts.iter().len()),
        false => info!("accounts: none ({path} is not there); every address is a mailbox"),
    }
    if let Some(warning) = file.warning() {
        warn!("{warning}");
    }
}

impl Certificate {
    fn look(&mut self) -> Option<ServerTls> {
        let CertificateFiles { chain, key } = &self.files;
        if !self.looks.are_due(stamps(&[chain, key])) {
            return None;
        }
        match self.files.read() {
            Ok(tls) => {
                info!("TLS: from now on {}", Told(tls.certificate(), &self.files.chain));
                Some(tls)
            }
            Err(error) => {
                error!("{error}; the certificate that was read before holds on");
                None
            }
        }
    }
}

/// Files that belong together, and when they are to be read: once they changed and then stayed as they are for one look,
/// for they may be in the middle of being written.
struct Files {
    /// How they looked when they were read last; none: they are to be read in any case.
    read: Option<Vec<Stamp>>,
    /// How they looked at the last look.
    seen: Vec<Stamp>,
}

impl Files {
    fn read(stamps: Vec<Stamp>) -> Files {
        Files { read: Some(stamps.clone()), seen: stamps }
    }

    fn insist(&mut self) {
        self.read = None;
    }

    /// Whether they are to be read now, and takes note that they are.
    fn are_due(&mut self, stamps: Vec<Stamp>) -> bool {
        let is_steady = self.seen == stamps;
        let is_due = match &self.read {
            None => true,
            Some(read) => is_steady && *read != stamps,
        };
        if is_due {
            self.read = Some(stamps.clone());
        }
        self.seen = stamps;
        is_due
    }
}

/// What tells one state of a file from another: device, inode, octets, and when it was written; none if it is not there.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

fn stamps(paths: &[&Path]) -> Vec<Stamp> {
    let stamp = |path: &&Path| {
        let about = fs::metadata(path).ok()?;
        Some((about.dev(), about.ino(), about.size(), about.mtime(), about.mtime_nsec()))
    };
    paths.iter().map(stamp).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(mtime: i64) -> Vec<Stamp> {
        vec![Some((1, 2, 3, mtime, 0))]
    }

    #[test]
    fn files_are_read_once_when_they_have_come_to_rest() {
        let mut files = Files::read(stamp(1));
        assert!(!files.are_due(stamp(1)));
        assert!(!files.are_due(stamp(2)), "somebody writes");
        assert!(!files.are_due(stamp(3)), "and writes");
        assert!(files.are_due(stamp(3)));
        assert!(!files.are_due(stamp(3)), "once for each change, whatever came of it");
        assert!(!files.are_due(vec![None]));
        assert!(files.are_due(vec![None]));
    }

    #[test]
    fn who_insists_has_them_read_at_once_and_once() {
        let mut files = Files::read(stamp(1));
        files.insist();
        assert!(files.are_due(stamp(1)));
        assert!(!files.are_due(stamp(1)));
        assert!(!files.are_due(stamp(2)));
        files.insist();
        assert!(files.are_due(stamp(2)));
        assert!(!files.are_due(stamp(2)));
    }
}
