//! The layers of the source, held to by reading it: which module may know which, and which file owns which outside
//! crate. Whoever changes the picture changes these tables, and is seen doing so. Test code is exempt.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Modules of the library, and the layers below that each may import. Modules of one group may import each other
/// only where that is said.
const LAYERS: [Layer; 9] = [
    Layer {
        modules: &["limits", "wire", "queue_id", "units", "calendar", "log_value"],
        below: &["limits", "wire", "queue_id", "units", "calendar", "log_value"],
    },
    Layer { modules: &["smtp"], below: LAYER_0 },
    Layer { modules: &["pop3"], below: LAYER_0 },
    Layer { modules: &["net"], below: LAYER_0 },
    Layer { modules: &["disk"], below: LAYER_0 },
    Layer { modules: &["watch"], below: LAYER_0 },
    Layer {
        modules: &["spool", "mailbox", "accounts"],
        below: &["limits", "wire", "queue_id", "units", "calendar", "log_value", "smtp", "disk", "watch"],
    },
    Layer { modules: &["server"], below: LAYERS_0_TO_2 },
    Layer {
        modules: &["event_loop", "privileges", "workers", "certificates", "reload"],
        below: &[
            "limits",
            "wire",
            "queue_id",
            "units",
            "calendar",
            "log_value",
            "smtp",
            "pop3",
            "net",
            "disk",
            "watch",
            "spool",
            "mailbox",
            "accounts",
            "server",
            "privileges",
            "workers",
            "certificates",
            "reload",
        ],
    },
];

/// The modules that only the program has; they know each other and the library.
const BINARY: &[&str] = &["main", "cli", "config", "logging", "machine"];

/// The outside crates, and the files or directories that may name them. An empty name is everywhere.
const OWNERS: &[(&str, &[&str])] = &[
    ("mio", &["event_loop"]),
    ("signal_hook", &["event_loop.rs", "main.rs", "cli/password.rs"]),
    ("signal_hook_mio", &["event_loop.rs"]),
    ("socket2", &["event_loop/listener.rs"]),
    ("slab", &["net/slots.rs"]),
    ("ipnet", &["net/network.rs"]),
    ("memchr", &["wire/"]),
    ("listenfd", &["cli/supervisor.rs"]),
    (
        "rustix",
        &[
            "cli/password.rs",
            "cli/supervisor.rs",
            "disk.rs",
            "event_loop.rs",
            "machine.rs",
            "privileges.rs",
            "workers.rs",
        ],
    ),
    ("sha2", &["mailbox/mod.rs", "net/tls/certificate.rs", "wire/sasl"]),
    ("nix", &["machine.rs", "privileges.rs"]),
    ("base64", &["wire/sasl.rs", "cli/mail/parts.rs"]),
    ("hmac", &["wire/sasl"]),
    ("pbkdf2", &["wire/sasl.rs"]),
    ("rustls", &["net/tls"]),
    ("rustls_native_certs", &["net/tls/config.rs"]),
    ("argon2", &["accounts/"]),
    ("rcgen", &["net/tls/certificate.rs"]),
    ("x509_parser", &["net/tls/certificate.rs"]),
    ("stringprep", &["wire/sasl.rs"]),
    ("rpassword", &["cli/password.rs"]),
    ("rustyline", &["cli/menu/console.rs"]),
    ("idna", &["smtp/address.rs"]),
    ("crc32c", &["spool/"]),
    ("clap", &["main.rs", "cli/"]),
    ("clap_mangen", &["cli/documents.rs"]),
    ("clap_complete", &["cli/documents.rs"]),
    ("toml", &["config/", "accounts/"]),
    ("mail_builder", &["cli/compose.rs"]),
    ("mail_parser", &["cli/eml.rs", "cli/mail/"]),
    ("unicode_width", &["cli/columns.rs"]),
    ("terminal_size", &["cli/columns.rs"]),
    ("jiff", &["cli/mail/time.rs"]),
    ("strsim", &["config/", "cli/user.rs", "cli/mailbox/"]),
    ("serde_json", &["cli/queue.rs", "cli/user.rs", "cli/output.rs", "cli/mail/json.rs"]),
    ("log", &[""]),
];

struct Layer {
    modules: &'static [&'static str],
    below: &'static [&'static str],
}

const LAYER_0: &[&str] = &["limits", "wire", "queue_id", "units", "calendar", "log_value"];
const LAYERS_0_TO_2: &[&str] = &[
    "limits",
    "wire",
    "queue_id",
    "units",
    "calendar",
    "log_value",
    "smtp",
    "pop3",
    "net",
    "disk",
    "spool",
    "mailbox",
    "accounts",
];

#[test]
fn each_module_imports_only_what_lies_below_it() {
    let mut violations = Vec::new();
    for source in sources() {
        let module = source.module();
        let allowed = match LAYERS.iter().find(|layer| layer.modules.contains(&module)) {
            _ if module == "lib" => continue,
            Some(layer) => layer.below,
            None if BINARY.contains(&module) => BINARY,
            None => {
                violations.push(format!("{}: in no layer; it needs a place in the table", source.name));
                continue;
            }
        };
        for import in source.imports() {
            if import != module && !allowed.contains(&import.as_str()) {
                violations.push(format!("{}: crate::{import} is not below {module}", source.name));
            }
        }
        if source.is_root_of_its_module() && source.code.contains("super::") {
            violations.push(format!("{}: super:: is the whole crate here; say crate::", source.name));
        }
    }
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

#[test]
fn each_outside_crate_is_named_by_its_owners_only() {
    let mut violations = Vec::new();
    let mut named = BTreeSet::new();
    for source in sources() {
        for (name, owners) in OWNERS {
            if !paths_from(&source.code, name).is_empty() {
                named.insert(name);
                if !owners.iter().any(|owner| source.name.starts_with(owner)) {
                    violations.push(format!("{}: names {name}, which belongs to {owners:?}", source.name));
                }
            }
        }
    }
    let unnamed = OWNERS.iter().filter(|(name, _)| !named.contains(name));
    violations.extend(unnamed.map(|(name, _)| format!("{name} is named nowhere")));
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

#[test]
fn each_dependency_has_an_owner() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let (_, dependencies) = manifest.split_once("\n[dependencies]\n").unwrap();
    let (dependencies, _) = dependencies.split_once("\n[").unwrap();
    let lines = dependencies.lines().filter(|line| !line.starts_with('#'));
    let used: BTreeSet<String> =
        lines.filter_map(|line| Some(line.split_once(" =")?.0.replace('-', "_"))).collect();
    let owned: BTreeSet<String> = OWNERS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(used, owned);
}

#[test]
fn a_path_is_found_wherever_it_begins_and_nowhere_else() {
    let code = "use crate::{QueueId, wire::{line, data}}; fn f(x: &crate::disk::File, y: subcrate::no) { a::crate_::b }";
    let source = Source { name: "x.rs".into(), code: code.into() };
    assert_eq!(source.imports(), ["QueueId", "wire", "disk"].map(|name| name.replace("QueueId", "queue_id")));
    assert_eq!(paths_from("signal_hook_mio::x mio::y", "mio"), ["y"]);
    assert_eq!(without_tests("a\n#[cfg(test)]\nmod tests {\n b\n}\n"), "a\n");
    assert_eq!(without_comments("/// crate::server\na // b\n"), "\na \n");
}

/// One file below `src/`, by its name there, without comments and tests.
struct Source {
    name: String,
    code: String,
}

impl Source {
    /// The top-level module that it belongs to.
    fn module(&self) -> &str {
        let first = self.name.split('/').next().unwrap_or_default();
        first.strip_suffix(".rs").unwrap_or(first)
    }

    fn is_root_of_its_module(&self) -> bool {
        !self.name.contains('/') || self.name.ends_with("/mod.rs") && self.name.matches('/').count() == 1
    }

    /// The top-level modules behind `crate::`.
    fn imports(&self) -> Vec<String> {
        let paths = paths_from(&self.code, "crate");
        paths.into_iter().map(|name| if name == "QueueId" { "queue_id".to_owned() } else { name }).collect()
    }
}

/// What stands behind `start::` in `code`: one name, or the first names of each path in braces.
fn paths_from(code: &str, start: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, found) in code.match_indices(&format!("{start}::")) {
        if code[..at].ends_with(is_part_of_a_name) {
            continue;
        }
        let rest = &code[at + found.len()..];
        match rest.strip_prefix('{') {
            Some(list) => names.extend(first_names(list)),
            None => names.push(first_name(rest)),
        }
    }
    names
}

/// The first name of each path of a list, up to the brace that closes it.
fn first_names(list: &str) -> Vec<String> {
    let mut names = Vec::new();
    let (mut depth, mut is_first) = (0, true);
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => is_first = true,
            _ if is_first && is_part_of_a_name(c) => {
                names.push(first_name(&list[at..]));
                is_first = false;
            }
            _ => {}
        }
    }
    names
}

fn first_name(text: &str) -> String {
    text.chars().take_while(|c| is_part_of_a_name(*c)).collect()
}

fn is_part_of_a_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn sources() -> Vec<Source> {
    let mut files = Vec::new();
    files_below(&root().join("src"), &mut files);
    let source = |file: &PathBuf| {
        let name = file.strip_prefix(root().join("src")).unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(file).unwrap();
        Source { name, code: without_comments(without_tests(&text)) }
    };
    let sources: Vec<Source> = files.iter().map(source).collect();
    assert!(sources.len() > 20, "only {} sources found", sources.len());
    sources
}

fn files_below(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
            files.push(path);
        }
    }
}

/// The code before its tests, which stand last.
fn without_tests(text: &str) -> &str {
    text.split_once("#[cfg(test)]\nmod ").map_or(text, |(code, _)| code)
}

fn without_comments(text: &str) -> String {
    text.lines().map(|line| line.split_once("//").map_or(line, |(code, _)| code).to_owned() + "\n").collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
