//! Every section and every key there is, in one place: what it means, what it may be, what it is when absent.
//!
//! The reader refuses whatever is not here; `configs/full.toml` is written from here.

mod keys;

pub use keys::SECTIONS;

/// A section, such as `[mqtt]`.
#[derive(Debug)]
pub struct Section {
    /// The word between the brackets.
    pub name: &'static str,
    /// Whose it is.
    pub scope: Scope,
    /// What it is for.
    pub doc: &'static str,
    /// Its keys, in reading order.
    pub keys: &'static [Key],
}

/// Whose a section is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Of the one camera that the file is about.
    Camera,
    /// Of the box: in any one file, or the same in several.
    Box,
}

/// A key.
#[derive(Debug)]
pub struct Key {
    /// Its name, which ends in its unit where it has one.
    pub name: &'static str,
    /// What it may be.
    pub kind: Kind,
    /// What it is when absent.
    pub absent: Absent,
    /// What it means.
    pub doc: &'static str,
    /// Other words that people write for it.
    pub synonyms: &'static [&'static str],
}

/// What a key is when it is absent.
#[derive(Clone, Copy, Debug)]
pub enum Absent {
    /// It must not be. With an example, as TOML.
    Refused(&'static str),
    /// This value, as TOML.
    Value(&'static str),
    /// Something that only words can say, and an example, as TOML.
    Words(&'static str, &'static str),
}

/// What a key may be. Every text is free of control characters and at most [`TEXT_BYTES_MAX`] long.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Any text but an empty one.
    Text,
    /// A user's name at a camera, which must not hold a `:` because HTTP's Basic and Digest schemes split there
    /// (RFC 7617, section 2).
    User,
    /// A part of a topic: `[a-z0-9_-]`, 1 to 32 characters.
    Name,
    /// A host name or an address.
    Host,
    /// A part of a topic that may have levels.
    Topic,
    /// Where pictures come from.
    Url,
    /// A microphone.
    Device,
    /// A GStreamer element.
    Element,
    /// Where a page listens: `off`, `loopback` or an address.
    Listen,
    /// The SHA-256 of a certificate.
    Fingerprint,
    /// A file or a folder.
    Path,
    /// A file whose content must not be seen. Its path is not shown either: people have put the password itself here.
    Secret,
    /// A whole number.
    Integer {
        /// The least.
        min: i64,
        /// The most.
        max: i64,
        /// Of what, in the plural; may be empty.
        unit: &'static str,
    },
    /// A number.
    Number {
        /// The least.
        min: f64,
        /// The most.
        max: f64,
        /// Of what, in the plural; may be empty.
        unit: &'static str,
    },
    /// True or false.
    Switch,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// At least one of these words, none twice.
    Choices(&'static [&'static str]),
    /// Three numbers that sum to 1, each from [`SHARE_MIN`] on: none is impossible.
    Shares,
    /// Polygons over the picture.
    Masks,
    /// Hours of the week.
    Hours,
}

/// The least of three shares: what is thought impossible could never be seen.
pub const SHARE_MIN: f64 = 0.02;
/// The shares may sum to 1 within this: people write two or three digits.
pub const SHARES_TOLERANCE: f64 = 0.011;

/// No text is longer. A hundred cameras must fit into one order to a room (192 KiB).
pub const TEXT_BYTES_MAX: usize = 512;

impl Key {
    const fn new(name: &'static str, kind: Kind, absent: Absent, doc: &'static str) -> Self {
        Self { name, kind, absent, doc, synonyms: &[] }
    }

    const fn or(self, synonyms: &'static [&'static str]) -> Self {
        Self { synonyms, ..self }
    }

    /// A line that sets it, with its default or an example.
    #[must_use]
    pub fn example(&self) -> String {
        let (Absent::Refused(value) | Absent::Value(value) | Absent::Words(_, value)) = self.absent;
        format!("{} = {value}", self.name)
    }
}

impl Section {
    /// Its key of that name.
    #[must_use]
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

/// The section of that name.
#[must_use]
pub fn section(name: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|section| section.name == name)
}

impl Kind {
    /// What it may be, as the end of "write …".
    #[must_use]
    pub fn expectation(&self) -> String {
        let of = |unit: &str| if unit.is_empty() { String::new() } else { format!(" of {unit}") };
        match *self {
            Self::Text => "text in quotes, not empty".into(),
            Self::User => "a user's name in quotes, without a password".into(),
            Self::Name => "a name in quotes of a-z, 0-9, _ and -, 1 to 32 characters".into(),
            Self::Host => "a host name or an address in quotes, without scheme, port or user".into(),
            Self::Topic => "1 to 64 of A-Z, a-z, 0-9, _, - and / in quotes, without / at either end".into(),
            Self::Url => "rtsp://, rtsps://, file: or v4l2: in quotes, without user or password".into(),
            Self::Device => "\"default\", \"pulseaudio:NAME\" or \"alsa:NAME\"".into(),
            Self::Element => "the name of a GStreamer element in quotes".into(),
            Self::Listen => "\"off\", \"loopback\" or an IP address in quotes, without a port".into(),
            Self::Fingerprint => "\"sha256:\" and 64 hexadecimal digits, in quotes".into(),
            Self::Path => "a path in quotes".into(),
            Self::Secret => "the path of a file, or \"credential:NAME\", in quotes".into(),
            Self::Integer { min, max, unit } => format!("a whole number{} from {min} to {max}", of(unit)),
            Self::Number { min, max, unit } => format!("a number{} from {min} to {max}", of(unit)),
            Self::Switch => "true or false".into(),
            Self::Choice(words) => one_of(words),
            Self::Shares => {
                let most = 1.0 - 2.0 * SHARE_MIN;
                format!("a list of three numbers from {SHARE_MIN} to {most} that sum to 1, such as [0.2, 0.7, 0.1]")
            }
            Self::Choices(words) => {
                format!("a list such as [\"{}\"] out of {}", words.last().unwrap_or(&""), one_of(words))
            }
            Self::Masks => {
                "a list of at most 16 polygons such as [[[0.0, 0.0], [0.3, 0.0], [0.3, 1.0], [0.0, 1.0]]], each a list \
                 of 3 to 32 points [x, y] from 0 to 1"
                    .into()
            }
            Self::Hours => "a list such as [\"Mon-Fri 08:00-18:00\", \"Sat 22:00-02:00\"]".into(),
        }
    }
}

fn one_of(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [word] => format!("\"{word}\""),
        [most @ .., last] => format!("\"{}\" or \"{last}\"", most.join("\", \"")),
    }
}

/// What a reader of the table must know first, in paragraphs.
pub const HEADER: &str = "\
Every key there is, with its meaning, what it may be, and its default. Keys with a default stand here with that
default; a key behind a # has none, or one that no value can say. What must be given is camera.url, site.context,
site.notice and mqtt.host: see minimal.toml.

One file is one camera. Several files, or a folder of them, are several cameras at one box. The sections [camera],
[sound], [sync] and [gates] belong to the file's camera; the others belong to the box and stand in any one file
(a file may hold nothing else), or the same in several.

The environment overrides every key: EDGE_GER__MQTT__HOST=broker.local is mqtt.host. What it says of a camera, it
says of all of them. Relative paths start at the folder of the file they stand in. A password never stands here but
in a file of its own, readable by the daemon alone; \"credential:NAME\" is the one that systemd's
LoadCredential=NAME:… provides.";

/// The file that names every key: `configs/full.toml`.
#[must_use]
pub fn document() -> String {
    let mut out = String::new();
    for (i, paragraph) in HEADER.split("\n\n").enumerate() {
        if 0 < i {
            out.push_str("#\n");
        }
        comment(&mut out, paragraph);
    }
    for section in SECTIONS {
        out.push('\n');
        comment(&mut out, section.doc);
        out.push_str(&format!("[{}]\n", section.name));
        for key in section.keys {
            out.push('\n');
            let absent = match key.absent {
                Absent::Refused(_) => "Must be given.".to_owned(),
                Absent::Value(value) => format!("Default: {value}."),
                Absent::Words(words, _) => format!("Default: {words}."),
            };
            comment(&mut out, &format!("{} Write {}. {absent}", key.doc, key.kind.expectation()));
            let off = if matches!(key.absent, Absent::Words(..)) { "#" } else { "" };
            out.push_str(&format!("{off}{}\n", key.example()));
        }
    }
    out
}

/// Adds a comment, wrapped at 115 columns.
fn comment(out: &mut String, text: &str) {
    let mut width = 1;
    out.push('#');
    for word in text.split_whitespace() {
        if 115 < width + 1 + word.chars().count() {
            out.push_str("\n#");
            width = 1;
        }
        out.push(' ');
        out.push_str(word);
        width += 1 + word.chars().count();
    }
    out.push('\n');
}
