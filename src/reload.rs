//! What may change while the server runs: files, looked at by [`Workers`](crate::workers::Workers) once a second, and read
//! only when they changed. The loop gets what came of it as a completion; what cannot be used changes nothing and is said
//! once.

use std::sync::Arc;

use log::{error, info, warn};

use crate::accounts::{Accounts, AccountsFile};
use crate::certificates::{CertificateError, CertificateFiles, Told};
use crate::net::tls::ServerTls;
use crate::server::job::Reload;
use crate::watch::{Failure, Files};

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
            let looks = Files::read(vec![files.chain.clone(), files.key.clone()]);
            Certificate { files, looks }
        });
        Watch { certificate, accounts }
    }

    /// The accounts file.
    pub fn accounts(&self) -> &AccountsFile {
        &self.accounts
    }

    /// Has the next look read everything.
    pub fn insist(&mut self) {
        if let Some(certificate) = &mut self.certificate {
            certificate.looks.insist();
        }
        self.accounts.insist();
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
        true if accounts.is_empty() => {
            info!("accounts: 0 in {path}; mail is taken for nobody but postmaster")
        }
        true => info!("accounts: {} in {path}; mail is taken for their addresses", accounts.iter().len()),
        false => info!("accounts: none ({path} is not there); every address of a local domain is a mailbox"),
    }
    if let Some(warning) = file.warning() {
        warn!("{warning}");
    }
}

impl Certificate {
    fn look(&mut self) -> Option<ServerTls> {
        match self.looks.look(|| self.files.read())? {
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

impl Failure for CertificateError {
    fn may_pass(&self) -> bool {
        matches!(self, CertificateError::Unreadable(..))
    }
}
