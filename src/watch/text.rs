//! Parses the payloads that boxes publish. Nothing in them is trusted: neither size nor numbers nor words.

use serde::Deserialize;

use crate::{
    publish::{payload, record_filter::DATE_MAX_MS},
    wire::record::{CameraState, Emotion},
};

/// Longer than any payload of a box, bytes; `info` and `health` are the longest.
pub(crate) const TEXT_BYTES_MAX: usize = 4096;
/// Words and names are cut to this length, characters.
const WORD_CHARS_MAX: usize = 40;

/// The label of a reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Label {
    /// The group's emotion.
    Emotion(Emotion),
    /// The box published none.
    Withheld,
}

impl Label {
    /// All of them, in the order in which they are counted.
    pub(crate) const ALL: [Self; 4] = [
        Self::Emotion(Emotion::Positive),
        Self::Emotion(Emotion::Neutral),
        Self::Emotion(Emotion::Negative),
        Self::Withheld,
    ];

    /// The published word.
    #[must_use]
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Emotion(emotion) => emotion.as_str(),
            Self::Withheld => "withheld",
        }
    }
}

/// A reading.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reading {
    /// The end of the window, ms since 1970 UTC.
    pub ts_ms: u64,
    /// The run of the daemon.
    pub boot: u32,
    /// The slot.
    pub seq: u64,
    /// An emotion, or withheld.
    pub label: Label,
    /// Of positive, neutral and negative, 0 to 1 each; all 0 where it is withheld.
    pub probabilities: [f32; 3],
    /// Why it is withheld; `none` where it is not.
    pub reason: String,
    /// The least number of people; -1 where it is not known.
    pub group_min: i64,
    /// What became of the sound.
    pub sound: String,
    /// From the end of the window until the reading left `infer`, ms, 0 to 9999.
    pub latency_ms: u64,
}

#[derive(Deserialize)]
struct ReadingPayload {
    ts_ms: u64,
    boot: u32,
    seq: u64,
    label: String,
    p_positive: f32,
    p_neutral: f32,
    p_negative: f32,
    reason: String,
    group_min: i64,
    sound: String,
    latency_ms: u64,
}

/// Parses a reading; `None` if it is not one.
#[must_use]
pub(crate) fn reading(payload: &[u8]) -> Option<Reading> {
    let parsed: ReadingPayload = json(payload)?;
    let probabilities = [parsed.p_positive, parsed.p_neutral, parsed.p_negative];
    let label = Label::ALL.into_iter().find(|label| label.as_str() == parsed.label)?;
    let is_in_range = parsed.ts_ms <= DATE_MAX_MS && probabilities.iter().all(|p| (0.0..=1.0).contains(p));
    is_in_range.then(|| Reading {
        ts_ms: parsed.ts_ms,
        boot: parsed.boot,
        seq: parsed.seq,
        label,
        probabilities,
        reason: word(&parsed.reason),
        group_min: parsed.group_min.clamp(payload::GROUP_UNKNOWN.into(), payload::GROUP_MAX.into()),
        sound: word(&parsed.sound),
        latency_ms: parsed.latency_ms.min(payload::TIME_MAX_MS.into()),
    })
}

/// The description of a box.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Info {
    /// The daemon's version.
    pub version: String,
    /// The network's name.
    pub model: String,
    /// What the network runs on.
    pub provider: String,
}

/// Parses a box's description; `None` if it is not one.
#[must_use]
pub(crate) fn info(payload: &[u8]) -> Option<Info> {
    let Info { version, model, provider } = json(payload)?;
    Some(Info { version: word(&version), model: word(&model), provider: word(&provider) })
}

/// Parses a camera's state.
#[must_use]
pub(crate) fn camera_state(payload: &[u8]) -> Option<CameraState> {
    CameraState::ALL.iter().copied().find(|state| state.as_str().as_bytes() == payload)
}

fn word(words: &str) -> String {
    plain(words, WORD_CHARS_MAX)
}

fn json<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Option<T> {
    if TEXT_BYTES_MAX < payload.len() { None } else { serde_json::from_slice(payload).ok() }
}

/// The text without control characters, which could command a terminal, and without those that change the direction of
/// writing; at most `chars_max` characters.
#[must_use]
pub(crate) fn plain(text: &str, chars_max: usize) -> String {
    let is_direction = |character| matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{61c}' | '\u{feff}');
    text.chars().filter(|character| !character.is_control() && !is_direction(*character)).take(chars_max).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        publish::payload::{self, ReadingText},
        wire::{
            CameraId,
            record::{self, Outcome, Withheld, example},
        },
    };

    fn record(outcome: Outcome) -> record::Reading {
        record::Reading { outcome, window_end_ms: example::START_MS, ..example::reading(CameraId(0), 7) }
    }

    /// The payloads that `publish` writes are those parsed here.
    #[test]
    fn the_payloads_of_a_box_are_parsed() {
        let read = |outcome| reading(&payload::json(&ReadingText::new(&record(outcome), 42))).unwrap();
        let parsed = read(Outcome::Label(Emotion::Positive));
        assert_eq!(
            (parsed.ts_ms, parsed.boot, parsed.seq, parsed.label),
            (1_795_000_000_000, 42, 7, Label::Emotion(Emotion::Positive))
        );
        assert_eq!((parsed.probabilities, parsed.reason.as_str()), ([0.8123, 0.1, 0.0877], "none"));
        assert_eq!((parsed.group_min, parsed.sound.as_str(), parsed.latency_ms), (5, "present", 88));
        let parsed = read(Outcome::Withheld(Withheld::VideoGap));
        assert_eq!((parsed.label, parsed.reason.as_str()), (Label::Withheld, "video_gap"));
        let parsed = info(&payload::json(&payload::Info::new(42, "edge-ger-3", 5, 5000))).unwrap();
        assert_eq!((parsed.model.as_str(), parsed.provider.as_str()), ("edge-ger-3", "none"));
        assert_eq!(camera_state(b"stale"), Some(CameraState::Stale));
    }

    #[test]
    fn anything_but_a_reading_is_rejected() {
        let good =
            String::from_utf8(payload::json(&ReadingText::new(&record(Outcome::Label(Emotion::Neutral)), 42))).unwrap();
        let none = |from: &str, to: &str| {
            assert!(good.contains(from));
            assert_eq!(reading(good.replace(from, to).as_bytes()), None, "{to}");
        };
        none("0.8123", "8.123");
        none("0.8123", "-0.1");
        none("0.8123", "null");
        none("1795000000000", "99999999999999");
        none("neutral\"", "cheerful\"");
        none("\"seq\":7,", "");
        none("}", &format!(",\"x\":\"{}\"}}", "x".repeat(TEXT_BYTES_MAX)));
        assert_eq!((reading(b""), reading(b"\xff"), camera_state(b"online\x1b[2J")), (None, None, None));
    }

    #[test]
    fn words_contain_no_terminal_commands() {
        assert_eq!(word("a\x1b[31mb\x07\r\nc\u{9b}2Jd\u{7f}e\u{202e}f"), "a[31mbc2Jdef");
        assert_eq!(word(&"x".repeat(1000)).len(), WORD_CHARS_MAX);
        let text = br#"{"version":"1\u001b]0;owned\u0007","model":"m\u0000","provider":"\u009bcpu","more":1}"#;
        let parsed = info(text).unwrap();
        assert_eq!(
            (parsed.version.as_str(), parsed.model.as_str(), parsed.provider.as_str()),
            ("1]0;owned", "m", "cpu")
        );
    }
}
