//! The environment: `FASTSMTP_` and the flag's name, a list with commas.

use std::ffi::OsString;
use std::path::PathBuf;

use super::{KEYS, Key, Origin, Setting, Takes, did_you_mean};
use crate::cli::exit::{Exit, Failure};

/// One variable's name and value.
pub type Variable = (OsString, OsString);

/// What the environment says to `serve`.
#[derive(Debug, Default)]
pub struct Variables {
    /// The settings made there.
    pub settings: Vec<Setting>,
    /// The configuration file.
    pub file: Option<PathBuf>,
}

/// Picks ours out of all variables.
pub fn read(variables: impl IntoIterator<Item = Variable>) -> Result<Variables, Failure> {
    let mut ours: Vec<(String, OsString)> = variables
        .into_iter()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .filter(|(name, _)| name.starts_with(PREFIX) && !is_ignored(name))
        .collect();
    // The environment has no order; errors should.
    ours.sort();
    let mut read = Variables::default();
    for (name, value) in ours {
        // A template's variable that was never filled in must not open the edge to every domain.
        let is_list = KEYS.iter().any(|key| key.variable() == name && matches!(key.takes, Takes::List(_)));
        if value.is_empty() && (is_list || name == FILE) {
            let sentence = format!("{name}: it is empty; unset it, or give it a value");
            return Err(Failure::new(Exit::Configuration, sentence));
        }
        match name.as_str() {
            FILE => read.file = Some(PathBuf::from(value)),
            _ => read.settings.push(setting(&name, value)?),
        }
    }
    Ok(read)
}

const PREFIX: &str = "FASTSMTP_";

/// Names the configuration file.
const FILE: &str = "FASTSMTP_CONFIG";

/// Variables that others set or read: the clients' server and password, and what Kubernetes tells every container about a
/// service that is called fastsmtp.
fn is_ignored(name: &str) -> bool {
    matches!(name, "FASTSMTP_SERVER" | "FASTSMTP_PASSWORD" | "FASTSMTP_PORT")
        || name.starts_with("FASTSMTP_PORT_")
        || name.starts_with("FASTSMTP_SERVICE_")
}

fn setting(name: &str, value: OsString) -> Result<Setting, Failure> {
    let failure = |sentence: String| Failure::new(Exit::Configuration, sentence);
    let Some(key) = KEYS.iter().find(|key| key.variable() == name) else {
        let known = KEYS.iter().map(Key::variable).chain([FILE.to_owned()]);
        let mend = did_you_mean(name, known);
        return Err(failure(format!("unknown variable '{name}'; {mend}")));
    };
    let value = value.into_string().map_err(|_| failure(format!("{name}: the value is not UTF-8 text")))?;
    let values = match key.takes {
        Takes::List(_) => value.split(',').map(|value| value.trim().to_owned()).collect(),
        Takes::One(_) | Takes::Number(_) | Takes::Switch(_) => vec![value],
    };
    Ok(Setting { key, values, origin: Origin::Variable })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_of(variables: &[(&str, &str)]) -> Result<Variables, String> {
        read(variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))))
            .map_err(|failure| failure.sentence)
    }

    #[test]
    fn lists_have_commas_and_others_do_not() {
        let read = read_of(&[
            ("FASTSMTP_LISTEN", "127.0.0.1:1, [::1]:2"),
            ("FASTSMTP_DATA", "/a,b"),
            ("FASTSMTP_CONFIG", "x.toml"),
            ("PATH", "/bin"),
        ])
        .unwrap();
        assert_eq!(read.file, Some(PathBuf::from("x.toml")));
        let values: Vec<_> =
            read.settings.iter().map(|each| (each.key.name, each.values.as_slice())).collect();
        assert_eq!(values[0], ("data", &["/a,b".to_owned()][..]));
        assert_eq!(values[1], ("listen", &["127.0.0.1:1".to_owned(), "[::1]:2".to_owned()][..]));
    }

    #[test]
    fn an_empty_variable_is_an_error_and_opens_nothing() {
        for name in ["FASTSMTP_LOCAL_DOMAIN", "FASTSMTP_LISTEN", "FASTSMTP_CONFIG"] {
            let sentence = format!("{name}: it is empty; unset it, or give it a value");
            assert_eq!(read_of(&[(name, "")]).unwrap_err(), sentence);
        }
    }

    #[test]
    fn an_unknown_variable_is_an_error_that_names_the_nearest() {
        assert_eq!(
            read_of(&[("FASTSMTP_LISEN", "x")]).unwrap_err(),
            "unknown variable 'FASTSMTP_LISEN'; did you mean 'FASTSMTP_LISTEN'?"
        );
    }

    #[test]
    fn variables_that_are_not_for_the_server_are_left_alone() {
        let read = read_of(&[
            ("FASTSMTP_SERVER", "mx.example.com"),
            ("FASTSMTP_PASSWORD", "secret"),
            ("FASTSMTP_PORT", "tcp://10.0.0.1:25"),
            ("FASTSMTP_PORT_25_TCP_ADDR", "10.0.0.1"),
            ("FASTSMTP_SERVICE_HOST", "10.0.0.1"),
        ]);
        assert!(read.unwrap().settings.is_empty());
    }
}
