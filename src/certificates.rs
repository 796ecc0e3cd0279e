//! The server's certificate and key: where they come from, read into memory, and made where nobody gave any. Called at the
//! start, and by the watch behind it; never on the loop.

use std::fmt;
use std::fs::File as StdFile;
use std::io::{self, ErrorKind, IoSlice, Read};
use std::path::{Path, PathBuf};

use log::{info, warn};

use crate::calendar::Date;
use crate::disk::{Disk, Open, write_all_at};
use crate::limits::{CERTIFICATE_DUE_DAYS, TLS_FILE_MAX};
use crate::log_value::Escaped;
use crate::net::tls::{Certificate, ServerTls, TlsConfigError, self_signed};

/// Where certificate and key come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateSource {
    /// From files of the operator's.
    Files(CertificateFiles),
    /// We make them, and keep them in the data directory.
    SelfSigned,
}

/// The files of a certificate, with those that lead to its authority, and of its key. Both in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificates, the server's own first.
    pub chain: PathBuf,
    /// The key.
    pub key: PathBuf,
}

impl CertificateFiles {
    /// Reads both. An error names the file that is to be mended, and how.
    pub fn read(&self) -> Result<ServerTls, CertificateError> {
        let chain = read(&self.chain)?;
        let key = read(&self.key)?;
        ServerTls::new(&chain, &key).map_err(|error| CertificateError::Unusable(self.clone(), error))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    let mut octets = Vec::new();
    StdFile::open(path)
        .and_then(|file| file.take(TLS_FILE_MAX).read_to_end(&mut octets))
        .map_err(|error| CertificateError::Unreadable(path.to_owned(), error))?;
    Ok(octets)
}

/// Why there can be no TLS.
#[derive(Debug)]
pub enum CertificateError {
    /// A file cannot be read.
    Unreadable(PathBuf, io::Error),
    /// The files were read, and are of no use.
    Unusable(CertificateFiles, TlsConfigError),
    /// None could be made.
    Unmade(TlsConfigError),
    /// One was made, and could not be kept.
    Unkept(PathBuf, io::Error),
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CertificateError::Unreadable(path, error) if error.kind() == ErrorKind::PermissionDenied => {
                write!(f, "{}: may not be read; let the server's user read it", path.display())
            }
            CertificateError::Unreadable(path, error) => {
                write!(f, "{}: {error}; give --tls-cert and --tls-key files that are there", path.display())
            }
            CertificateError::Unusable(CertificateFiles { chain, key }, error) => match error {
                TlsConfigError::NoKey => {
                    write!(f, "{}: {error}; give --tls-key the certificate's key", key.display())
                }
                TlsConfigError::ProtectedKey => write!(f, "{}: {error}", key.display()),
                TlsConfigError::OtherKey => write!(
                    f,
                    "{}: {error}; the key must be of the first certificate in {}",
                    key.display(),
                    chain.display()
                ),
                TlsConfigError::NoCertificate | TlsConfigError::Pem | TlsConfigError::NoX509 => {
                    write!(f, "{}: {error}; give --tls-cert a certificate in PEM", chain.display())
                }
                _ => write!(
                    f,
                    "{} with {}: {error}; give another certificate, ECDSA on P-256 or RSA with 2048 bits",
                    chain.display(),
                    key.display()
                ),
            },
            CertificateError::Unmade(error) => error.fmt(f),
            CertificateError::Unkept(path, error) => {
                write!(f, "{}: the certificate cannot be kept: {error}", path.display())
            }
        }
    }
}

impl std::error::Error for CertificateError {}

/// Reads or makes what TLS begins with, says so in the log, and names the files that may be changed while the server runs.
pub fn start(
    source: &CertificateSource,
    data: &Path,
    disk: &dyn Disk,
    hostname: &str,
    unix_secs: u64,
) -> Result<(CertificateFiles, ServerTls), CertificateError> {
    match source {
        CertificateSource::Files(files) => {
            let tls = files.read()?;
            info!("TLS: {}", Told(tls.certificate(), &files.chain));
            if is_due(tls.certificate(), unix_secs) {
                warn!("{}", Due(tls.certificate(), unix_secs));
            }
            Ok((files.clone(), tls))
        }
        CertificateSource::SelfSigned => {
            let files = CertificateFiles { chain: data.join(OWN_CHAIN), key: data.join(OWN_KEY) };
            let tls = match files.read() {
                Ok(tls) if is_for(tls.certificate(), hostname) && !is_due(tls.certificate(), unix_secs) => {
                    tls
                }
                _ => {
                    make(data, disk, hostname, unix_secs)?;
                    files.read()?
                }
            };
            warn!(
                "TLS: {}, of our own making: CLIENTS CANNOT VERIFY IT unless they are told to trust that file",
                Told(tls.certificate(), &files.chain)
            );
            Ok((files, tls))
        }
    }
}

/// Whether a certificate of our making still has our name.
fn is_for(certificate: &Certificate, hostname: &str) -> bool {
    certificate.names == Certificate::own_names(hostname)
}

/// Whether a certificate ends soon, or has ended.
fn is_due(certificate: &Certificate, unix_secs: u64) -> bool {
    certificate.expires < unix_secs + CERTIFICATE_DUE_DAYS * 86_400
}

/// Makes a certificate and keeps it. A crash in between leaves two that do not belong together, or none: the next start
/// makes new ones.
fn make(data: &Path, disk: &dyn Disk, hostname: &str, unix_secs: u64) -> Result<(), CertificateError> {
    let (chain, key) = self_signed(hostname, unix_secs).map_err(CertificateError::Unmade)?;
    for (name, pem) in [(OWN_KEY, key), (OWN_CHAIN, chain)] {
        keep(disk, name, pem.as_bytes()).map_err(|error| CertificateError::Unkept(data.join(name), error))?;
    }
    info!("made a certificate for {}", Escaped(hostname.as_bytes()));
    Ok(())
}

/// Writes a file as a whole, for its owner only, and durably.
fn keep(disk: &dyn Disk, name: &str, octets: &[u8]) -> io::Result<()> {
    let unfinished = format!("{name}.new");
    let (name, unfinished) = (Path::new(name), Path::new(&unfinished));
    match disk.remove(unfinished) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.open(unfinished, Open::Create)?;
    write_all_at(&*file, &mut [IoSlice::new(octets)], 0)?;
    file.sync_data()?;
    disk.rename(unfinished, name)?;
    disk.sync_dir(Path::new("."))
}

/// Says of a certificate where it is, for whom and until when.
pub(crate) struct Told<'a>(pub &'a Certificate, pub &'a Path);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Told(certificate, path) = self;
        let names = certificate.names.join(", ");
        let until = Date::of(certificate.expires);
        write!(f, "{} for {}, until {}", path.display(), Escaped(names.as_bytes()), until.rfc5322())
    }
}

/// Says that a certificate ends soon, or has ended.
struct Due<'a>(&'a Certificate, u64);

impl fmt::Display for Due<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.expires.checked_sub(self.1) {
            None | Some(0) => f.write_str("THE CERTIFICATE HAS EXPIRED: clients that verify it go away"),
            Some(left) => write!(f, "the certificate expires in {} days: renew it", left / 86_400),
        }
    }
}

const OWN_CHAIN: &str = "tls-cert.pem";
const OWN_KEY: &str = "tls-key.pem";
