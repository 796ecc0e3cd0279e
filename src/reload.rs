//! What may change while the server runs: files, looked at by [`Workers`](crate::workers::Workers) once a second, and read
//! only when they changed. The loop gets what came of it as a completion; what cannot be used changes nothing and is said
//! once.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use log::{error, info};

use crate::certificates::{CertificateFiles, Told};
use crate::net::tls::ServerTls;
use crate::server::job::Reload;

/// What is looked at: each kind by itself, for the fault of one must not keep the others from being read.
pub struct Watch {
    certificate: Option<CertificateWatch>,
}

impl Watch {
    /// Looks at these, which were read just now.
    pub fn new(certificate: Option<CertificateFiles>) -> Watch {
        Watch { certificate: certificate.map(CertificateWatch::new) }
    }

    /// Whether there is nothing to look at.
    pub fn is_empty(&self) -> bool {
        self.certificate.is_none()
    }

    /// Has the next look read everything.
    pub fn insist(&mut self) {
        if let Some(certificate) = &mut self.certificate {
            certificate.files.insist();
        }
    }

    /// Looks whether something changed, and reads what did. None if there is nothing new that can be used.
    pub fn look(&mut self) -> Option<Reload> {
        let tls = self.certificate.as_mut().and_then(CertificateWatch::look);
        tls.map(|tls| Reload { tls: Some(tls) })
    }
}

struct CertificateWatch {
    paths: CertificateFiles,
    files: Files,
}

impl CertificateWatch {
    fn new(paths: CertificateFiles) -> CertificateWatch {
        let files = Files::read(stamps(&[&paths.chain, &paths.key]));
        CertificateWatch { paths, files }
    }

    fn look(&mut self) -> Option<ServerTls> {
        let CertificateFiles { chain, key } = &self.paths;
        if !self.files.are_due(stamps(&[chain, key])) {
            return None;
        }
        match self.paths.read() {
            Ok(tls) => {
                info!("TLS: from now on {}", Told(tls.certificate(), chain));
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
