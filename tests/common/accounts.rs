//! Users for tests: alice, bob, user and second at example.com, and alice's alias info.
//!
//! Their file was made once by `fastsmtp user add`, for each password takes its time; so it also shows that files of earlier
//! versions are still read.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use fastsmtp::wire::sasl;

/// The password of each.
pub const PASSWORD: &str = "correct horse, battery staple";

/// Gives a server's data directory these accounts.
pub fn keep(data: &Path) {
    fs::create_dir_all(data).unwrap();
    let file = data.join("accounts.toml");
    fs::write(&file, include_str!("accounts.toml")).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
}

/// The command by which a user logs in at once.
pub fn auth(user: &str) -> String {
    format!("AUTH PLAIN {}\r\n", sasl::encode(&sasl::plain(user, PASSWORD)))
}
