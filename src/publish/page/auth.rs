//! Who is let in to the status page.
//!
//! Two ways, and no third: at loopback, whoever is at this machine; elsewhere, whoever has the token. A web site must
//! not read the page through its visitor's browser, by a name of its own that it points at 127.0.0.1 (DNS rebinding),
//! so at loopback the `Host` that was asked for must be this machine's. With a token this is moot: a browser sends
//! the token to no other name than the one it was given for.

use std::net::IpAddr;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest as _, Sha256};

use crate::config::Secret;

/// No header with a token is longer, bytes.
const HEADER_BYTES_MAX: usize = 4096;

/// Who may enter.
#[derive(Debug)]
pub(super) enum Door {
    /// Whoever asks for this machine by its own name.
    Loopback,
    /// Whoever has the token with this hash.
    Guarded([u8; 32]),
}

/// Why somebody may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Another machine's name was asked for.
    Host,
    /// There is no token, or a wrong one.
    Token,
}

impl Door {
    pub(super) fn guarded(token: &Secret) -> Self {
        Self::Guarded(hash(token.reveal().as_bytes()))
    }

    /// Whether a request with these headers is let in.
    pub(super) fn admit(&self, host: Option<&str>, authorization: Option<&str>) -> Result<(), Refusal> {
        match self {
            Self::Loopback if host.is_some_and(is_this_machine) => Ok(()),
            Self::Loopback => Err(Refusal::Host),
            Self::Guarded(expected) => match authorization.and_then(token) {
                Some(token) if is_same(&hash(&token), expected) => Ok(()),
                _ => Err(Refusal::Token),
            },
        }
    }
}

/// Whether `host`, with or without a port, names this machine and nothing else. Whatever port: a tunnel has its own.
fn is_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|it| it.is_loopback())
}

/// The token of a header: `Bearer TOKEN` (RFC 6750), or the password of `Basic` (RFC 7617), whoever the user.
fn token(authorization: &str) -> Option<Vec<u8>> {
    if HEADER_BYTES_MAX < authorization.len() {
        return None;
    }
    let (scheme, rest) = authorization.split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.as_bytes().to_vec());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = STANDARD.decode(rest).ok()?;
    let colon = pair.iter().position(|it| *it == b':')?;
    Some(pair[colon + 1..].to_vec())
}

fn hash(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Takes the same time wherever they differ. They are hashes, so that even that time would say nothing of a token.
fn is_same(one: &[u8; 32], other: &[u8; 32]) -> bool {
    let difference = one.iter().zip(other).fold(0, |sum, (a, b)| sum | (a ^ b));
    std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_loopback_only_this_machines_names_open() {
        let door = Door::Loopback;
        for host in ["localhost", "LOCALHOST:8417", "127.0.0.1", "127.0.0.1:9", "127.9.9.9:8417", "[::1]:8417", "[::1]"]
        {
            assert_eq!(door.admit(Some(host), None), Ok(()), "{host}");
        }
        for host in
            ["", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example:8417", "192.168.1.5", "[::2]"]
        {
            assert_eq!(door.admit(Some(host), None), Err(Refusal::Host), "{host}");
        }
        assert_eq!(door.admit(None, Some("Bearer 0123456789abcdef")), Err(Refusal::Host));
    }

    #[test]
    fn a_token_opens_in_two_ways() {
        let door = Door::guarded(&Secret::new("0123456789:abcdef".into()));
        let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
        for header in ["Bearer 0123456789:abcdef", "bearer  0123456789:abcdef ", &basic("anyone:0123456789:abcdef")] {
            assert_eq!(door.admit(None, Some(header)), Ok(()), "{header}");
        }
        let long = format!("Bearer {}", "x".repeat(5000));
        for header in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer 0123456789:abcdeF",
            "Bearer 0123456789:abcdef0",
            "Basic 0123456789:abcdef",
            &basic("0123456789"),
            &basic("0123456789:abcdef"),
            "Digest 0123456789:abcdef",
            &long,
        ] {
            assert_eq!(door.admit(Some("localhost"), Some(header)), Err(Refusal::Token), "{header}");
        }
        assert_eq!(door.admit(Some("localhost"), None), Err(Refusal::Token));
    }
}
