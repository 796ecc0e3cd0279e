//! A client and a server against each other in memory, the wire's octets in pieces of any size.

use super::*;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

/// An authority, and a server with a certificate from it, in PEM.
struct Authority {
    pem: String,
    server: ServerTls,
}

fn authority(host: &str) -> Authority {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec![host.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let server = ServerTls::new(certificate.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap();
    Authority { pem: issuer.pem(), server }
}

fn trusting(pem: &str) -> ClientTls {
    ClientTls::new(Trust::File(pem.as_bytes()), Resumption::On).unwrap()
}

/// A client and a server, and what each has heard.
struct Pair {
    client: Tls,
    server: Tls,
    client_heard: Vec<u8>,
    server_heard: Vec<u8>,
    /// Octets of one piece of the wire.
    piece: usize,
}

impl Pair {
    fn new(client: &ClientTls, server: &ServerTls, host: &str, piece: usize) -> Pair {
        Pair {
            client: Tls::client(client, &ServerName::new(host).unwrap()).unwrap(),
            server: Tls::server(server).unwrap(),
            client_heard: Vec::new(),
            server_heard: Vec::new(),
            piece,
        }
    }

    /// Carries octets until neither has more to say.
    fn run(&mut self) -> Result<(), TlsError> {
        while self.client.wants_write() || self.server.wants_write() {
            for piece in wire(&mut self.client).chunks(self.piece) {
                self.server.receive(piece, &mut self.server_heard)?;
            }
            for piece in wire(&mut self.server).chunks(self.piece) {
                self.client.receive(piece, &mut self.client_heard)?;
            }
        }
        Ok(())
    }
}

/// What one has to say on the wire.
fn wire(from: &mut Tls) -> Vec<u8> {
    let mut octets = Vec::new();
    assert!(from.flush(&mut octets).unwrap());
    octets
}

const PIECES: [usize; 4] = [1, 7, 5000, 1 << 20];

#[test]
fn both_sides_hear_what_the_other_says_however_the_wire_is_cut() {
    let authority = authority("mx.example");
    let client = trusting(&authority.pem);
    for piece in PIECES {
        let mut pair = Pair::new(&client, &authority.server, "mx.example", piece);
        assert!(pair.client.is_handshaking() && pair.client.version().is_none());
        pair.run().unwrap();
        assert!(!pair.client.is_handshaking() && !pair.server.is_handshaking());
        assert_eq!(pair.client.version(), Some("TLS 1.3"));
        assert!(pair.client.cipher_suite().is_some());
        assert_eq!(pair.client.send([b"EHLO ", b"me\r\n"]), 9);
        assert_eq!(pair.server.send([b"250 ok\r\n", b""]), 8);
        pair.run().unwrap();
        assert_eq!(pair.server_heard, b"EHLO me\r\n");
        assert_eq!(pair.client_heard, b"250 ok\r\n");
    }
}

#[test]
fn a_large_mail_is_taken_bit_by_bit() {
    let authority = authority("mx.example");
    let mail: Vec<u8> = (0..1_000_000u32).map(|n| n as u8).collect();
    for piece in [1000, 1 << 20] {
        let mut pair = Pair::new(&trusting(&authority.pem), &authority.server, "mx.example", piece);
        pair.run().unwrap();
        let mut taken = 0;
        while taken < mail.len() {
            let (first, second) = mail[taken..].split_at(mail[taken..].len() / 3);
            let count = pair.client.send([first, second]);
            assert!((1..=TLS_UNSENT_MAX).contains(&count));
            taken += count;
            if taken < mail.len() {
                assert_eq!(pair.client.send([b"x", b""]), 0, "full as long as nothing is flushed");
            }
            pair.run().unwrap();
        }
        assert_eq!(pair.server_heard, mail);
    }
}

#[test]
fn more_octets_at_once_than_rustls_takes_are_all_taken() {
    let authority = authority("mx.example");
    let mut pair = Pair::new(&trusting(&authority.pem), &authority.server, "mx.example", 1 << 20);
    pair.run().unwrap();
    let mut octets = Vec::new();
    for _ in 0..20 {
        assert_eq!(pair.client.send([&[b'x'; 60_000], b""]), 60_000);
        octets.extend(wire(&mut pair.client));
    }
    pair.server.receive(&octets, &mut pair.server_heard).unwrap();
    assert_eq!(pair.server_heard.len(), 20 * 60_000);
}

#[test]
fn a_stream_that_blocks_is_tried_again_later() {
    /// Takes so many octets, then blocks.
    struct Narrow(usize, Vec<u8>);
    impl Write for Narrow {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            let count = octets.len().min(self.0);
            if count == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.0 -= count;
            self.1.extend_from_slice(&octets[..count]);
            Ok(count)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let authority = authority("mx.example");
    let mut pair = Pair::new(&trusting(&authority.pem), &authority.server, "mx.example", 1);
    let mut narrow = Narrow(10, Vec::new());
    assert!(!pair.client.flush(&mut narrow).unwrap());
    assert!(pair.client.wants_write());
    narrow.0 = usize::MAX;
    assert!(pair.client.flush(&mut narrow).unwrap());
    pair.server.receive(&narrow.1, &mut pair.server_heard).unwrap();
    pair.run().unwrap();
    assert!(!pair.client.is_handshaking());
}

#[test]
fn an_end_is_told_from_a_cut() {
    let authority = authority("mx.example");
    let mut pair = Pair::new(&trusting(&authority.pem), &authority.server, "mx.example", 1 << 20);
    pair.run().unwrap();
    assert!(!pair.client.peer_has_closed(), "an end of the stream now would be a cut");
    pair.server.send([b"221 bye\r\n", b""]);
    pair.server.close();
    let mut octets = wire(&mut pair.server);
    octets.extend(b"what stands behind the end is nobody's");
    pair.client.receive(&octets, &mut pair.client_heard).unwrap();
    assert_eq!(pair.client_heard, b"221 bye\r\n");
    assert!(pair.client.peer_has_closed());
}

#[test]
fn a_certificate_of_another_authority_or_name_is_refused_and_the_server_told() {
    let (ours, other) = (authority("mx.example"), authority("mx.example"));
    for (pem, host) in [(&other.pem, "mx.example"), (&ours.pem, "mx.example.org"), (&ours.pem, "192.0.2.1")] {
        for piece in PIECES {
            let mut pair = Pair::new(&trusting(pem), &ours.server, host, piece);
            let error = pair.run().unwrap_err();
            assert_eq!(error.fault(), TlsFault::Certificate, "{error}");
            let alert = wire(&mut pair.client);
            let told = pair.server.receive(&alert, &mut pair.server_heard).unwrap_err();
            assert_eq!(told.fault(), TlsFault::Alert, "{told}");
            assert_eq!(pair.client.send([b"MAIL", b""]), 0);
        }
    }
}

#[test]
fn who_trusts_nobody_takes_every_certificate_but_only_from_who_has_its_key() {
    let ours = authority("mx.example");
    let client = ClientTls::new(Trust::Nobody, Resumption::On).unwrap();
    let mut pair = Pair::new(&client, &ours.server, "else.example", 1 << 20);
    pair.run().unwrap();
    assert!(!pair.client.is_handshaking());
    // The certificate's signature on the handshake is an octet off: whoever sent it has no key of it.
    let mut pair = Pair::new(&client, &tls_1_2_only(&ours.server), "else.example", 1 << 20);
    let hello = wire(&mut pair.client);
    pair.server.receive(&hello, &mut pair.server_heard).unwrap();
    let mut flight = wire(&mut pair.server);
    let end_of_signature = flight.len() - 10;
    flight[end_of_signature] ^= 1;
    let error = pair.client.receive(&flight, &mut pair.client_heard).unwrap_err();
    assert_eq!(error.fault(), TlsFault::Certificate, "{error}");
}

/// A server that has nothing newer; its handshake is in the clear.
fn tls_1_2_only(server: &ServerTls) -> ServerTls {
    let builder = rustls::ServerConfig::builder_with_protocol_versions(&[&rustls::version::TLS12]);
    let config = builder.with_no_client_auth().with_cert_resolver(Arc::clone(&server.config.cert_resolver));
    ServerTls { config: Arc::new(config), ..server.clone() }
}

#[test]
fn tls_1_2_is_spoken_too() {
    let authority = authority("mx.example");
    let server = tls_1_2_only(&authority.server);
    for piece in PIECES {
        let mut pair = Pair::new(&trusting(&authority.pem), &server, "mx.example", piece);
        pair.run().unwrap();
        assert_eq!(pair.client.version(), Some("TLS 1.2"));
        pair.client.send([b"hi", b""]);
        pair.run().unwrap();
        assert_eq!(pair.server_heard, b"hi");
    }
}

#[test]
fn a_session_is_resumed_unless_that_is_off() {
    let authority = authority("mx.example");
    for (resumption, resumed) in [(Resumption::On, true), (Resumption::Off, false)] {
        let client = ClientTls::new(Trust::File(authority.pem.as_bytes()), resumption).unwrap();
        for expected in [false, resumed] {
            let mut pair = Pair::new(&client, &authority.server, "mx.example", 1 << 20);
            pair.run().unwrap();
            assert_eq!(pair.client.is_resumed(), expected);
        }
    }
}

#[test]
fn a_peer_that_does_not_speak_tls_is_named_so() {
    let authority = authority("mx.example");
    for piece in PIECES {
        let mut pair = Pair::new(&trusting(&authority.pem), &authority.server, "mx.example", piece);
        wire(&mut pair.client);
        let mut error = None;
        for octets in b"220 mx.example ESMTP\r\n".chunks(piece) {
            error = error.or(pair.client.receive(octets, &mut pair.client_heard).err());
        }
        assert_eq!(error.map(|error| error.fault()), Some(TlsFault::NotTls));
        let error = pair.server.receive(b"EHLO client.example\r\n", &mut pair.server_heard).unwrap_err();
        assert_eq!(error.fault(), TlsFault::NotTls, "{error}");
    }
}

#[test]
fn garbage_within_a_session_ends_it() {
    let authority = authority("mx.example");
    let mut pair = Pair::new(&trusting(&authority.pem), &authority.server, "mx.example", 1 << 20);
    pair.run().unwrap();
    pair.server.send([b"250 ok\r\n", b""]);
    let mut octets = wire(&mut pair.server);
    *octets.last_mut().unwrap() ^= 1;
    let error = pair.client.receive(&octets, &mut pair.client_heard).unwrap_err();
    assert_eq!(error.fault(), TlsFault::Protocol, "{error}");
    assert!(pair.client_heard.is_empty());
}

#[test]
fn a_certificate_of_its_own_making_is_trusted_where_it_is_named() {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["mx.example".into(), "192.0.2.1".into()]).unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    let server = ServerTls::new(pem.as_bytes(), key.serialize_pem().as_bytes()).unwrap();
    for host in ["mx.example", "mx.example.", "192.0.2.1"] {
        Pair::new(&trusting(&pem), &server, host, 1 << 20).run().unwrap();
    }
}

#[test]
fn what_cannot_be_configured_is_said_by_name() {
    let error = |pem: &[u8]| ClientTls::new(Trust::File(pem), Resumption::On).unwrap_err();
    assert_eq!(error(b""), TlsConfigError::NoCertificate);
    assert_eq!(error(b"hello"), TlsConfigError::NoCertificate);
    assert_eq!(error(b"-----BEGIN CERTIFICATE-----\n*\n-----END CERTIFICATE-----\n"), TlsConfigError::Pem);
    let empty = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(matches!(error(empty), TlsConfigError::Unusable(_)));
    let (pem, key) = (authority("x.example").pem, KeyPair::generate().unwrap().serialize_pem());
    assert_eq!(ServerTls::new(pem.as_bytes(), b"").unwrap_err(), TlsConfigError::NoKey);
    assert_eq!(ServerTls::new(pem.as_bytes(), key.as_bytes()).unwrap_err(), TlsConfigError::OtherKey);
    let protected = b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    assert_eq!(ServerTls::new(pem.as_bytes(), protected).unwrap_err(), TlsConfigError::ProtectedKey);
    assert_eq!(ServerTls::new(empty, key.as_bytes()).unwrap_err(), TlsConfigError::NoX509);
}

#[test]
fn a_server_is_named_by_domain_or_address() {
    for host in ["mx.example", "MX.example.", "192.0.2.1", "2001:db8::1"] {
        assert!(ServerName::new(host).is_some(), "{host}");
    }
    for host in ["", ".", "a b", "[192.0.2.1]", "mx.example:25", "jörg.example"] {
        assert!(ServerName::new(host).is_none(), "{host}");
    }
}

#[test]
fn a_certificate_that_is_its_own_authority_is_taken_where_it_was_named() {
    // As `openssl req -x509` makes them: an authority by its constraints, a server by its use.
    let own = |host: &str, year: i32| {
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let server = ServerTls::new(pem.as_bytes(), key.serialize_pem().as_bytes()).unwrap();
        (pem, server)
    };
    let judge = |pem: &str, server: &ServerTls, host: &str| {
        Pair::new(&trusting(pem), server, host, 1 << 20).run().map_err(|error| error.fault())
    };
    let (pem, server) = own("mx.example", 4096);
    let (other, _) = own("mx.example", 4096);
    assert_eq!(judge(&pem, &server, "mx.example"), Ok(()));
    assert_eq!(judge(&pem, &server, "mx.example.org"), Err(TlsFault::Certificate));
    assert_eq!(judge(&other, &server, "mx.example"), Err(TlsFault::Certificate));
    let (expired, server) = own("mx.example", 2001);
    assert_eq!(judge(&expired, &server, "mx.example"), Err(TlsFault::Certificate));
}

#[test]
fn what_binds_another_protocol_to_a_session_is_the_same_on_both_sides() {
    let authority = authority("mx.example");
    let client = trusting(&authority.pem);
    let exporters = |server: &ServerTls| {
        let mut pair = Pair::new(&client, server, "mx.example", 1 << 20);
        assert_eq!((pair.client.exporter(), pair.server.exporter()), (None, None), "before the handshake");
        pair.run().unwrap();
        (pair.client.exporter(), pair.server.exporter())
    };
    let (first, second) = (exporters(&authority.server), exporters(&authority.server));
    assert!(first.0.is_some() && first.0 == first.1 && second.0 == second.1 && first != second);
    assert_eq!(exporters(&tls_1_2_only(&authority.server)), (None, None));
}

#[test]
fn the_servers_end_point_is_its_certificate_hashed_as_its_signature_is() {
    use rcgen::{PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};
    use sha2::{Digest, Sha256, Sha384};
    type Hash = fn(&[u8]) -> Vec<u8>;
    let cases: [(_, Option<Hash>); 3] = [
        (&PKCS_ECDSA_P256_SHA256, Some(|der| Sha256::digest(der).to_vec())),
        (&PKCS_ECDSA_P384_SHA384, Some(|der| Sha384::digest(der).to_vec())),
        (&PKCS_ED25519, None),
    ];
    for (algorithm, hash) in cases {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let certificate =
            CertificateParams::new(vec!["mx.example".into()]).unwrap().self_signed(&key).unwrap();
        let server = ServerTls::new(certificate.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap();
        let tls = Tls::server(&server).unwrap();
        assert_eq!(tls.server_end_point(), hash.map(|hash| hash(certificate.der())));
    }
}

#[test]
fn a_certificate_of_our_own_making_says_for_whom_and_until_when() {
    let (chain, key) = self_signed("[IPv6:2001:db8::1]", 1_700_000_000).unwrap();
    let server = ServerTls::new(chain.as_bytes(), key.as_bytes()).unwrap();
    let certificate = server.certificate();
    assert_eq!(certificate.names, ["2001:db8::1", "localhost", "127.0.0.1", "::1"]);
    assert_eq!(certificate.names, Certificate::own_names("[IPv6:2001:db8::1]"));
    assert_eq!(certificate.expires, 1_700_000_000 + 3652 * 86_400);
    let long = format!("{}.example", "a.".repeat(60) + "b");
    self_signed(&long, 1_700_000_000).unwrap();
}

#[test]
fn what_stands_before_a_fault_is_heard() {
    let authority = authority("mx.example");
    let mut pair = Pair::new(&trusting(&authority.pem), &authority.server, "mx.example", 1 << 20);
    pair.run().unwrap();
    pair.client.send([b".\r\n", b""]);
    let mut octets = wire(&mut pair.client);
    pair.client.send([b"QUIT\r\n", b""]);
    octets.extend(wire(&mut pair.client));
    *octets.last_mut().unwrap() ^= 1;
    pair.server.receive(&octets, &mut pair.server_heard).unwrap_err();
    assert_eq!(pair.server_heard, b".\r\n");
}
