//! Content codings: which form of a file an asker gets (RFC 9110, section 12.5.3).
//!
//! Codings this server does not have are not looked at, and who refuses everything it has
//! gets the file as it is, since that serves it better than an error.

use axum::http::{HeaderMap, header};

/// A content coding; what compresses better is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Coding {
    Identity,
    Gzip,
    Brotli,
}

impl Coding {
    /// Its name in headers.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Brotli => "br",
        }
    }
}

/// The coding that the asker wants most among those there are, the best where it is all the
/// same to it.
pub(crate) fn choose(request: &HeaderMap, there: impl Iterator<Item = Coding>) -> Coding {
    there
        .map(|coding| (weight(request, coding), coding))
        .filter(|(weight, _)| *weight > 0)
        .max()
        .map_or(Coding::Identity, |(_, coding)| coding)
}

/// How much the asker wants a coding, in thousandths. What it does not name it does not
/// want; identity needs no name, as it is what is left.
fn weight(request: &HeaderMap, coding: Coding) -> u16 {
    let mut of_all_others = 0;
    let values = request.get_all(header::ACCEPT_ENCODING).iter();
    for element in values.flat_map(|value| value.to_str().unwrap_or_default().split(',')) {
        let (name, weight) = match element.split_once(';') {
            None => (element.trim(), 1000),
            Some((name, parameter)) => (name.trim(), thousandths(parameter)),
        };
        if name.eq_ignore_ascii_case(coding.name()) {
            return weight;
        }
        if name == "*" {
            of_all_others = weight;
        }
    }
    of_all_others
}

/// Reads `q=0.5`. What cannot be read counts as a refusal, which is always safe.
fn thousandths(parameter: &str) -> u16 {
    let number = match parameter.trim().split_once('=') {
        Some(("q" | "Q", number)) => number.parse().unwrap_or(0.0_f32),
        _ => 0.0,
    };
    (number.clamp(0.0, 1.0) * 1000.0).round() as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use Coding::{Brotli, Gzip, Identity};

    fn chosen(accepted: &str, there: &[Coding]) -> Coding {
        let mut request = HeaderMap::new();
        request.insert(header::ACCEPT_ENCODING, accepted.parse().unwrap());
        choose(&request, there.iter().copied())
    }

    #[test]
    fn the_asker_decides_and_then_the_size() {
        let all = [Identity, Gzip, Brotli];
        for (accepted, coding) in [
            ("gzip, deflate, br, zstd", Brotli),
            ("gzip, deflate", Gzip),
            ("GZIP;q=0.5,BR ; q=0.1", Gzip),
            ("br;q=0.001", Brotli),
            ("*", Brotli),
            ("*;q=0.5, br;q=0", Gzip),
            ("identity, br;q=0.9", Identity),
            ("deflate", Identity),
            ("", Identity),
            ("br;q=0, gzip;q=0.0", Identity),
            ("br;level=11, gzip;q=", Identity),
            ("br;q=NaN, gzip;q=-1", Identity),
            ("identity;q=0", Identity),
        ] {
            assert_eq!(chosen(accepted, &all), coding, "{accepted}");
        }
        assert_eq!(chosen("br, gzip;q=0.5", &[Identity, Gzip]), Gzip);
        assert_eq!(chosen("br", &[Identity]), Identity);
        assert_eq!(choose(&HeaderMap::new(), all.into_iter()), Identity);
    }

    #[test]
    fn a_header_may_come_in_parts() {
        let mut request = HeaderMap::new();
        request.append(header::ACCEPT_ENCODING, "deflate".parse().unwrap());
        request.append(header::ACCEPT_ENCODING, "gzip".parse().unwrap());
        assert_eq!(choose(&request, [Identity, Gzip].into_iter()), Gzip);
    }
}
