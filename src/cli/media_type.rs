//! What a file is, by its name: the media types (RFC 6838) of what people attach to mail.

/// The type of a file called so; `application/octet-stream` for what is not known, which every reader offers to save.
pub fn media_type(name: &str) -> &'static str {
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension).to_ascii_lowercase();
    let known = TYPES.iter().find(|(_, extensions)| extensions.split(' ').any(|known| known == extension));
    known.map_or("application/octet-stream", |(media_type, _)| media_type)
}

const TYPES: [(&str, &str); 38] = [
    ("text/plain", "txt text log conf c h rs py sh patch diff"),
    ("text/markdown", "md markdown"),
    ("text/csv", "csv"),
    ("text/html", "html htm"),
    ("text/css", "css"),
    ("text/javascript", "js mjs"),
    ("text/calendar", "ics"),
    ("text/vcard", "vcf"),
    ("application/json", "json"),
    ("application/xml", "xml"),
    ("application/toml", "toml"),
    ("application/yaml", "yaml yml"),
    ("application/pdf", "pdf"),
    ("application/rtf", "rtf"),
    ("application/zip", "zip"),
    ("application/gzip", "gz tgz"),
    ("application/zstd", "zst"),
    ("application/x-xz", "xz"),
    ("application/x-bzip2", "bz2"),
    ("application/x-tar", "tar"),
    ("application/x-7z-compressed", "7z"),
    ("application/msword", "doc"),
    ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", "docx"),
    ("application/vnd.ms-excel", "xls"),
    ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "xlsx"),
    ("application/vnd.ms-powerpoint", "ppt"),
    ("application/vnd.openxmlformats-officedocument.presentationml.presentation", "pptx"),
    ("application/vnd.oasis.opendocument.text", "odt"),
    ("application/vnd.oasis.opendocument.spreadsheet", "ods"),
    ("image/png", "png"),
    ("image/jpeg", "jpg jpeg"),
    ("image/gif", "gif"),
    ("image/webp", "webp"),
    ("image/svg+xml", "svg"),
    ("audio/mpeg", "mp3"),
    ("audio/ogg", "ogg oga opus"),
    ("video/mp4", "mp4 m4v"),
    ("video/webm", "webm"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_name_tells_what_a_file_is() {
        for (name, expected) in [
            ("report.pdf", "application/pdf"),
            ("photo.JPEG", "image/jpeg"),
            ("a.tar.gz", "application/gzip"),
            ("notes.txt", "text/plain"),
            ("pdf", "application/octet-stream"),
            ("a.", "application/octet-stream"),
            ("a.unknown", "application/octet-stream"),
        ] {
            assert_eq!(media_type(name), expected, "{name}");
        }
    }

    #[test]
    fn no_extension_has_two_types() {
        let mut all: Vec<&str> = TYPES.iter().flat_map(|(_, extensions)| extensions.split(' ')).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
