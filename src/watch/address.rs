//! The broker's address on the command line: `mqtt://[USER@]HOST[:PORT][/PREFIX]`. A password in it is refused, because
//! shells and process lists show the command line.

use std::{fmt, net::Ipv6Addr};

/// The longest topic prefix, as in the configuration.
const PREFIX_BYTES_MAX: usize = 64;
/// The default prefix of the boxes.
const PREFIX: &str = "edge-ger";

/// A broker and the topic prefix of a fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// Encrypted: `mqtts`.
    pub secure: bool,
    /// The user, if the broker requires one.
    pub user: Option<String>,
    /// A name or an address; an IPv6 address without brackets.
    pub host: String,
    /// By default 1883, or 8883 with encryption.
    pub port: u16,
    /// `mqtt.topic_prefix` of the boxes.
    pub prefix: String,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "mqtts" } else { "mqtt" };
        let user = self.user.as_ref().map_or_else(String::new, |user| format!("{user}@"));
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        write!(f, "{scheme}://{user}{host}:{}/{}", self.port, self.prefix)
    }
}

/// Parses an address.
///
/// # Errors
/// What is wrong with it, and the cure; without the address, because it may contain a password.
pub(crate) fn parse(typed: &str) -> Result<Address, &'static str> {
    let (scheme, rest) = typed.split_once("://").ok_or("the scheme is missing: write mqtt://HOST or mqtts://HOST")?;
    let secure = match scheme {
        "mqtt" => false,
        "mqtts" => true,
        _ => return Err("there is no such scheme: write mqtt://HOST, or mqtts://HOST where the broker encrypts"),
    };
    // A password may contain any character, so everything before the last @ is the login.
    let (user, place) = rest.rsplit_once('@').map_or((None, rest), |(user, place)| (Some(user), place));
    let user = user.map(login).transpose()?;
    if place.contains(['?', '#', ' ']) || place.chars().any(char::is_control) {
        return Err("a ?, a # or a space stands in it: write mqtt://[USER@]HOST[:PORT][/PREFIX]");
    }
    let (authority, prefix) = place.split_once('/').unwrap_or((place, ""));
    let (host, port) = host_and_port(authority)?;
    let port = match port {
        None if secure => 8883,
        None => 1883,
        Some(port) => port.parse().ok().filter(|port| 0 < *port).ok_or("the port is no number from 1 to 65535")?,
    };
    let prefix = match prefix.trim_end_matches('/') {
        "" => PREFIX,
        prefix if is_prefix(prefix) => prefix,
        _ => return Err("what follows the / is no topic prefix: write what the boxes have as mqtt.topic_prefix"),
    };
    Ok(Address { secure, user, host: host.to_owned(), port, prefix: prefix.to_owned() })
}

fn login(user: &str) -> Result<String, &'static str> {
    match user {
        "" => Err("the user before the @ is missing: write mqtt://USER@HOST"),
        _ if user.contains(':') => {
            Err("a password must not stand in the address, because shells and lists of processes \
            show it: write it into a file, name that with --password-file, and write mqtt://USER@HOST")
        }
        _ if user.contains('/') => Err("an @ stands in the wrong place: write mqtt://[USER@]HOST[:PORT][/PREFIX]"),
        _ if user.chars().any(|character| character.is_control() || character.is_whitespace()) => {
            Err("the user before the @ holds a space: write mqtt://USER@HOST")
        }
        _ => Ok(user.to_owned()),
    }
}

fn host_and_port(authority: &str) -> Result<(&str, Option<&str>), &'static str> {
    const WRONG: &str = "the host is missing, or is no host name or address: write mqtt://HOST";
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or(WRONG)?;
            host.parse::<Ipv6Addr>().map_err(|_| WRONG)?;
            let port = if port.is_empty() { None } else { Some(port.strip_prefix(':').ok_or(WRONG)?) };
            return Ok((host, port));
        }
        None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
    };
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if host.is_empty() || !host.bytes().all(fits) { Err(WRONG) } else { Ok((host, port)) }
}

fn is_prefix(prefix: &str) -> bool {
    let fits = |level: &str| {
        !level.is_empty() && level.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
    };
    prefix.len() <= PREFIX_BYTES_MAX && prefix.split('/').all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_understood() {
        let check = |typed: &str, shown: &str| assert_eq!(parse(typed).unwrap().to_string(), shown, "{typed}");
        check("mqtt://broker.local", "mqtt://broker.local:1883/edge-ger");
        check("mqtts://broker", "mqtts://broker:8883/edge-ger");
        check("mqtt://anna@10.0.0.7:1884/site-7/edge-ger/", "mqtt://anna@10.0.0.7:1884/site-7/edge-ger");
        check("mqtt://[fe80::1]:1883", "mqtt://[fe80::1]:1883/edge-ger");
        assert_eq!(parse("mqtt://[::1]").unwrap().host, "::1");
    }

    #[test]
    fn faults_have_a_cure_and_never_show_a_password() {
        let check = |typed: &str, words: &str| {
            let fault = parse(typed).unwrap_err();
            assert!(fault.contains(words) && !fault.contains("swordfish"), "{typed}: {fault}");
        };
        check("mqtt://anna:swordfish@broker", "--password-file");
        check("mqtt://anna:sword/fish@broker", "--password-file");
        check("mqtt://anna:sword@fish@broker", "--password-file");
        check("mqtt://:swordfish@broker", "--password-file");
        check("broker.local", "scheme");
        check("http://broker", "scheme");
        check("mqtt://@broker", "user");
        check("mqtt://broker/a@b", "@");
        check("mqtt://", "host");
        check("mqtt://[::1", "host");
        check("mqtt://bro ker", "space");
        check("mqtt://b\u{1b}[2J", "space");
        check("mqtt://broker:0", "port");
        check("mqtt://broker:x", "port");
        check("mqtt://broker/edge-ger/+", "prefix");
        check("mqtt://broker/a//b", "prefix");
        check("mqtt://broker?x=1", "?");
    }
}
