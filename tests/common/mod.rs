//! What several test programs need. Each uses a part of it.
#![allow(dead_code)]

pub mod accounts;
pub mod bob;
pub mod dialogue;
pub mod load;
pub mod machine;
pub mod oracle;
pub mod pop3;
pub mod secure;
pub mod sender;
pub mod server;
pub mod terminal;
