//! Where the generator runs, as the kernel tells it: figures without a machine say nothing.
//!
//! All of it is read from `/proc`. What is not there, as in a sandbox or on another system, is empty or 0.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use fastsmtp::calendar::Date;

use super::Environment;

/// The machine as it is now; the load average is that of this moment.
pub fn environment() -> Environment {
    let [processors, status, memory, load] =
        ["cpuinfo", "self/status", "meminfo", "loadavg"].map(|name| read(&format!("/proc/{name}")));
    let [system, release] = ["ostype", "osrelease"].map(|name| read(&format!("/proc/sys/kernel/{name}")));
    Environment {
        processor: processor(&processors),
        cores: processors.lines().filter(|line| line.starts_with("processor")).count() as u64,
        allowed_cores: field(&status, "Cpus_allowed_list").unwrap_or_default(),
        memory: memory_octets(&memory),
        kernel: format!("{} {}", system.trim(), release.trim()).trim().to_owned(),
        load_average: load.split_whitespace().next().unwrap_or_default().to_owned(),
    }
}

/// A moment as RFC 3339 writes it, in UTC and to the second: `2026-11-28T00:30:00Z`. One before 1970 is shown as 1970.
pub fn rfc3339(moment: SystemTime) -> String {
    let seconds = moment.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let Date { year, month, day, hour, minute, second, .. } = Date::of(seconds);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The name of the first processor; architectures do not agree on what to call it.
fn processor(processors: &str) -> String {
    let names = ["model name", "Model", "cpu model", "Hardware", "cpu", "uarch"];
    names.iter().find_map(|name| field(processors, name)).unwrap_or_default()
}

fn memory_octets(memory: &str) -> u64 {
    let total = field(memory, "MemTotal").unwrap_or_default();
    let kibibytes: Option<u64> = total.strip_suffix(" kB").and_then(|number| number.trim().parse().ok());
    kibibytes.unwrap_or(0).saturating_mul(1024)
}

/// What stands behind `name:` at the beginning of a line.
fn field(text: &str, name: &str) -> Option<String> {
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    let mut values =
        lines.filter(|(found, _)| found.trim() == name).map(|(_, value)| value.trim().to_owned());
    values.next()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn moments_are_written_in_utc() {
        assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_millis(1_795_473_601_999)), "2026-11-23T22:40:01Z");
        assert_eq!(rfc3339(UNIX_EPOCH - Duration::from_secs(1)), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn what_the_kernel_does_not_tell_is_empty() {
        assert_eq!(processor(""), "");
        assert_eq!(memory_octets("MemTotal: many kB\n"), 0);
        assert_eq!(read("/proc/there/is/no/such/file"), "");
    }

    #[test]
    fn the_fields_are_found_as_the_kernel_writes_them() {
        let processors = "processor\t: 0\nmodel name\t: Some Processor @ 2.00GHz\n\nprocessor\t: 1\n";
        assert_eq!(processor(processors), "Some Processor @ 2.00GHz");
        assert_eq!(memory_octets("MemTotal:       16384 kB\nMemFree: 1 kB\n"), 16 << 20);
        assert_eq!(
            field("Cpus_allowed:\t3\nCpus_allowed_list:\t0-1\n", "Cpus_allowed_list"),
            Some("0-1".into())
        );
    }
}
