//! The fastsmtp program.
fn main() {}
