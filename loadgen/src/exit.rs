//! Exit codes: what a run says to whoever started it.

/// It did what was asked, and the objective, if there was one, was met.
pub const FINE: u8 = 0;
/// Something could not be written or read.
pub const FAILED: u8 = 1;
/// The command line is wrong, or asks for what the system does not give.
pub const USAGE: u8 = 2;
/// The target is unreachable, does not speak SMTP, or accepted nothing.
pub const NO_SERVICE: u8 = 3;
/// The objective was missed; of `compare`: something became worse.
pub const MISSED: u8 = 10;
/// The figures are not what they say: the generator was the limit, or the run broke off.
pub const INVALID: u8 = 11;
/// Of `verify`: messages are missing, duplicate or damaged.
pub const NOT_ALL_THERE: u8 = 12;
/// A signal ended the run; the report is written.
pub const INTERRUPTED: u8 = 130;
