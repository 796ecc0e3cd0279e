use super::*;

use proptest::prelude::*;

fn whole(consumed: usize, source: &str) -> Header {
    Header::Whole { consumed, source: (!source.is_empty()).then(|| source.parse().unwrap()) }
}

/// A header of version 2.
fn octets(version_command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[version_command, family], &length, body].concat()
}

/// The addresses 192.0.2.1 and 198.51.100.1, the ports 56324 and 25.
const BODY4: &[u8] = &[192, 0, 2, 1, 198, 51, 100, 1, 0xdc, 0x04, 0, 25];

/// 2001:db8::1 and ::1, the ports 56324 and 25.
fn body6() -> Vec<u8> {
    let address = |text: &str| text.parse::<Ipv6Addr>().unwrap().octets();
    [&address("2001:db8::1")[..], &address("::1"), &[0xdc, 0x04, 0, 25]].concat()
}

/// Headers that are good, and what they say.
fn good() -> Vec<(Vec<u8>, &'static str)> {
    let longest = format!("PROXY UNKNOWN {}\r\n", "f".repeat(LINE_MAX - 16));
    let lines = [
        ("PROXY TCP4 192.0.2.1 198.51.100.1 56324 25\r\n", "192.0.2.1:56324"),
        ("PROXY TCP4 255.255.255.255 0.0.0.0 65535 0\r\n", "255.255.255.255:65535"),
        ("PROXY TCP6 2001:db8::1 ::1 56324 25\r\n", "[2001:db8::1]:56324"),
        ("PROXY TCP6 ::ffff:192.0.2.1 ::1 0 25\r\n", "[::ffff:192.0.2.1]:0"),
        ("PROXY UNKNOWN\r\n", ""),
        ("PROXY UNKNOWN ffff::1 whatever\r\n", ""),
        (&longest, ""),
    ];
    let with_tlvs = [BODY4, &[0x04, 0, 3, 1, 2, 3]].concat();
    let longest = [BODY4, &vec![0; PROXY_HEADER_MAX - FIXED - BODY4.len()]].concat();
    let headers = [
        (octets(PROXY, TCP4, BODY4), "192.0.2.1:56324"),
        (octets(PROXY, TCP4, &with_tlvs), "192.0.2.1:56324"),
        (octets(PROXY, TCP4, &longest), "192.0.2.1:56324"),
        (octets(PROXY, TCP6, &body6()), "[2001:db8::1]:56324"),
        (octets(LOCAL, UNSPECIFIED, b""), ""),
        (octets(LOCAL, TCP4, BODY4), ""),
        (octets(LOCAL, 0xff, b"what a proxy of tomorrow may say"), ""),
        (octets(PROXY, UNSPECIFIED, b"anything"), ""),
        (octets(PROXY, UDP4, BODY4), ""),
        (octets(PROXY, UNIX_STREAM, &[0; 216]), ""),
    ];
    let lines = lines.map(|(line, source)| (line.as_bytes().to_vec(), source));
    lines.into_iter().chain(headers).collect()
}

#[test]
fn a_header_is_read_whole_whatever_stands_behind_it_and_partly_wherever_it_is_cut() {
    for (header, source) in good() {
        let expected = whole(header.len(), source);
        assert_eq!(parse(&header), expected, "{:?}", header.escape_ascii().to_string());
        for behind in ["EHLO client.example\r\n", "\n", "\r\n\r\n\0\r\nQUIT\n", "PROXY UNKNOWN\r\n"] {
            assert_eq!(parse(&[&header, behind.as_bytes()].concat()), expected);
        }
        for cut in 0..header.len() {
            assert_eq!(parse(&header[..cut]), Header::Partial, "{cut} of {}", header.escape_ascii());
        }
    }
}

#[test]
fn what_is_not_in_the_grammar_is_bad() {
    let lines = [
        "EHLO client.example\r\n",
        "proxy TCP4 192.0.2.1 198.51.100.1 56324 25\r\n",
        "PROXY  TCP4 192.0.2.1 198.51.100.1 56324 25\r\n",
        "PROXY TCP4  192.0.2.1 198.51.100.1 56324 25\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 56324 25 \r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 56324 25 1\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 56324\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1\r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP4 192.0.2.01 198.51.100.1 56324 25\r\n",
        "PROXY TCP4 192.0.2.256 198.51.100.1 56324 25\r\n",
        "PROXY TCP4 192.0.2.1 nobody 56324 25\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 65536 25\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 056324 25\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 +1 25\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1  25\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 1 -25\r\n",
        "PROXY TCP4 2001:db8::1 ::1 56324 25\r\n",
        "PROXY TCP6 192.0.2.1 198.51.100.1 56324 25\r\n",
        "PROXY TCP6 [2001:db8::1] ::1 56324 25\r\n",
        "PROXY TCP6 fe80::1%eth0 ::1 56324 25\r\n",
        "PROXY TCP5 192.0.2.1 198.51.100.1 56324 25\r\n",
        "PROXY unknown\r\n",
        "PROXY UNKNOWNS\r\n",
        "PROXY \r\n",
        "PROXY\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 56324 25\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 56324 25\r\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 56324 2\r5\r\n",
    ];
    for line in lines {
        assert_eq!(parse(line.as_bytes()), Header::Bad, "{line:?}");
    }
    let too_long = format!("PROXY UNKNOWN {}\r\n", "f".repeat(LINE_MAX - 15));
    assert_eq!(parse(too_long.as_bytes()), Header::Bad);
    assert_eq!(parse(&too_long.as_bytes()[..LINE_MAX]), Header::Bad, "no end in time");
    let headers = [
        octets(0x11, TCP4, BODY4),
        octets(0x22, TCP4, BODY4),
        octets(0x31, TCP4, BODY4),
        octets(PROXY, 0x10, BODY4),
        octets(PROXY, 0x41, BODY4),
        octets(PROXY, TCP4, &BODY4[1..]),
        octets(PROXY, TCP6, &body6()[1..]),
        octets(LOCAL, UNSPECIFIED, &vec![0; PROXY_HEADER_MAX - FIXED + 1]),
    ];
    for header in headers {
        assert_eq!(parse(&header), Header::Bad, "{}", header.escape_ascii());
    }
}

#[test]
fn who_speaks_another_protocol_is_known_by_the_first_octet_that_differs() {
    for input in ["E", "PROXX", "PROXY\t", "\r\nX", "\r\n\r\n\0\r\nQUIT\r", "\x16\x03\x01", "\n"] {
        assert_eq!(parse(input.as_bytes()), Header::Bad, "{input:?}");
    }
    assert_eq!(parse(&[SIGNATURE, &[0x22]].concat()), Header::Bad);
}

proptest! {
    #[test]
    fn garbage_is_never_believed(input in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(matches!(parse(&input), Header::Bad | Header::Partial));
    }

    /// What more input can change, and what it cannot: a verdict stands, and what waits for more is bounded.
    #[test]
    fn more_input_changes_no_verdict(
        at in 0usize..17, changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    ) {
        let (mut header, _) = good().swap_remove(at);
        for (place, octet) in changes {
            let place = place.index(header.len());
            header[place] = octet;
        }
        header.extend_from_slice(&[b'x'; PROXY_HEADER_MAX]);
        let verdict = parse(&header);
        prop_assert_ne!(verdict, Header::Partial);
        for cut in 0..300 {
            let early = parse(&header[..cut]);
            prop_assert!(early == Header::Partial || early == verdict, "{early:?}, {verdict:?}");
        }
        if let Header::Whole { consumed, .. } = verdict {
            prop_assert!(consumed <= PROXY_HEADER_MAX);
            prop_assert_eq!(parse(&header[..consumed]), verdict);
            prop_assert_eq!(parse(&header[..consumed - 1]), Header::Partial);
        }
    }
}
