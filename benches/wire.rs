//! How fast octets are scanned, beside the physical limits over the same octets in the same run: memcpy, memchr for an
//! octet that is absent, and memmem; and beside what a byte at a time costs.
//!
//! `cargo bench --bench wire`; compare figures of one run only.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fastsmtp::wire::data::{Scanner, line_ends_are_paired};
use fastsmtp::wire::line::{self, Line};
use memchr::{memchr, memmem};

fn command_lines(criterion: &mut Criterion) {
    let text = repeated(b"RCPT TO:<recipient.0123@example.com>\r\n", 64 << 10);
    let mut group = criterion.benchmark_group("command lines");
    group.throughput(Throughput::BytesDecimal(text.len() as u64));
    group.bench_function("line::find", |bencher| bencher.iter(|| count_lines(black_box(&text))));
    group.bench_function("limit: memchr, absent", |bencher| bencher.iter(|| memchr(0, black_box(&text))));
    group.bench_function("byte loop", |bencher| bencher.iter(|| count_lines_by_bytes(black_box(&text))));
}

fn mail_data(criterion: &mut Criterion) {
    let line = b"A line of mail data, as long as they are when somebody wrapped a text.\r\n";
    let stuffed = [&line.repeat(9), &b".."[..], &line[1..]].concat();
    for (name, text) in [
        ("clean 64 KiB", repeated(line, 64 << 10)),
        ("clean 1 MiB", repeated(line, 1 << 20)),
        ("every 10th line stuffed, 64 KiB", repeated(&stuffed, 64 << 10)),
        ("every 10th line stuffed, 1 MiB", repeated(&stuffed, 1 << 20)),
    ] {
        mail_data_of(criterion, name, &text);
    }
}

fn mail_data_of(criterion: &mut Criterion, name: &str, text: &[u8]) {
    let mut group = criterion.benchmark_group("mail data");
    group.throughput(Throughput::BytesDecimal(text.len() as u64));
    let mut content = Vec::with_capacity(text.len());

    group.bench_with_input(BenchmarkId::new("Scanner, with copy", name), text, |bencher, text| {
        bencher.iter(|| {
            content.clear();
            let _ = Scanner::default().scan(black_box(text), Some(&mut content));
            black_box(&content);
        });
    });
    group.bench_with_input(BenchmarkId::new("Scanner, without copy", name), text, |bencher, text| {
        bencher.iter(|| Scanner::default().scan(black_box(text), None));
    });
    group.bench_with_input(BenchmarkId::new("line_ends_are_paired", name), text, |bencher, text| {
        bencher.iter(|| line_ends_are_paired(black_box(text), false));
    });
    group.bench_with_input(BenchmarkId::new("limit: memmem(LF dot)", name), text, |bencher, text| {
        bencher.iter(|| memmem::find_iter(black_box(text), b"\n.").count());
    });
    group.bench_with_input(BenchmarkId::new("limit: memchr, absent", name), text, |bencher, text| {
        bencher.iter(|| memchr(0, black_box(text)));
    });
    group.bench_with_input(BenchmarkId::new("limit: memcpy", name), text, |bencher, text| {
        bencher.iter(|| {
            content.clear();
            content.extend_from_slice(black_box(text));
            black_box(&content);
        });
    });
    group.bench_with_input(BenchmarkId::new("byte loop, with copy", name), text, |bencher, text| {
        bencher.iter(|| {
            content.clear();
            black_box(unstuff_by_bytes(black_box(text), &mut content));
            black_box(&content);
        });
    });
}

/// Whole copies of `piece`, `size` octets of them or a little less: mail data without its end.
fn repeated(piece: &[u8], size: usize) -> Vec<u8> {
    piece.repeat(size / piece.len())
}

fn count_lines(text: &[u8]) -> usize {
    let (mut rest, mut lines) = (text, 0);
    while let Line::Whole(line) = line::find(rest, 0) {
        rest = &rest[line.len() + 2..];
        lines += 1;
    }
    lines
}

fn count_lines_by_bytes(text: &[u8]) -> usize {
    let (mut lines, mut before) = (0, 0);
    for &octet in text {
        lines += usize::from(octet == b'\n' && before == b'\r');
        before = octet;
    }
    lines
}

/// What `Scanner` does, one octet at a time; gives whether all line ends are paired.
fn unstuff_by_bytes(text: &[u8], content: &mut Vec<u8>) -> bool {
    let (mut before, mut at_line_start) = (b'\n', true);
    for &octet in text {
        if (octet == b'\n') != (before == b'\r') && !at_line_start {
            return false;
        }
        if octet != b'.' || !at_line_start {
            content.push(octet);
        }
        at_line_start = octet == b'\n';
        before = octet;
    }
    true
}

criterion_group!(benches, command_lines, mail_data);
criterion_main!(benches);
