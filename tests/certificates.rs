//! Certificates of the real binary: made, kept, read, read anew while sessions go on, and refused with a word that helps.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::secure::{Secure, self_signed, trusting};
use common::server::{PROGRAM, Server, data, log_of, wait_until};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PKCS_RSA_SHA256};

/// Makes a certificate for some name, with its key.
fn make(root: &Path, name: &str) -> [PathBuf; 2] {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["mx.example.com".into(), name.into()]).unwrap();
    let files = [root.join(format!("{name}.pem")), root.join(format!("{name}.key"))];
    fs::write(&files[0], params.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(&files[1], key.serialize_pem()).unwrap();
    files
}

/// Puts files in the place of others, as whoever renews certificates does: each at once.
fn replace(files: &[PathBuf; 2], by: &[PathBuf; 2]) {
    for (file, by) in files.iter().zip(by) {
        let unfinished = file.with_extension("unfinished");
        fs::copy(by, &unfinished).unwrap();
        fs::rename(unfinished, file).unwrap();
    }
}

#[test]
fn a_new_certificate_is_for_new_sessions_and_the_old_ones_go_on() {
    let (root, data) = data();
    let (first, second) = (make(root.path(), "first.example"), make(root.path(), "second.example"));
    let used = make(root.path(), "used.example");
    replace(&used, &first);
    let [chain, key] = [&used[0], &used[1]].map(|path| path.to_str().unwrap());
    let server = Server::start(&data, &["--tls-cert", chain, "--tls-key", key]);
    let (old, new) = (trusting(&first[0]), trusting(&second[0]));
    let mut under_way = Secure::by_starttls(server.address(), &old);
    under_way.say("EHLO client.example\r\n", "250");
    under_way.begin_mail();

    // First a broken one, which is said once and changes nothing.
    fs::write(&used[0], "-----BEGIN CERTIFICATE-----\nbroken\n").unwrap();
    let told = format!("{chain}: it is not PEM");
    wait_until("the broken one is told of", || server.log().contains(&told));
    Secure::by_starttls(server.address(), &old);
    server.signal("HUP");
    wait_until("it is read anew at once", || server.log().matches(&told).count() == 2);
    // Then a key of another certificate.
    replace(&used, &[first[0].clone(), second[1].clone()]);
    wait_until("the other's key is told of", || server.log().contains("do not belong together"));
    Secure::by_starttls(server.address(), &old);

    replace(&used, &second);
    wait_until("the new one is told of", || server.log().contains("TLS: from now on "));
    Secure::by_starttls(server.address(), &new);
    under_way.send(b"Subject: over the change\r\n\r\n.\r\n");
    assert!(under_way.reply().starts_with("250 2."));
    wait_until("the log says all", || server.log().matches(&told).count() == 2);
    assert_eq!(server.log().matches("do not belong together").count(), 1);
}

#[test]
fn a_certificate_of_its_own_making_is_kept_and_made_anew_for_another_name() {
    use std::os::unix::fs::PermissionsExt;
    let (_root, data) = data();
    let read = || ["tls-cert.pem", "tls-key.pem"].map(|name| fs::read(data.join(name)).unwrap());
    let server = self_signed(&data, &[]);
    wait_until("the log shouts", || server.log().contains("CLIENTS CANNOT VERIFY IT"));
    let first = read();
    for name in ["tls-cert.pem", "tls-key.pem"] {
        assert_eq!(fs::metadata(data.join(name)).unwrap().permissions().mode() & 0o777, 0o600);
    }
    server.stop();
    self_signed(&data, &[]).stop();
    assert_eq!(read(), first);
    // A crash between the two leaves such a pair.
    fs::write(data.join("tls-key.pem"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
    self_signed(&data, &[]).stop();
    let second = read();
    assert!(second[0] != first[0] && second[1] != first[1]);
    // The last of two --hostname is an error, so the configuration file says it.
    let file = data.with_extension("toml");
    fs::write(&file, "tls-self-signed = true\nlisten = [\"127.0.0.1:0\"]\n").unwrap();
    let mut command = Command::new(PROGRAM);
    command.env("FASTSMTP_HOSTNAME", "other.example").args(["--config", file.to_str().unwrap(), "--data"]);
    let log = fs::File::options().append(true).open(log_of(&data)).unwrap();
    let child = command.arg(&data).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
    let server = Server::watch(child, &data);
    assert_ne!(read(), second);
    wait_until("the log has the new name", || {
        server.log().contains("for \"other.example, localhost, 127.0.0.1, ::1\", until ")
    });
}

#[test]
fn a_certificate_that_cannot_be_used_is_named_with_the_mend() {
    let (root, data) = data();
    let [chain, key] = make(root.path(), "one.example");
    let [_, other] = make(root.path(), "two.example");
    let at = |name: &str, text: &str| {
        fs::write(root.path().join(name), text).unwrap();
        root.path().join(name)
    };
    let protected =
        at("protected", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n");
    let empty = at("empty", "");
    let broken = at("broken", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let missing = root.path().join("missing");
    let cases = [
        (
            &missing,
            &key,
            &missing,
            "No such file or directory (os error 2); give --tls-cert and --tls-key files that are there",
        ),
        (
            &chain,
            &missing,
            &missing,
            "No such file or directory (os error 2); give --tls-cert and --tls-key files that are there",
        ),
        (
            &empty,
            &key,
            &empty,
            "no certificate (BEGIN CERTIFICATE) in it; give --tls-cert a certificate in PEM",
        ),
        (
            &broken,
            &key,
            &broken,
            "what stands in it as a certificate is none (RFC 5280); give --tls-cert a certificate in PEM",
        ),
        (
            &chain,
            &chain,
            &chain,
            "no private key (BEGIN PRIVATE KEY) in it; give --tls-key the certificate's key",
        ),
        (&chain, &protected, &protected, "a passphrase protects the private key; store it without one"),
        (
            &chain,
            &other,
            &other,
            "key and certificate do not belong together; the key must be of the first certificate in",
        ),
    ];
    for (chain, key, named, sentence) in cases {
        for check in [&["--check-config"][..], &["--listen", "127.0.0.1:0"]] {
            let output = Command::new(PROGRAM)
                .arg("--data")
                .arg(&data)
                .arg("--tls-cert")
                .arg(chain)
                .arg("--tls-key")
                .arg(key)
                .args(check)
                .output()
                .unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(78), "{said}");
            assert!(said.contains(&format!("{}: {sentence}", named.display())), "{sentence}\n{said}");
        }
    }
}

#[test]
fn an_rsa_key_and_a_chain_are_served() {
    let (root, data) = data();
    let authority = |name: &str| {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    };
    let top = CertifiedIssuer::self_signed(authority("top"), KeyPair::generate().unwrap()).unwrap();
    let between =
        CertifiedIssuer::signed_by(authority("between"), KeyPair::generate().unwrap(), &top).unwrap();
    let key = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
    let params = CertificateParams::new(vec!["mx.example.com".into()]).unwrap();
    let own = params.signed_by(&key, &between).unwrap();
    let [trusted, both] = ["top.pem", "both.pem"].map(|name| root.path().join(name));
    fs::write(&trusted, top.pem()).unwrap();
    fs::write(&both, [own.pem(), between.pem(), key.serialize_pem()].concat()).unwrap();
    let both = both.to_str().unwrap();
    let server = Server::start(&data, &["--tls-cert", both, "--tls-key", both]);
    Secure::by_starttls(server.address(), &trusting(&trusted)).say("EHLO client.example\r\n", "250");
}
