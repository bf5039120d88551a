//! Origins of pages, as an operator names them.

use std::net::{Ipv4Addr, Ipv6Addr};

/// An origin as browsers send it: in lower case, without the port that its scheme implies. One that
/// no browser would send matches nothing, so it is refused.
pub(super) fn parse_origin(text: &str) -> Result<String, String> {
    let origin = text.strip_suffix('/').unwrap_or(text).to_ascii_lowercase();
    let form = "an origin is a scheme, a host and perhaps a port: https://example.org";
    let (scheme, place) = origin.split_once("://").ok_or(form)?;
    let (host, port) = match place.rsplit_once(':') {
        // The last colon of an address in brackets is within them.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (place, None),
    };
    if !is_scheme(scheme) || host.is_empty() || host.contains(['/', '?', '#', '@']) {
        return Err(form.into());
    }
    let host = parse_host(host)?;
    let digits = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let port: Option<u16> = match port {
        None => None,
        Some(port) => Some(
            port.parse()
                .ok()
                .filter(|_| digits(port))
                .ok_or("the port of an origin is a number up to 65535")?,
        ),
    };
    let implied = match scheme {
        "https" => Some(443),
        "http" => Some(80),
        _ => None,
    };
    Ok(match port.filter(|_| port != implied) {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    })
}

/// RFC 3986, section 3.1.
fn is_scheme(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_lowercase())
        && bytes.all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte)
        })
}

fn parse_host(host: &str) -> Result<String, String> {
    if let Some(address) = host.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
        let address = address.parse::<Ipv6Addr>().map_err(|_| "no IPv6 address")?;
        // Browsers write those of IPv4 in hexadecimal too.
        return Ok(match (address.to_ipv4_mapped(), address.segments()) {
            (Some(_), [.., high, low]) => format!("[::ffff:{high:x}:{low:x}]"),
            _ => format!("[{address}]"),
        });
    }
    if host.contains('*') {
        return Err("each origin is named; there are no patterns".into());
    }
    if !host.is_ascii() {
        return Err("browsers send hosts in ASCII, as in https://xn--bcher-kva.example".into());
    }
    let plain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    let mut labels = host.strip_suffix('.').unwrap_or(host).split('.');
    if !labels
        .clone()
        .all(|label| !label.is_empty() && label.bytes().all(plain))
    {
        return Err("a host has letters, digits, hyphens, and dots between them".into());
    }
    // A host that ends with a number is an address to browsers.
    let last = labels.next_back().unwrap_or_default();
    if last.bytes().all(|byte| byte.is_ascii_digit()) && host.parse::<Ipv4Addr>().is_err() {
        return Err("no IPv4 address".into());
    }
    Ok(host.into())
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
            ("https://[2001:DB8:0::1]:8443", "https://[2001:db8::1]:8443"),
            ("https://[::ffff:1.2.3.4]", "https://[::ffff:102:304]"),
            ("https://x:0443", "https://x"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("https://my_site.example.", "https://my_site.example."),
            (
                "https://xn--bcher-kva.example",
                "https://xn--bcher-kva.example",
            ),
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
            "https://x:",
            "https://x:99999",
            "https://x:+1",
            "https://x:y",
            "https://*.example.org",
            "*://example.org",
            "https://b\u{fc}cher.example",
            "https://a b",
            "https://a,b",
            "https://a..b",
            "https://.",
            "https://[::1",
            "https://[1.2.3.4]",
            "https://1.2.3",
            "https://256.1.1.1",
            "null",
        ] {
            assert!(parse_origin(text).is_err(), "{text}");
        }
    }
}
