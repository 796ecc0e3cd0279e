//! Who a client is, for AUTH (RFC 4954).

/// A user and the password that proves it.
#[derive(Debug)]
pub struct Credentials {
    _private: (),
}
