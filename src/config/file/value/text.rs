//! Texts: names, hosts, paths and their like. None is empty, longer than [`BYTES_MAX`] or has a control character in
//! it.

use std::{
    net::{IpAddr, Ipv4Addr},
    ops::Deref,
    path::{Component, Path, PathBuf},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// No text is longer. A hundred cameras must fit into one message to a process (192 KiB).
const BYTES_MAX: usize = 512;

/// What a place may be.
const CONTEXTS: [&str; 8] = ["event", "retail", "transport", "public_space", "museum", "care", "research", "demo"];

/// Types for texts: a function accepts a text and makes the type's value of it.
macro_rules! text_types {
    ($($(#[$doc:meta])* $name:ident($made:ty) { $($schema:tt)* } = $read:expr $(, default $default:literal)?;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "String")]
        #[schemars(extend($($schema)*))]
        #[allow(unreachable_pub, reason = "a benchmark uses one of them")]
        pub struct $name(#[schemars(with = "String")] pub $made);

        impl TryFrom<String> for $name {
            type Error = &'static str;

            fn try_from(written: String) -> Result<Self, Self::Error> {
                let read: fn(&str) -> Result<$made, &'static str> = $read;
                plain(&written).and_then(read).map(Self)
            }
        }

        $(impl Default for $name {
            fn default() -> Self {
                Self($default.into())
            }
        })?
    )*};
}
pub(super) use text_types;

text_types! {
    /// Any text.
    Text(String) { "x-write" = "text in quotes, not empty" } =
        |text| Ok(text.to_owned()), default "";

    /// A user's name at a camera, which must not hold a `:` because HTTP's Basic and Digest schemes split there (RFC
    /// 7617, section 2).
    User(String) { "x-write" = "a user's name in quotes, without a password" } =
        |text| when(!text.contains(':'), text, "a : stands in it, so it may hold a password");

    /// A part of a topic: `[a-z0-9_-]`, 1 to 32 characters.
    Name(String) { "x-write" = "a name in quotes of a-z, 0-9, _ and -, 1 to 32 characters" } =
        |text| when(is_name(text), text, "this is no name");

    /// A host name or an address.
    Host(String) { "x-write" = "a host name or an address in quotes, without scheme, port or user" } =
        |text| when(is_host(text), text, "this is neither a host name nor an address"),
        default "";

    /// The first levels of our topics.
    TopicPrefix(String) { "x-write" = "1 to 64 of A-Z, a-z, 0-9, _, - and / in quotes, without / at either end" } =
        topic, default "edge-ger";

    /// The first levels of Home Assistant's topics.
    DiscoveryPrefix(String) { "x-write" = "1 to 64 of A-Z, a-z, 0-9, _, - and / in quotes, without / at either end" } =
        topic, default "homeassistant";

    /// A microphone.
    Device(String) { "x-write" = "\"default\", \"pulseaudio:NAME\" or \"alsa:NAME\"" } =
        |text| when(is_device(text), text, "this is no microphone's name");

    /// A GStreamer element.
    Element(String) { "x-write" = "the name of a GStreamer element in quotes" } =
        |text| when(is_element(text), text, "this is no element's name");

    /// Where the page listens.
    Listen(String) { "x-write" = "\"off\", \"loopback\" or an IP address in quotes, without a port" } =
        |text| when(text == "off" || address(text).is_some(), text, "this is no address"), default "off";

    /// The SHA-256 of a certificate.
    Fingerprint([u8; 32]) { "x-write" = "\"sha256:\" and 64 hexadecimal digits, in quotes" } =
        |text| fingerprint(text).ok_or("this is no fingerprint");

    /// A file or a folder.
    FilePath(PathBuf) { "x-write" = "a path in quotes", "format" = "path" } =
        path;

    /// The network.
    NetworkFile(PathBuf) { "x-write" = "a path in quotes", "format" = "path" } =
        path, default "/usr/share/edge-ger/edge-ger.onnx";

    /// A file whose content must not be seen. Its path is not shown either: people have put the password itself here.
    SecretFile(PathBuf) { "x-write" = "the path of a file, or \"credential:NAME\", in quotes", "format" = "secret" } =
        secret_file;

    /// What the place is.
    SiteContext(String) { "enum" = CONTEXTS } =
        context, default "";
}

macro_rules! dereferences {
    ($($target:ty: $($name:ident)*;)*) => {$($(
        impl Deref for $name {
            type Target = $target;

            fn deref(&self) -> &$target {
                &self.0
            }
        }
    )*)*};
}

dereferences! {
    str: Text Host TopicPrefix DiscoveryPrefix SiteContext;
    Path: FilePath NetworkFile SecretFile;
}

impl Listen {
    /// Where it listens, if it does.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        address(&self.0)
    }
}

impl SecretFile {
    /// The credential that is named in place of a file, if its name is one.
    pub(crate) fn credential(written: &str) -> Option<&str> {
        let name = written.strip_prefix("credential:")?;
        let mut parts = Path::new(name).components();
        matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)).then_some(name)
    }
}

pub(super) fn plain(written: &str) -> Result<&str, &'static str> {
    if written.trim().is_empty() {
        return Err("this is empty");
    }
    if BYTES_MAX < written.len() {
        return Err("longer than 512 bytes");
    }
    if written.chars().any(char::is_control) {
        return Err("a line break or another control character stands in it");
    }
    Ok(written)
}

fn when(fits: bool, text: &str, what: &'static str) -> Result<String, &'static str> {
    if fits { Ok(text.to_owned()) } else { Err(what) }
}

/// The path is absolute: the source's parser has resolved it.
fn path(written: &str) -> Result<PathBuf, &'static str> {
    if written.starts_with('~') { Err("a ~ means nothing here; write the whole path") } else { Ok(written.into()) }
}

/// The source's parser has replaced a credential that exists by its path.
fn secret_file(written: &str) -> Result<PathBuf, &'static str> {
    match SecretFile::credential(written) {
        Some(_) => {
            Err("there are no credentials here: CREDENTIALS_DIRECTORY is not set; systemd sets it where the unit \
                        says LoadCredential=NAME:PATH; elsewhere set it, or name a file")
        }
        None if written.starts_with("credential:") => {
            Err("this is no credential's name; write \"credential:NAME\", with a NAME without /")
        }
        None => path(written),
    }
}

/// The EU AI Act, Art. 5(1)(f), bans inferring emotions in the workplace and in education, so these are no contexts.
/// The error for other words is that of serde for unknown variants, which gets its text with all others of this kind.
fn context(written: &str) -> Result<String, &'static str> {
    match written {
        known if CONTEXTS.contains(&known) => Ok(known.into()),
        other if is_banned(other) => Err("the EU AI Act, Art. 5(1)(f), bans inferring emotions in workplaces and in \
                                        education; edge-ger must not be used there"),
        _ => Err("unknown variant"),
    }
}
/// Whether it can be a part of a topic: `[a-z0-9_-]`, 1 to 32 characters.
fn is_name(text: &str) -> bool {
    (1..=32).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
}

/// Makes a name of any text: other characters become `-`. `None` where nothing is left.
pub(crate) fn to_name(text: &str) -> Option<String> {
    let plain = |letter| if matches!(letter, 'a'..='z' | '0'..='9' | '_') { letter } else { '-' };
    let name: String = text.to_lowercase().chars().map(plain).take(32).collect();
    let name = name.trim_matches('-');
    is_name(name).then(|| name.to_owned())
}

/// Whether it is a host name (RFC 1123, section 2.1, and `_`, which people use) or an address without brackets.
pub(super) fn is_host(text: &str) -> bool {
    let fits = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(is_word)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    text.parse::<IpAddr>().is_ok() || (name.len() <= 253 && name.split('.').all(fits))
}

fn topic(text: &str) -> Result<String, &'static str> {
    when(is_topic(text), text, "this is no part of a topic")
}

fn is_topic(text: &str) -> bool {
    let fits = |level: &str| !level.is_empty() && level.bytes().all(is_word);
    text.len() <= 64 && text.split('/').all(fits)
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

fn is_device(text: &str) -> bool {
    text == "default"
        || ["pulseaudio:", "alsa:"].iter().any(|host| text.strip_prefix(host).is_some_and(|name| !name.is_empty()))
}

fn is_element(text: &str) -> bool {
    text.len() <= 64 && text.bytes().all(is_word)
}

fn address(text: &str) -> Option<IpAddr> {
    if text == "loopback" { Some(IpAddr::V4(Ipv4Addr::LOCALHOST)) } else { text.parse().ok() }
}

/// The bytes of `sha256:` and 64 hexadecimal digits, with or without a `:` between pairs, as OpenSSL prints them.
fn fingerprint(text: &str) -> Option<[u8; 32]> {
    let digits = text.strip_prefix("sha256:")?;
    let pairs: Vec<_> = digits.split(':').collect();
    if 1 < pairs.len() && pairs.iter().any(|pair| pair.len() != 2) {
        return None;
    }
    let digits = pairs.concat();
    if digits.len() != 64 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&digits[at..at + 2], 16).ok()?;
    }
    Some(bytes)
}

/// Parts of words that name a workplace or a place of education.
const BANNED: &str = "\
    work office factory warehouse meeting boardroom call_cent employ staff recruit interview educat school \
    class kindergarten nursery universit campus college academy lecture exam seminar training student pupil \
    teach learning";

fn is_banned(context: &str) -> bool {
    let plain: String =
        context.to_lowercase().chars().map(|letter| if letter.is_alphanumeric() { letter } else { '_' }).collect();
    BANNED.split(' ').any(|word| plain.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(fits: fn(&str) -> bool, good: &[&str], bad: &[&str]) {
        for text in good {
            assert!(fits(text), "{text:?} must fit");
        }
        for text in bad {
            assert!(!fits(text), "{text:?} must not fit");
        }
    }

    #[test]
    fn names_hosts_topics_devices() {
        check(is_name, &["hall", "a", "_-9", &"x".repeat(32)], &["", "Hall", "a/b", "ä", "a b", &"x".repeat(33)]);
        check(
            is_host,
            &["broker", "broker.local.", "10.0.0.1", "::1", "my_host"],
            &["", "mqtt://broker", "broker:1883", "a..b", "-a", "[::1]", "u@h", "a b", "."],
        );
        check(is_topic, &["edge-ger", "site/7"], &["", "/a", "a/", "a//b", "a/+/b", "#", "$SYS", "a b"]);
        check(is_device, &["default", "alsa:plughw:CARD=Mic,DEV=0"], &["", "alsa:", "Mic", "hw:0"]);
    }

    #[test]
    fn names_are_made_of_file_names() {
        assert_eq!(to_name("Hall 2 (north)").as_deref(), Some("hall-2--north"));
        assert_eq!(to_name("Ä"), None);
    }

    #[test]
    fn fingerprints() {
        let plain = format!("sha256:{}", "0aF1".repeat(16));
        let pairs = format!("sha256:{}", ["0A", "f1"].repeat(16).join(":"));
        assert_eq!(fingerprint(&plain), Some(std::array::from_fn(|i| [0x0A, 0xF1][i % 2])));
        assert_eq!(fingerprint(&pairs), fingerprint(&plain));
        let (short, long) = (&plain[..plain.len() - 1], format!("{plain}0"));
        for bad in [short, &long, &plain[7..], &plain.replace("sha256", "sha1"), &plain.replace('F', "g")] {
            assert_eq!(fingerprint(bad), None, "{bad}");
        }
    }

    #[test]
    fn banned_contexts() {
        check(
            is_banned,
            &["workplace", "Office", "call-centre", "class room", "university"],
            &["event", "retail", "transport", "public_space", "museum", "care", "research", "demo"],
        );
    }
}
