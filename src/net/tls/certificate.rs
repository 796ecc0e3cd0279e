//! What a server's certificate says, and how one is made where nobody gave any.

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use sha2::{Digest, Sha256, Sha384, Sha512};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::signature_algorithm::SignatureAlgorithm;

use super::TlsConfigError;

/// What a server's own certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Whom it is for: domains, and addresses as text. As they stand in it, so not to be logged as they are.
    pub names: Vec<String>,
    /// The second behind which it is worth nothing, since 1970.
    pub expires: u64,
    pub(super) end_point: Option<Vec<u8>>,
}

impl Certificate {
    /// Reads one in DER.
    pub(super) fn of(der: &[u8]) -> Result<Certificate, TlsConfigError> {
        let (_, parsed) = X509Certificate::from_der(der).map_err(|_| TlsConfigError::NoX509)?;
        let extension = parsed.subject_alternative_name().ok().flatten();
        let names = extension.iter().flat_map(|extension| &extension.value.general_names);
        Ok(Certificate {
            names: names.filter_map(name).collect(),
            expires: parsed.validity().not_after.timestamp().try_into().unwrap_or(0),
            end_point: end_point(&parsed, der),
        })
    }

    /// The names that a [self-signed](self_signed) one has: `hostname`, a bracketed address as the address, and this
    /// machine's names of itself.
    pub fn own_names(hostname: &str) -> Vec<String> {
        let bare = hostname.trim_start_matches('[').trim_end_matches(']');
        let bare = bare.strip_prefix("IPv6:").unwrap_or(bare);
        let mut names = vec![bare.to_ascii_lowercase()];
        for own in ["localhost", "127.0.0.1", "::1"] {
            if !names.iter().any(|name| name == own) {
                names.push(own.to_owned());
            }
        }
        names
    }
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(domain) => Some((*domain).to_owned()),
        GeneralName::IPAddress(octets) => match <[u8; 4]>::try_from(*octets) {
            Ok(octets) => Some(std::net::Ipv4Addr::from(octets).to_string()),
            Err(_) => Some(std::net::Ipv6Addr::from(<[u8; 16]>::try_from(*octets).ok()?).to_string()),
        },
        _ => None,
    }
}

/// Hashed as its signature hashes, but by SHA-256 where that is MD5 or SHA-1 (RFC 5929 4.1).
fn end_point(parsed: &X509Certificate<'_>, der: &[u8]) -> Option<Vec<u8>> {
    let algorithm = &parsed.signature_algorithm;
    let oid = match SignatureAlgorithm::try_from(algorithm) {
        Ok(SignatureAlgorithm::RSASSA_PSS(parameters)) => parameters.hash_algorithm_oid().to_id_string(),
        _ => algorithm.algorithm.to_id_string(),
    };
    match oid.as_str() {
        MD5_RSA | SHA1_RSA | SHA1_ECDSA | SHA1 | SHA256_RSA | SHA256_ECDSA | SHA256 => {
            Some(Sha256::digest(der).to_vec())
        }
        SHA384_RSA | SHA384_ECDSA | SHA384 => Some(Sha384::digest(der).to_vec()),
        SHA512_RSA | SHA512_ECDSA | SHA512 => Some(Sha512::digest(der).to_vec()),
        _ => None,
    }
}

// RFC 3279 2.2.1, RFC 8017 A.2.4.
const MD5_RSA: &str = "1.2.840.113549.1.1.4";
const SHA1_RSA: &str = "1.2.840.113549.1.1.5";
const SHA256_RSA: &str = "1.2.840.113549.1.1.11";
const SHA384_RSA: &str = "1.2.840.113549.1.1.12";
const SHA512_RSA: &str = "1.2.840.113549.1.1.13";
// RFC 3279 2.2.3, RFC 5758 3.2.
const SHA1_ECDSA: &str = "1.2.840.10045.4.1";
const SHA256_ECDSA: &str = "1.2.840.10045.4.3.2";
const SHA384_ECDSA: &str = "1.2.840.10045.4.3.3";
const SHA512_ECDSA: &str = "1.2.840.10045.4.3.4";
// RFC 8017 B.1, as RSASSA-PSS names its hash.
const SHA1: &str = "1.3.14.3.2.26";
const SHA256: &str = "2.16.840.1.101.3.4.2.1";
const SHA384: &str = "2.16.840.1.101.3.4.2.2";
const SHA512: &str = "2.16.840.1.101.3.4.2.3";

/// A new certificate that only itself vouches for, and its key, both in PEM: ECDSA on P-256, for `hostname` and for this
/// machine's names of itself, valid from a day before `unix_secs` for ten years.
pub fn self_signed(hostname: &str, unix_secs: u64) -> Result<(String, String), TlsConfigError> {
    let failed = |error: rcgen::Error| {
        TlsConfigError::Unusable(rustls::Error::General(format!("no certificate can be made: {error}")))
    };
    let mut params = CertificateParams::new(Certificate::own_names(hostname)).map_err(failed)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name(hostname));
    let at = |secs: u64| std::time::UNIX_EPOCH + std::time::Duration::from_secs(secs);
    params.not_before = at(unix_secs.saturating_sub(DAY_SECS)).into();
    params.not_after = at(unix_secs + TEN_YEARS_SECS).into();
    let key = KeyPair::generate().map_err(failed)?;
    let certificate = params.self_signed(&key).map_err(failed)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

/// A common name has 64 characters at the most (RFC 5280 A.1); who is longer is named by the extension alone.
fn common_name(hostname: &str) -> &str {
    if hostname.len() <= 64 { hostname } else { "fastsmtp" }
}

const DAY_SECS: u64 = 86_400;
const TEN_YEARS_SECS: u64 = 3652 * DAY_SECS;
