//! "Did you mean": finds the key, section or word that was probably intended where an unknown one was written.

use super::{
    diagnostic::Problem,
    schema::{KeySchema, SECTIONS, SectionSchema},
};

/// The least similarity, from 0 to 1, that is worth a question: one letter of three wrong, or two of four swapped.
const ALIKE_MIN: f64 = 0.6;

const WRITTEN_BYTES_MAX: usize = 64;

/// Suffixes of keys that are units, so that `hop` and `hop_ms` are recognised as `hop_s`.
const UNITS: &[&str] = &["s", "sec", "seconds", "ms", "msec", "milliseconds", "us", "min", "h", "hours", "d", "days"];

/// Keys under which people write a password, anywhere.
const PASSWORDS: &[&str] =
    &["password", "passwd", "passphrase", "pass", "pwd", "psw", "secret", "token", "credentials"];

/// The known word that is most similar to the written one, if any is similar enough.
pub(super) fn nearest<'a>(written: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // The time grows with the product of the lengths, and nobody mistypes a key that long.
    if WRITTEN_BYTES_MAX < written.len() {
        return None;
    }
    let written = plain(written);
    known
        .map(|word| (strsim::normalized_damerau_levenshtein(&written, word), word))
        .filter(|(alike, _)| ALIKE_MIN <= *alike)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, word)| word)
}

/// What is wrong with an unknown key, and the key that was probably intended.
pub(super) fn unknown_key(section: &'static SectionSchema, written: &str) -> (Problem, Option<&'static KeySchema>) {
    let plain = plain(written);
    if PASSWORDS.contains(&plain.as_str()) {
        let own = section.key("token_file");
        return (own.map_or_else(inline_password, |_| inline_token()), own);
    }
    let question = |key: &'static KeySchema| {
        let cure = format!("did you mean {}, {}?", key.name, key.expectation);
        (Problem::new("unknown key", cure), Some(key))
    };
    if let Some(key) = same(section, &plain) {
        return question(key);
    }
    if let Some(other) = super::schema::section(&plain) {
        return (Problem::new("unknown key", format!("[{}] is a section of its own", other.name)), None);
    }
    let homes: Vec<_> = SECTIONS.iter().filter(|home| home.key(&plain).is_some()).map(in_brackets).collect();
    if !homes.is_empty() {
        return (Problem::new("unknown key", format!("it belongs below {}", homes.join(" or "))), None);
    }
    if let Some(key) = similar(section, &plain) {
        return question(key);
    }
    let meant = |other| same(other, &plain).or_else(|| similar(other, &plain));
    match SECTIONS.iter().find_map(|other| meant(other).map(|key| (other, key))) {
        Some((other, key)) => {
            (Problem::new("unknown key", format!("did you mean {} below {}?", key.name, in_brackets(other))), None)
        }
        None => {
            let names: Vec<_> = section.keys.iter().map(|key| key.name.as_str()).collect();
            (Problem::new("unknown key", format!("{} knows {}", in_brackets(section), names.join(", "))), None)
        }
    }
}

/// What is wrong with a key that stands in no section, and the sections that have such a key.
pub(super) fn key_without_section(written: &str) -> (Problem, Vec<(&'static SectionSchema, &'static KeySchema)>) {
    let plain = plain(written);
    if PASSWORDS.contains(&plain.as_str()) {
        return (inline_password(), Vec::new());
    }
    let homes: Vec<_> = SECTIONS.iter().filter_map(|home| Some((home, home.key(&plain)?))).collect();
    let cure = if homes.is_empty() {
        format!("put it below one of {}", SECTIONS.iter().map(in_brackets).collect::<Vec<_>>().join(" "))
    } else {
        let names: Vec<_> = homes.iter().map(|(home, _)| in_brackets(home)).collect();
        format!("it belongs below {}", names.join(" or "))
    };
    (Problem::new("this key stands in no section", cure), homes)
}

fn inline_password() -> Problem {
    let cure = "put it into a file of its own and name that in password_file, below [camera] or [mqtt]";
    Problem::new("a password must not stand here", cure)
}

fn inline_token() -> Problem {
    let cure = "put it into a file of its own and name that in token_file, below [page]";
    Problem::new("a token must not stand here", cure)
}

/// What is wrong with an unknown section, and the section that was probably intended.
pub(super) fn unknown_section(written: &str) -> (Problem, Option<&'static SectionSchema>) {
    let near = nearest(written, SECTIONS.iter().map(|section| section.name.as_str())).and_then(super::schema::section);
    let cure = near.map_or_else(
        || format!("there are {}", SECTIONS.iter().map(in_brackets).collect::<Vec<_>>().join(" ")),
        |section| format!("did you mean {}?", in_brackets(section)),
    );
    (Problem::new("unknown section", cure), near)
}

/// A name that may be shown: it looks like a key, not like a password in the wrong place.
pub(super) fn showable(written: &str) -> Option<&str> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_' || byte == b'-';
    ((1..=32).contains(&written.len()) && written.bytes().all(is_plain)).then_some(written)
}

/// The section's key of the same name in other letters, with such a synonym, or with another unit.
fn same(section: &'static SectionSchema, plain: &str) -> Option<&'static KeySchema> {
    let by = |fits: &dyn Fn(&KeySchema) -> bool| section.keys.iter().find(|key| fits(key));
    by(&|key| key.name == plain)
        .or_else(|| by(&|key| key.synonyms.iter().any(|synonym| synonym == plain)))
        .or_else(|| by(&|key| without_unit(&key.name) == without_unit(plain)))
}

/// The section's key with the most similar name.
fn similar(section: &'static SectionSchema, plain: &str) -> Option<&'static KeySchema> {
    section.key(nearest(plain, section.keys.iter().map(|key| key.name.as_str()))?)
}

fn without_unit(name: &str) -> &str {
    name.rsplit_once('_').filter(|(_, unit)| UNITS.contains(unit)).map_or(name, |(base, _)| base)
}

fn plain(written: &str) -> String {
    written.to_lowercase().replace(['-', ' ', '.'], "_")
}

fn in_brackets(section: &SectionSchema) -> String {
    format!("[{}]", section.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_were_meant() {
        let check = |section: &str, written: &str, says: &str| {
            let section = super::super::schema::section(section).unwrap();
            let (wrong, _) = unknown_key(section, written);
            let said = format!("{}; {}", wrong.what, wrong.cure);
            assert!(said.contains(says), "{written}: {said}");
        };
        check("reading", "hop", "did you mean hop_s, a number of seconds from 1 to 5?");
        check("reading", "hop_ms", "did you mean hop_s");
        check("reading", "min_grp", "did you mean min_group");
        check("mqtt", "hots", "did you mean host");
        check("mqtt", "Host", "did you mean host");
        check("mqtt", "topic-prefix", "did you mean topic_prefix");
        check("mqtt", "broker", "did you mean host");
        check("camera", "host", "it belongs below [mqtt]");
        check("sound", "offset_ms", "it belongs below [sync]");
        check("sound", "user", "it belongs below [camera] or [mqtt]");
        check("camera", "sound", "[sound] is a section of its own");
        check("camera", "hop", "did you mean hop_s below [reading]?");
        check("mqtt", "password", "a password must not stand here");
        check("camera", "PASSWD", "a password must not stand here");
        check("sync", "zzz", "[sync] knows offset_ms");
    }

    #[test]
    fn only_what_looks_like_a_key_is_shown() {
        assert_eq!(showable("hop_s"), Some("hop_s"));
        assert_eq!(showable("hunter2"), None);
        assert_eq!(showable(&"a".repeat(33)), None);
    }
}
