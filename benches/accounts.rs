//! What it costs to read an accounts file, which a server does at its start and at each change, and to ask it.
//!
//! `cargo bench --bench accounts`

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fastsmtp::accounts::{Account, Accounts, HashMemory, Salts};
use fastsmtp::smtp::Address;

fn accounts(criterion: &mut Criterion) {
    let accounts = synthetic();
    let text = accounts.to_toml();
    let mut group = criterion.benchmark_group(format!("{ACCOUNTS} accounts, {} octets", text.len()));
    group.sample_size(10).measurement_time(Duration::from_secs(10));
    group.throughput(Throughput::Elements(ACCOUNTS as u64));
    group.bench_function("parse", |bencher| bencher.iter(|| Accounts::parse(black_box(&text))));
    group.bench_function("limit: TOML alone", |bencher| {
        bencher.iter(|| toml::de::DeTable::parse(black_box(&text)).map(|table| table.get_ref().len()));
    });
    group.bench_function("to_toml", |bencher| bencher.iter(|| accounts.to_toml()));
    group.finish();

    let mut group = criterion.benchmark_group("asking");
    let address = |local_part| Address::new(local_part, "example.org");
    let (known, tagged, unknown) = (address("user12345"), address("user12345+tag"), address("nobody"));
    group.bench_function("recipient", |bencher| bencher.iter(|| accounts.recipient(black_box(&known))));
    group.bench_function("recipient, tagged", |bencher| {
        bencher.iter(|| accounts.recipient(black_box(&tagged)))
    });
    group.bench_function("recipient, unknown", |bencher| {
        bencher.iter(|| accounts.recipient(black_box(&unknown)))
    });
    for (name, user) in [("known", "user12345@example.org"), ("unknown", "nobody123@example.org")] {
        group.bench_function(format!("scram_keys, {name} user"), |bencher| {
            bencher.iter(|| accounts.scram_keys(black_box(user)));
        });
        group.bench_function(format!("login, {name} user"), |bencher| {
            bencher.iter(|| accounts.login(black_box(user)))
        });
    }
}

/// What the worker does for each password.
fn check(criterion: &mut Criterion) {
    let accounts = synthetic();
    let mut group = criterion.benchmark_group("checking a password");
    group.sample_size(20);
    let mut memory = HashMemory::default();
    for (name, user) in [("known", "user12345@example.org"), ("unknown", "nobody123@example.org")] {
        group.bench_function(format!("wrong, {name} user"), |bencher| {
            bencher.iter(|| accounts.login(black_box(user)).run("wrong", &mut memory));
        });
    }
}

/// Accounts of one password, whose hash is computed once: nobody logs in.
fn synthetic() -> Accounts {
    let salts = Salts { argon2: [1; 16], scram: [2; 16] };
    let one = Account::new(Address::new("user", "example.org"), "correct horse", salts).expect("a password");
    let account = |n| Account { address: Address::new(&format!("user{n}"), "example.org"), ..one.clone() };
    Accounts::new([3; 32], (0..ACCOUNTS).map(account).collect()).expect("different addresses")
}

const ACCOUNTS: usize = 50_000;

criterion_group!(benches, accounts, check);
criterion_main!(benches);
