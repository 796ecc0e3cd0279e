//! What the log says when a server starts: where mail goes, what is local, what a 250 means, which limits hold; and, as
//! warnings, what its operator may not have meant. Called once, when all is read and nobody is served yet.

use log::{info, warn};

use super::Setup;
use crate::accounts::Accounts;
use crate::net::network::Network;
use crate::server::clients::ClientLimits;
use crate::server::{Deliver, Durability, Options, Service};
use crate::units::{duration_text, size_text};

/// Says all of it.
pub(super) fn say_what_holds(setup: &Setup, accounts: &Accounts) {
    let Setup { listen, data, certificate, run_as, options, .. } = setup;
    match options.deliver {
        Deliver::Maildir => info!("mail goes to {}/mailboxes", data.display()),
        Deliver::Discard => warn!("mail is thrown away once it is answered (--deliver discard)"),
    }
    say_what_is_local(options, accounts);
    match options.durability {
        Durability::Disk => info!("250 means durable: each message is synced to disk before its 250"),
        Durability::None => {
            warn!(
                "250 MEANS NOTHING: mail is kept in memory only and lost with the process (--durability none)"
            )
        }
    }
    say_limits(options);
    if run_as.is_root() {
        warn!(
            "RUNNING AS ROOT: a hole in this program would be one in the whole machine; --run-as NAME becomes that user \
             once the ports are bound"
        );
    }
    if certificate.is_none() {
        info!("no TLS: what is said is said in plain (--tls-cert and --tls-key, or --tls-self-signed)");
    }
    if options.allow_plaintext_auth {
        warn!(
            "PASSWORDS MAY COME IN PLAIN: everybody on the way reads those of clients without TLS \
             (--allow-plaintext-auth)"
        );
    }
    if accounts.is_empty() && listen.iter().any(|(service, _)| *service != Service::Smtp) {
        warn!("nobody can log in, to send or to read: there are no accounts (fastsmtp user add)");
    }
}

fn say_what_is_local(options: &Options, accounts: &Accounts) {
    let locals: Vec<&str> = match options.local_domains.is_empty() {
        true => accounts.domains().collect(),
        false => options.local_domains.iter().map(String::as_str).collect(),
    };
    match (accounts.is_kept(), &*locals) {
        (false, []) => {
            info!("every domain is local: all mail is taken, none is relayed (--local-domain narrows it)")
        }
        (true, []) => {
            warn!("no domain is local: there are no accounts (fastsmtp user add), and nothing is relayed")
        }
        (_, locals) => info!(
            "local domains: {}; mail for others is refused, nothing is relayed, for users neither",
            locals.join(", ")
        ),
    }
    let foreign: Vec<&str> = accounts.domains().filter(|domain| !locals.contains(domain)).collect();
    if !foreign.is_empty() {
        warn!(
            "accounts have addresses in {}, which is not local: mail for them is refused (--local-domain adds it)",
            foreign.join(", ")
        );
    }
}

fn say_limits(options: &Options) {
    info!(
        "limits: message {}, memory {}, spool {}, connections {}, command timeout {}",
        size_text(options.message_size_max),
        size_text(options.memory),
        size_text(options.spool_size),
        options.connections_max,
        duration_text(options.command_timeout)
    );
    let ClientLimits { connections, messages, exempt } = &options.client_limits;
    let of_each = [(connections, "connections"), (messages, "messages")];
    let of_each = of_each.map(|(limit, what)| limit.map(|limit| format!("{limit} {what}")));
    let of_each: Vec<String> = of_each.into_iter().flatten().collect();
    if !of_each.is_empty() {
        let exempt = if exempt.is_empty() { "nobody".to_owned() } else { listed(exempt) };
        info!("limits of each client in a minute: {}; exempt: {exempt}", of_each.join(", "));
    }
    if !options.trusted_proxies.is_empty() {
        info!(
            "trusted proxies: {}; every connection from there has to begin with a header of the PROXY protocol",
            listed(&options.trusted_proxies)
        );
    }
}

fn listed(networks: &[Network]) -> String {
    let networks: Vec<String> = networks.iter().map(Network::to_string).collect();
    networks.join(", ")
}
