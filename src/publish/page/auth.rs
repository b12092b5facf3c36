//! Who may read the status page.
//!
//! At a loopback address, everybody on this machine; at any other address, everybody with the token. A web site could
//! point a name of its own at 127.0.0.1 and read the page through its visitor's browser (DNS rebinding), so at loopback
//! the `Host` header must name this machine. With a token this is not necessary: a browser sends it only to the host
//! name for which it was entered.

use std::net::IpAddr;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::config::Secret;

/// A longer header is refused, bytes.
const HEADER_BYTES_MAX: usize = 4096;

/// What a request needs.
#[derive(Debug)]
pub(super) enum Auth {
    /// A `Host` header that names this machine.
    Loopback,
    /// The token with this SHA-256 hash.
    Token([u8; 32]),
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The `Host` header does not name this machine.
    Host,
    /// The token is missing or wrong.
    Token,
}

impl Auth {
    pub(super) fn token(token: &Secret) -> Self {
        Self::Token(hash(token.reveal().as_bytes()))
    }

    /// Checks the headers of a request.
    pub(super) fn check(&self, host: Option<&str>, authorization: Option<&str>) -> Result<(), Refusal> {
        match self {
            Self::Loopback if host.is_some_and(is_this_machine) => Ok(()),
            Self::Loopback => Err(Refusal::Host),
            Self::Token(expected) => match authorization.and_then(token_of) {
                // In constant time, though the time could only tell something about a hash.
                Some(token) if hash(&token).ct_eq(expected).into() => Ok(()),
                _ => Err(Refusal::Token),
            },
        }
    }
}

/// Whether `host`, with or without a port, names this machine. Any port will do, because a tunnel has its own.
fn is_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The token of a header: `Bearer TOKEN` (RFC 6750), or the password of `Basic` (RFC 7617) with any user name.
fn token_of(authorization: &str) -> Option<Vec<u8>> {
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
    let colon = pair.iter().position(|byte| *byte == b':')?;
    Some(pair[colon + 1..].to_vec())
}

fn hash(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_loopback_the_host_must_be_this_machine() {
        let auth = Auth::Loopback;
        for host in ["localhost", "LOCALHOST:8417", "127.0.0.1", "127.0.0.1:9", "127.9.9.9:8417", "[::1]:8417", "[::1]"]
        {
            assert_eq!(auth.check(Some(host), None), Ok(()), "{host}");
        }
        for host in
            ["", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example:8417", "192.168.1.5", "[::2]"]
        {
            assert_eq!(auth.check(Some(host), None), Err(Refusal::Host), "{host}");
        }
        assert_eq!(auth.check(None, Some("Bearer 0123456789abcdef")), Err(Refusal::Host));
    }

    #[test]
    fn a_token_is_accepted_as_bearer_or_basic() {
        let auth = Auth::token(&Secret::new("0123456789:abcdef".into()));
        let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
        for header in ["Bearer 0123456789:abcdef", "bearer  0123456789:abcdef ", &basic("anyone:0123456789:abcdef")] {
            assert_eq!(auth.check(None, Some(header)), Ok(()), "{header}");
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
            assert_eq!(auth.check(Some("localhost"), Some(header)), Err(Refusal::Token), "{header}");
        }
        assert_eq!(auth.check(Some("localhost"), None), Err(Refusal::Token));
    }
}
