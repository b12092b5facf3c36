//! A value as its key wants it, or what is wrong with it.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::{Component, Path, PathBuf},
};

use toml::de::DeValue;

mod hours;
mod masks;

use super::{
    remark::Wrong,
    schema::{Key, Kind, TEXT_BYTES_MAX},
    suggest, url,
};
use crate::{config::schedule::Schedule, mask::Polygon};

/// A value that fits its key.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Text(String),
    Path(PathBuf),
    Url(url::Url),
    Integer(i64),
    Number(f64),
    Switch(bool),
    List(Vec<String>),
    Masks(Vec<Polygon>),
    Hours(Schedule),
}

/// What a value depends on besides itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Base<'a> {
    /// Where relative paths start.
    pub(super) folder: &'a Path,
    /// Where systemd put the credentials.
    pub(super) credentials: Option<&'a Path>,
}

/// Takes a value from a file.
pub(super) fn from_toml(key: &Key, value: &DeValue<'_>, base: Base<'_>) -> Result<Value, Wrong> {
    match (key.kind, value) {
        (Kind::Integer { .. }, DeValue::Integer(it)) => integer(key, i64::from_str_radix(it.as_str(), it.radix()).ok()),
        (Kind::Integer { unit: "milliseconds", .. }, DeValue::Float(_)) => {
            Err(Wrong::new("this is not a whole number", should(key) + " (a second is 1000 milliseconds)"))
        }
        (Kind::Integer { .. }, DeValue::Float(_)) => Err(Wrong::new("this is not a whole number", should(key))),
        (Kind::Number { .. }, DeValue::Integer(it)) => {
            number(key, if it.radix() == 10 { it.as_str().parse().ok() } else { None })
        }
        (Kind::Number { .. }, DeValue::Float(it)) => number(key, it.as_str().parse().ok()),
        (Kind::Switch, DeValue::Boolean(it)) => Ok(Value::Switch(*it)),
        (Kind::Choices(_), DeValue::Array(items)) => {
            let words: Option<Vec<_>> = items.iter().map(|item| item.get_ref().as_str()).collect();
            words.map_or_else(|| Err(Wrong::new("not every word here is text", should(key))), |words| list(key, &words))
        }
        (Kind::Masks, DeValue::Array(items)) => masks::masks(key, items),
        (Kind::Hours, DeValue::Array(items)) => hours::from_toml(key, items),
        (Kind::Integer { .. } | Kind::Number { .. }, DeValue::String(_)) => {
            Err(Wrong::new("this is text", should(key) + ", without quotes and without a unit"))
        }
        (Kind::Switch, DeValue::String(_)) => Err(Wrong::new("this is text", should(key) + ", without quotes")),
        (Kind::Choices(_) | Kind::Hours, DeValue::String(_)) => {
            Err(Wrong::new("this is text", should(key) + ", in brackets"))
        }
        (
            Kind::Integer { .. } | Kind::Number { .. } | Kind::Switch | Kind::Choices(_) | Kind::Masks | Kind::Hours,
            other,
        ) => Err(Wrong::new(format!("this is {}", name_of(other)), should(key))),
        (_, DeValue::String(it)) => text(key, it, base),
        (_, other) => Err(Wrong::new(format!("this is {}", name_of(other)), should(key))),
    }
}

/// Takes a value from the environment, where everything is text: its key says what it means.
pub(super) fn from_environment(key: &Key, written: &str, base: Base<'_>) -> Result<Value, Wrong> {
    match key.kind {
        Kind::Integer { .. } => match written.parse() {
            Ok(it) => integer(key, Some(it)),
            Err(_) if !written.is_empty() && written.bytes().all(|it| it.is_ascii_digit()) => integer(key, None),
            Err(_) => Err(Wrong::new("this is not a whole number", should(key) + ", without a unit")),
        },
        Kind::Number { .. } => match written.parse() {
            Ok(it) => number(key, Some(it)),
            Err(_) => Err(Wrong::new("this is not a number", should(key) + ", without a unit")),
        },
        Kind::Switch => match written {
            "true" => Ok(Value::Switch(true)),
            "false" => Ok(Value::Switch(false)),
            _ => Err(Wrong::new("this is neither true nor false", should(key))),
        },
        Kind::Choices(_) => {
            let words: Vec<_> = written.split(',').map(str::trim).collect();
            list(key, &words).map_err(|wrong| Wrong { cure: wrong.cure + ", here separated by commas", ..wrong })
        }
        Kind::Masks => masks::from_environment(key, written),
        Kind::Hours => hours::hours(key, written.split(',').map(str::trim)),
        _ => text(key, written, base),
    }
}

/// What to do about a value of this key.
fn should(key: &Key) -> String {
    format!("write {}", key.kind.expectation())
}

fn name_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    }
}

/// `None` is a number too large to hold.
fn integer(key: &Key, written: Option<i64>) -> Result<Value, Wrong> {
    match (key.kind, written) {
        (Kind::Integer { min, max, .. }, Some(it)) if min <= it && it <= max => Ok(Value::Integer(it)),
        _ => Err(Wrong::new("out of range", should(key))),
    }
}

fn number(key: &Key, written: Option<f64>) -> Result<Value, Wrong> {
    match (key.kind, written) {
        (Kind::Number { min, max, .. }, Some(it)) if min <= it && it <= max => Ok(Value::Number(it)),
        (Kind::Number { unit: "seconds", .. }, _) => {
            Err(Wrong::new("out of range", should(key) + " (1000 milliseconds are a second)"))
        }
        _ => Err(Wrong::new("out of range", should(key))),
    }
}

fn list(key: &Key, words: &[&str]) -> Result<Value, Wrong> {
    let Kind::Choices(known) = key.kind else { return Err(Wrong::new("this is a list", should(key))) };
    if words.is_empty() {
        return Err(Wrong::new("the list is empty", should(key)));
    }
    if let Some(unknown) = words.iter().find(|word| !known.contains(word)) {
        return Err(unknown_word(key, unknown, known));
    }
    if words.iter().enumerate().any(|(i, word)| words[..i].contains(word)) {
        return Err(Wrong::new("a word stands here twice", should(key)));
    }
    Ok(Value::List(words.iter().map(|&word| word.to_owned()).collect()))
}

fn unknown_word(key: &Key, written: &str, known: &[&str]) -> Wrong {
    match suggest::nearest(written, known.iter().copied()) {
        Some(near) => Wrong::new("there is no such choice", format!("did you mean \"{near}\"? {}", should(key))),
        None => Wrong::new("there is no such choice", should(key)),
    }
}

fn text(key: &Key, written: &str, base: Base<'_>) -> Result<Value, Wrong> {
    if written.trim().is_empty() {
        return Err(Wrong::new("this is empty", should(key)));
    }
    if TEXT_BYTES_MAX < written.len() {
        return Err(Wrong::new(format!("longer than {TEXT_BYTES_MAX} bytes"), should(key)));
    }
    if written.chars().any(char::is_control) {
        return Err(Wrong::new("a line break or another control character stands in it", should(key)));
    }
    let plain = |fits: bool, what: &str| match fits {
        true => Ok(Value::Text(written.to_owned())),
        false => Err(Wrong::new(what, should(key))),
    };
    match key.kind {
        Kind::Name => plain(is_name(written), "this is no name"),
        Kind::User => plain(!written.contains(':'), "a : stands in it, so it may hold a password"),
        Kind::Host => plain(is_host(written), "this is neither a host name nor an address"),
        Kind::Topic => plain(is_topic(written), "this is no part of a topic"),
        Kind::Device => plain(is_device(written), "this is no microphone's name"),
        Kind::Element => plain(is_element(written), "this is no element's name"),
        Kind::Listen => plain(listen(written).is_some(), "this is no address"),
        Kind::Fingerprint => plain(fingerprint(written).is_some(), "this is no fingerprint"),
        Kind::Choice(known) if known.contains(&written) => Ok(Value::Text(written.to_owned())),
        Kind::Choice(_) if key.name == "context" && is_banned(written) => Err(Wrong::new(
            "the EU AI Act, Art. 5(1)(f), bans inferring emotions in workplaces and in education",
            "edge-ger must not be used there",
        )),
        Kind::Choice(known) => Err(unknown_word(key, written, known)),
        Kind::Path => path(written, base).map(Value::Path),
        Kind::Secret => secret(written, base).map(Value::Path),
        Kind::Url => url::parse(written, base.folder).map(Value::Url),
        _ => plain(true, ""),
    }
}

fn path(written: &str, base: Base<'_>) -> Result<PathBuf, Wrong> {
    if written.starts_with('~') {
        return Err(Wrong::new("a ~ means nothing here", "write the whole path"));
    }
    Ok(base.folder.join(written))
}

fn secret(written: &str, base: Base<'_>) -> Result<PathBuf, Wrong> {
    let Some(name) = written.strip_prefix("credential:") else { return path(written, base) };
    let mut parts = Path::new(name).components();
    if !matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) {
        return Err(Wrong::new("this is no credential's name", "write \"credential:NAME\", with a NAME without /"));
    }
    base.credentials.map(|folder| folder.join(name)).ok_or_else(|| {
        Wrong::new(
            "there are no credentials here: CREDENTIALS_DIRECTORY is not set",
            "systemd sets it where the unit says LoadCredential=NAME:PATH; elsewhere set it, or name a file",
        )
    })
}

/// Whether it can be a part of a topic: `[a-z0-9_-]`, 1 to 32 characters.
pub(super) fn is_name(text: &str) -> bool {
    let fits = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'_' || it == b'-';
    (1..=32).contains(&text.len()) && text.bytes().all(fits)
}

/// Makes a name of any text: other characters become `-`. `None` where nothing is left.
pub(super) fn to_name(text: &str) -> Option<String> {
    let fits = |it: char| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '_';
    let name: String = text.to_lowercase().chars().map(|it| if fits(it) { it } else { '-' }).take(32).collect();
    let name = name.trim_matches('-');
    is_name(name).then(|| name.to_owned())
}

/// Whether it is a host name (RFC 1123, section 2.1, and `_`, which people use) or an address without brackets.
pub(super) fn is_host(text: &str) -> bool {
    let fits = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-' || it == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    text.parse::<IpAddr>().is_ok() || (name.len() <= 253 && name.split('.').all(fits))
}

fn is_topic(text: &str) -> bool {
    let fits = |level: &str| {
        !level.is_empty() && level.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'_' || it == b'-')
    };
    text.len() <= 64 && text.split('/').all(fits)
}

fn is_device(text: &str) -> bool {
    text == "default"
        || ["pulseaudio:", "alsa:"].iter().any(|host| text.strip_prefix(host).is_some_and(|name| !name.is_empty()))
}

fn is_element(text: &str) -> bool {
    text.len() <= 64 && text.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'_' || it == b'-')
}

/// Where a page listens: `Some(None)` is nowhere.
pub(super) fn listen(text: &str) -> Option<Option<IpAddr>> {
    match text {
        "off" => Some(None),
        "loopback" => Some(Some(IpAddr::V4(Ipv4Addr::LOCALHOST))),
        address => address.parse().ok().map(Some),
    }
}

/// The bytes of `sha256:` and 64 hexadecimal digits, with or without a `:` between pairs, as OpenSSL prints them.
pub(super) fn fingerprint(text: &str) -> Option<[u8; 32]> {
    let digits = text.strip_prefix("sha256:")?;
    let pairs: Vec<_> = digits.split(':').collect();
    if 1 < pairs.len() && pairs.iter().any(|pair| pair.len() != 2) {
        return None;
    }
    let digits = pairs.concat();
    if digits.len() != 64 || !digits.bytes().all(|it| it.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&digits[at..at + 2], 16).ok()?;
    }
    Some(bytes)
}

/// Words that name a workplace or a place of education, whatever stands around them.
const BANNED: &[&str] = &[
    "work",
    "office",
    "factory",
    "warehouse",
    "meeting",
    "boardroom",
    "call_cent",
    "employ",
    "staff",
    "recruit",
    "interview",
    "educat",
    "school",
    "class",
    "kindergarten",
    "nursery",
    "universit",
    "campus",
    "college",
    "academy",
    "lecture",
    "exam",
    "seminar",
    "training",
    "student",
    "pupil",
    "teach",
    "learning",
];

fn is_banned(context: &str) -> bool {
    let plain: String = context.to_lowercase().chars().map(|it| if it.is_alphanumeric() { it } else { '_' }).collect();
    BANNED.iter().any(|word| plain.contains(word))
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
