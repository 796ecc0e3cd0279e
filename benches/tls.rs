//! What TLS costs our side, in memory and on one core, beside what the provider's bare cryptography costs in the same run.
//!
//! `cargo bench --bench tls`; compare figures of one run only. Both sides run in turns on one thread, and the clock runs
//! for one of them alone. It is the thread's processor time: `elem/s` of a handshake are those of a processor's second. TLS 1.3, X25519, and a
//! certificate of our own making with an ECDSA key on P-256.

use std::hint::black_box;
use std::io;
use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, MAX_TAG_LEN, Nonce, UnboundKey};
use aws_lc_rs::agreement::{EphemeralPrivateKey, PublicKey, UnparsedPublicKey, X25519, agree_ephemeral};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fastsmtp::limits::RECEIVE_BUFFER;
use fastsmtp::net::tls::{ClientTls, Resumption, ServerName, ServerTls, Tls, Trust, self_signed};

fn handshakes(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("handshake");
    group.throughput(Throughput::Elements(1));
    for (name, resumption) in [("full", Resumption::Off), ("resumed", Resumption::On)] {
        let (client, server) = configured(resumption);
        Pair::new(&client, &server).shake_hands(); // a ticket for the first that is measured
        for (side, time) in [("server", Spent::server as fn(Spent) -> Duration), ("client", Spent::client)] {
            group.bench_function(format!("{name}, {side}'s side"), |bencher| {
                bencher.iter_custom(|rounds| {
                    let handshake = |_| {
                        let (mut pair, spent) = (Pair::new(&client, &server), Spent::default());
                        let spent = pair.shake_hands_within(spent);
                        assert_eq!(pair.server().is_resumed(), resumption == Resumption::On);
                        time(spent)
                    };
                    (0..rounds).map(handshake).sum()
                });
            });
        }
    }
    let (key, peer) = (signing_key(), key_agreement().1);
    group.bench_function("limit of full: sign, agree", |bencher| {
        bencher.iter(|| (sign(&key), agree(&peer)));
    });
    group.bench_function("limit of resumed: agree", |bencher| bencher.iter(|| agree(&peer)));
}

fn bulk(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("1 MiB");
    group.throughput(Throughput::BytesDecimal(SIZE as u64));
    let (client, server) = configured(Resumption::Off);
    let data = vec![b'd'; SIZE];

    let mut pair = Pair::new(&client, &server);
    pair.shake_hands();
    assert_eq!(pair.server().cipher_suite(), Some("TLS13_AES_256_GCM_SHA384"), "the limit is another's");
    group.bench_function("receive", |bencher| {
        let (mut wire, mut plain) = (Vec::new(), Vec::with_capacity(RECEIVE_BUFFER));
        bencher.iter_custom(|rounds| {
            let one = |_| {
                wire.clear();
                send(&mut pair.client, &data, &mut wire);
                timed(|| receive(pair.server.as_mut().expect("shaken"), &wire, &mut plain))
            };
            (0..rounds).map(one).sum()
        });
    });
    group.bench_function("send", |bencher| {
        bencher.iter(|| send(pair.server.as_mut().expect("shaken"), black_box(&data), &mut io::sink()));
    });

    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32]).expect("a key of 32 octets"));
    let mut records: Vec<u8> =
        data.chunks(RECORD).flat_map(|record| [record, &[0; MAX_TAG_LEN]].concat()).collect();
    group.bench_function("limit of send: seal", |bencher| {
        bencher.iter(|| seal(&key, black_box(&mut records)))
    });
    seal(&key, &mut records);
    let sealed = records.clone();
    group.bench_function("limit of receive: open", |bencher| {
        bencher.iter_custom(|rounds| {
            let one = |_| {
                records.copy_from_slice(&sealed);
                timed(|| open(&key, black_box(&mut records)))
            };
            (0..rounds).map(one).sum()
        });
    });
}

/// A client and a server that know each other.
fn configured(resumption: Resumption) -> (ClientTls, ServerTls) {
    let (chain, key) = self_signed(HOST, now()).expect("a certificate");
    let client = ClientTls::new(Trust::File(chain.as_bytes()), resumption).expect("a certificate to trust");
    (client, ServerTls::new(chain.as_bytes(), key.as_bytes()).expect("a certificate and its key"))
}

/// Seconds since 1970.
fn now() -> u64 {
    std::time::SystemTime::UNIX_EPOCH.elapsed().expect("it is later than 1970").as_secs()
}

/// Both sides of a connection. The server's begins with the client's first flight.
struct Pair<'a> {
    client: Tls,
    server_tls: &'a ServerTls,
    server: Option<Tls>,
}

/// What each side took.
#[derive(Default)]
struct Spent {
    client: Duration,
    server: Duration,
}

impl Spent {
    fn server(self) -> Duration {
        self.server
    }

    fn client(self) -> Duration {
        self.client
    }
}

impl<'a> Pair<'a> {
    fn new(client: &ClientTls, server_tls: &'a ServerTls) -> Pair<'a> {
        let name = ServerName::new(HOST).expect("a name");
        Pair { client: Tls::client(client, &name).expect("a client"), server_tls, server: None }
    }

    fn server(&self) -> &Tls {
        self.server.as_ref().expect("it begins with the handshake")
    }

    fn shake_hands(&mut self) {
        self.shake_hands_within(Spent::default());
    }

    /// Shakes hands, tickets included; adds what each side took. The client's first flight is begun when it is made, so
    /// that its key is not in the client's figure.
    fn shake_hands_within(&mut self, mut spent: Spent) -> Spent {
        let (mut to_server, mut to_client, mut plain) = (Vec::new(), Vec::new(), Vec::new());
        spent.client += timed(|| flush(&mut self.client, &mut to_server));
        spent.server += timed(|| {
            let server = self.server.insert(Tls::server(self.server_tls).expect("a server"));
            server.receive(&to_server, &mut plain).expect("a client's flight");
            flush(server, &mut to_client);
        });
        to_server.clear();
        spent.client += timed(|| {
            self.client.receive(&to_client, &mut plain).expect("a server's flight");
            flush(&mut self.client, &mut to_server);
        });
        to_client.clear();
        let server = self.server.as_mut().expect("it is there");
        spent.server += timed(|| {
            server.receive(&to_server, &mut plain).expect("a client's end");
            flush(server, &mut to_client);
        });
        spent.client += timed(|| self.client.receive(&to_client, &mut plain).expect("tickets"));
        assert!(!self.client.is_handshaking() && !server.is_handshaking());
        spent
    }
}

fn timed(work: impl FnOnce()) -> Duration {
    let begun = CpuTime.start();
    work();
    CpuTime.end(begun)
}

fn flush(from: &mut Tls, to: &mut impl io::Write) {
    assert!(from.flush(to).expect("memory takes all"));
}

/// Sends as a session does: as much as is taken, then a flush.
fn send(from: &mut Tls, data: &[u8], to: &mut impl io::Write) {
    let mut sent = 0;
    while sent < data.len() {
        sent += from.send([&data[sent..], b""]);
        flush(from, to);
    }
}

/// Receives as the loop does: as much as it reads at once.
fn receive(to: &mut Tls, wire: &[u8], plain: &mut Vec<u8>) {
    let mut count = 0;
    for piece in wire.chunks(RECEIVE_BUFFER) {
        plain.clear();
        to.receive(piece, plain).expect("sound records");
        count += plain.len();
    }
    assert_eq!(count, SIZE);
}

fn signing_key() -> EcdsaKeyPair {
    EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).expect("a key")
}

fn sign(key: &EcdsaKeyPair) {
    black_box(key.sign(&SystemRandom::new(), &[7; 130]).expect("a signature"));
}

fn key_agreement() -> (EphemeralPrivateKey, PublicKey) {
    let private = EphemeralPrivateKey::generate(&X25519, &SystemRandom::new()).expect("a key");
    let public = private.compute_public_key().expect("its public half");
    (private, public)
}

/// As in a handshake: with a key of its own each time.
fn agree(peer: &PublicKey) {
    let (private, public) = key_agreement();
    let peer = UnparsedPublicKey::new(&X25519, peer.as_ref());
    let secret = agree_ephemeral(private, peer, (), |secret| Ok(black_box(secret)[0]));
    black_box((secret.expect("a secret"), public));
}

/// Seals records in their places, each with room for its tag.
fn seal(key: &LessSafeKey, records: &mut [u8]) {
    for record in records.chunks_mut(RECORD + MAX_TAG_LEN) {
        let (data, tag) = record.split_at_mut(RECORD);
        let sealed =
            key.seal_in_place_separate_tag(Nonce::assume_unique_for_key([0; 12]), Aad::from([0; 5]), data);
        tag.copy_from_slice(sealed.expect("a record").as_ref());
    }
}

fn open(key: &LessSafeKey, records: &mut [u8]) {
    for record in records.chunks_mut(RECORD + MAX_TAG_LEN) {
        let opened = key.open_in_place(Nonce::assume_unique_for_key([0; 12]), Aad::from([0; 5]), record);
        black_box(opened.expect("a sound record"));
    }
}

const HOST: &str = "mx.example";
const SIZE: usize = 1 << 20;
/// Octets of plaintext in a record (RFC 8446 5.1).
const RECORD: usize = 16 * 1024;

/// The processor time of this thread, told like time on the wall.
struct CpuTime;

impl Measurement for CpuTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::try_from(time).expect("it is not negative")
    }

    fn end(&self, begun: Duration) -> Duration {
        self.start() - begun
    }

    fn add(&self, a: &Duration, b: &Duration) -> Duration {
        *a + *b
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, time: &Duration) -> f64 {
        WallTime.to_f64(time)
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime);
    targets = handshakes, bulk
}
criterion_main!(benches);
