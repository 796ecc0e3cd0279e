use super::*;

use proptest::prelude::*;

fn clients(connections: u32, messages: u32) -> Clients {
    Clients::new(ClientLimits {
        connections: NonZeroU32::new(connections),
        messages: NonZeroU32::new(messages),
        ..ClientLimits::default()
    })
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The `number`th address of a /32, each in a /64 of its own.
fn v6(number: u64) -> IpAddr {
    IpAddr::V6(((0x2001_0db8_u128 << 96) | (u128::from(number) << 64)).into())
}

#[test]
fn a_client_has_its_limit_in_a_minute_and_again_within_eighty_seconds() {
    let (mut clients, client) = (clients(3, 2), address("192.0.2.1"));
    let mut allowed = |now_ms| clients.may_connect(client, now_ms);
    assert!((0..3).all(|at| allowed(19_990 + at)), "three are");
    assert!(!allowed(19_995));
    assert!(!allowed(79_989), "not before a minute is over");
    assert!(allowed(80_000), "and then it may again");
    assert!(clients.may_send(client, 80_000), "messages are counted apart");
    assert!(clients.may_send(client, 80_000));
    assert!(!clients.may_send(client, 80_000));
    assert!(clients.may_send(address("192.0.2.2"), 80_000), "and so are others");
}

#[test]
fn who_is_refused_again_and_again_is_not_shut_out_for_ever() {
    let (mut clients, client) = (clients(1, 0), address("192.0.2.1"));
    let allowed = (0..1000).filter(|second| clients.may_connect(client, second * 1000)).count();
    assert_eq!(allowed, 13, "one every 80 seconds at the worst");
}

#[test]
fn without_a_limit_nobody_is_refused_or_counted() {
    let mut clients = clients(0, 0);
    assert!((0..1000).all(|_| clients.may_connect(address("192.0.2.1"), 0)));
    assert!((0..1000).all(|_| clients.may_send(address("192.0.2.1"), 0)));
    assert!(clients.is_empty());
}

#[test]
fn this_machine_is_exempt_unless_that_is_changed() {
    let mut clients = clients(1, 1);
    for text in ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"] {
        let own = address(text);
        assert!((0..1000).all(|_| clients.may_connect(own, 0) && clients.may_send(own, 0)));
        (0..1000).for_each(|_| clients.failed_login(own, 0));
        (0..1000).for_each(|_| clients.unknown_recipient(own, 0));
        assert!(clients.may_try_login(own, 0) && clients.may_guess_recipients(own, 0));
    }
    clients.limits.exempt = vec!["192.0.2.0/24".parse().unwrap()];
    assert!(clients.may_connect(address("127.0.0.1"), 0) && !clients.may_connect(address("127.0.0.1"), 0));
    assert!((0..1000).all(|_| clients.may_connect(address("192.0.2.9"), 0)));
}

#[test]
fn a_client_is_an_ipv4_address_or_an_ipv6_network_of_64_bits() {
    let same = [("2001:db8:0:1::1", "2001:db8:0:1:ffff::2"), ("192.0.2.1", "::ffff:192.0.2.1")];
    let different = [("2001:db8:0:1::1", "2001:db8:0:2::1"), ("192.0.2.1", "192.0.2.2"), ("::1", "0.0.0.0")];
    for (one, other) in same {
        assert_eq!(Client::of(address(one)), Client::of(address(other)));
    }
    for (one, other) in different {
        assert_ne!(Client::of(address(one)), Client::of(address(other)));
    }
}

#[test]
fn mistakes_count_for_ten_minutes_and_keep_only_their_client_from_more() {
    let (mut clients, client) = (clients(0, 0), address("192.0.2.1"));
    for _ in 0..FAILED_LOGINS_MAX {
        assert!(clients.may_try_login(client, 1000));
        clients.failed_login(client, 1000);
    }
    assert!(!clients.may_try_login(client, 1000) && !clients.may_try_login(client, 601_000));
    assert!(clients.may_try_login(client, 801_000), "ten minutes and a third");
    assert!(clients.may_try_login(address("192.0.2.2"), 1000));
    for _ in 0..UNKNOWN_RECIPIENTS_MAX {
        assert!(clients.may_guess_recipients(client, 1000));
        clients.unknown_recipient(client, 1000);
    }
    assert!(!clients.may_guess_recipients(client, 1000));
}

#[test]
fn a_flood_of_addresses_neither_grows_the_table_nor_makes_it_forget_who_keeps_coming() {
    let (mut clients, guesser) = (clients(1, 0), address("192.0.2.1"));
    (0..FAILED_LOGINS_MAX).for_each(|_| clients.failed_login(guesser, 0));
    for number in 0..4 * CLIENTS_COUNTED_MAX as u64 {
        assert!(clients.may_connect(v6(number), 0));
        assert!(clients.len() <= CLIENTS_COUNTED_MAX);
        if number % 1000 == 0 {
            assert!(!clients.may_try_login(guesser, 0), "forgotten after {number} others");
            clients.failed_login(guesser, 0);
        }
    }
    assert!(!clients.may_connect(v6(4 * CLIENTS_COUNTED_MAX as u64 - 1), 0), "the last ones are known");
}

#[test]
fn clients_that_stay_away_are_forgotten() {
    let mut clients = clients(1, 0);
    (0..1000).for_each(|number| assert!(clients.may_connect(v6(number), 0)));
    assert!(clients.may_connect(v6(0), FORGOTTEN_AFTER_MS));
    assert!(clients.may_connect(v6(0), 2 * FORGOTTEN_AFTER_MS));
    assert_eq!(clients.len(), 1);
}

proptest! {
    /// The naive twin: all that was allowed, with its time.
    #[test]
    fn no_minute_has_more_than_the_limit_and_nobody_waits_more_than_eighty_seconds(
        limit in 1u32..6,
        steps in proptest::collection::vec((0u64..30_000, 1usize..4), 1..100),
    ) {
        let (mut clients, client) = (clients(limit, 0), address("192.0.2.1"));
        let (mut now_ms, mut allowed): (u64, Vec<u64>) = (0, Vec::new());
        for (pause_ms, tries) in steps {
            now_ms += pause_ms;
            for _ in 0..tries {
                let within = |ms: u64| allowed.iter().filter(|at| **at + ms > now_ms).count() as u32;
                let (in_a_minute, in_eighty_seconds) = (within(60_000), within(80_000));
                let is_allowed = clients.may_connect(client, now_ms);
                prop_assert!(!is_allowed || in_a_minute < limit);
                prop_assert!(is_allowed || in_eighty_seconds >= limit);
                if is_allowed {
                    allowed.push(now_ms);
                }
            }
        }
    }
}
