//! ICE servers as an operator names them.

use core::{fmt, str::FromStr};
use shoal_protocol::rendezvous::IceServer;

/// What peers get unless the operator says otherwise or the server listens on loopback,
/// where none is needed. Without STUN, peers behind different NATs never meet.
pub const DEFAULT: &str = "stun:stun.l.google.com:19302";

/// The argument of `--ice-server`: `stun:HOST[:PORT]`, or
/// `turn:USER:PASSWORD@HOST[:PORT][?transport=udp|tcp]` (`turns:` over TLS), or `none`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IceArgument {
    /// No ICE servers at all.
    None,
    /// This one.
    Server(IceServer),
}

/// A text that names no ICE server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected stun:HOST[:PORT], turn:USER:PASSWORD@HOST[:PORT][?transport=udp|tcp], \
     turns:…, or none"
)]
pub struct InvalidIceServer;

/// As it is named, passwords included.
impl fmt::Display for IceArgument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Server(server) = self else {
            return f.write_str("none");
        };
        let url = server.urls.first().map_or("", String::as_str);
        match (url.split_once(':'), &server.username, &server.credential) {
            (Some((scheme, place)), Some(user), Some(password)) => {
                write!(f, "{scheme}:{user}:{password}@{place}")
            }
            _ => f.write_str(url),
        }
    }
}

impl FromStr for IceArgument {
    type Err = InvalidIceServer;

    fn from_str(text: &str) -> Result<Self, InvalidIceServer> {
        if text == "none" {
            return Ok(Self::None);
        }
        let (scheme, rest) = text.split_once(':').ok_or(InvalidIceServer)?;
        let (account, place) = match rest.rsplit_once('@') {
            Some((account, place)) => (Some(account), place),
            None => (None, rest),
        };
        check_place(place, scheme)?;
        let url = format!("{scheme}:{place}");
        match (scheme, account) {
            ("stun" | "stuns", None) => Ok(Self::Server(IceServer {
                urls: vec![url],
                username: None,
                credential: None,
            })),
            ("turn" | "turns", Some(account)) => {
                let (user, password) = account.split_once(':').ok_or(InvalidIceServer)?;
                if user.is_empty() || password.is_empty() {
                    return Err(InvalidIceServer);
                }
                Ok(Self::Server(IceServer {
                    urls: vec![url],
                    username: Some(user.into()),
                    credential: Some(password.into()),
                }))
            }
            _ => Err(InvalidIceServer),
        }
    }
}

/// Host, port and query of a URL: browsers refuse the whole list for one they cannot read.
fn check_place(place: &str, scheme: &str) -> Result<(), InvalidIceServer> {
    let (address, query) = match place.split_once('?') {
        Some((address, query)) => (address, Some(query)),
        None => (place, None),
    };
    let transport_fits = match query {
        None => true,
        Some("transport=udp" | "transport=tcp") => scheme.starts_with("turn"),
        Some(_) => false,
    };
    // A port follows the last colon outside the brackets of an IPv6 address.
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (address, None),
    };
    let host_fits = match host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
    {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
            !host.is_empty() && host.bytes().all(plain)
        }
    };
    let port_fits = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    if transport_fits && host_fits && port_fits {
        Ok(())
    } else {
        Err(InvalidIceServer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(url: &str, account: Option<(&str, &str)>) -> Result<IceArgument, InvalidIceServer> {
        Ok(IceArgument::Server(IceServer {
            urls: vec![url.into()],
            username: account.map(|(user, _)| user.into()),
            credential: account.map(|(_, password)| password.into()),
        }))
    }

    #[test]
    fn servers_are_named_by_url() {
        assert_eq!("none".parse(), Ok(IceArgument::None));
        for text in [
            "none",
            "stun:[::1]",
            "turn:joe:p@ss:word@turn.example:3478?transport=tcp",
        ] {
            assert_eq!(
                text.parse::<IceArgument>().map(|it| it.to_string()),
                Ok(text.into())
            );
        }
        assert_eq!(DEFAULT.parse::<IceArgument>(), server(DEFAULT, None));
        assert_eq!(
            "turn:joe:p@ss:word@turn.example:3478?transport=tcp".parse::<IceArgument>(),
            server(
                "turn:turn.example:3478?transport=tcp",
                Some(("joe", "p@ss:word"))
            )
        );
        assert_eq!(
            "turns:joe:x@[2001:db8::1]:443".parse::<IceArgument>(),
            server("turns:[2001:db8::1]:443", Some(("joe", "x")))
        );
        assert_eq!(
            "stun:[::1]".parse::<IceArgument>(),
            server("stun:[::1]", None)
        );
    }

    #[test]
    fn what_a_browser_would_refuse_is_refused_here() {
        for text in [
            "",
            "stun:",
            "stun.example",
            "http://stun.example",
            "stun:a b",
            "stun:host:0",
            "stun:host:99999",
            "stun:host?transport=udp",
            "stun:joe:x@host",
            "stun:::1",
            "turn:host",
            "turn:joe@host",
            "turn:joe:@host",
            "turn:joe:x@host?transport=sctp",
        ] {
            assert_eq!(text.parse::<IceArgument>(), Err(InvalidIceServer), "{text}");
        }
    }
}
