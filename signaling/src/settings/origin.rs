//! Origins of pages, as an operator names them.

/// An origin as browsers send it: in lower case, without the port that its scheme implies.
pub(super) fn parse_origin(text: &str) -> Result<String, String> {
    let origin = text.strip_suffix('/').unwrap_or(text).to_ascii_lowercase();
    let (scheme, host) = match origin.split_once("://") {
        Some((scheme, host))
            if !scheme.is_empty()
                && !host.is_empty()
                && !host.starts_with(':')
                && !host.contains(['/', '?', '#', '@']) =>
        {
            (scheme, host)
        }
        _ => {
            return Err(
                "an origin is a scheme, a host and perhaps a port: https://example.org".into(),
            );
        }
    };
    let implied = match scheme {
        "https" => ":443",
        "http" => ":80",
        _ => "",
    };
    let host = host.strip_suffix(implied).unwrap_or(host);
    Ok(format!("{scheme}://{host}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_taken_as_browsers_send_them() {
        for (given, sent) in [
            ("https://x", "https://x"),
            ("https://x:443", "https://x"),
            ("HTTPS://Shoal.Example:443/", "https://shoal.example"),
            ("http://x:80", "http://x"),
            ("http://x:443", "http://x:443"),
            ("https://x:4430", "https://x:4430"),
            ("https://[::1]:443", "https://[::1]"),
            ("moz-extension://0f-1", "moz-extension://0f-1"),
        ] {
            assert_eq!(parse_origin(given), Ok(sent.into()), "{given}");
        }
        for text in [
            "",
            "x",
            "https://",
            "://x",
            "https://x/page",
            "https://me@x",
            "https://x?",
            "https://:443",
        ] {
            assert!(parse_origin(text).is_err(), "{text}");
        }
    }
}
