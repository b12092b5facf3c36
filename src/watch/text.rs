//! The texts that boxes publish, as a stranger's: nothing is believed of their size, their numbers or their words.

use serde::Deserialize;

use crate::wire::record::{CameraState, Emotion};

/// No text of ours is longer, bytes; `info` and `health` are the longest.
pub(crate) const TEXT_BYTES_MAX: usize = 4096;
/// No word or name that is shown is longer, characters.
const WORD_CHARS_MAX: usize = 40;
/// The year 2286: the last date that a box publishes, ms since 1970 UTC.
const DATE_MAX_MS: u64 = 9_999_999_999_999;
/// Times are published up to here, ms.
const TIME_MAX_MS: u64 = 9_999;

/// What a slot of a camera came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Label {
    /// A mood.
    Mood(Mood),
    /// None was given.
    Withheld,
}

/// The three moods, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mood {
    /// See [`Emotion::Positive`].
    Positive,
    /// See [`Emotion::Neutral`].
    Neutral,
    /// See [`Emotion::Negative`].
    Negative,
}

impl Label {
    /// All of them, in the order in which they are counted.
    pub(crate) const ALL: [Self; 4] =
        [Self::Mood(Mood::Positive), Self::Mood(Mood::Neutral), Self::Mood(Mood::Negative), Self::Withheld];

    /// The word that is published.
    #[must_use]
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Mood(Mood::Positive) => Emotion::Positive.as_str(),
            Self::Mood(Mood::Neutral) => Emotion::Neutral.as_str(),
            Self::Mood(Mood::Negative) => Emotion::Negative.as_str(),
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
    /// A mood, or none.
    pub label: Label,
    /// Of positive, neutral and negative, 0 to 1 each.
    pub probabilities: [f32; 3],
    /// Why there is none; `none` where there is one.
    pub reason: String,
    /// At least so many people; -1 where that is not known.
    pub group_min: i64,
    /// What became of the sound.
    pub sound: String,
    /// From the end of the window until it left the box's network, ms, 0 to 9999.
    pub latency_ms: u64,
}

#[derive(Deserialize)]
struct WrittenReading {
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

/// Reads a reading; `None` if it is none.
#[must_use]
pub(crate) fn reading(payload: &[u8]) -> Option<Reading> {
    let it: WrittenReading = json(payload)?;
    let probabilities = [it.p_positive, it.p_neutral, it.p_negative];
    let label = Label::ALL.into_iter().find(|label| label.as_str() == it.label)?;
    let fits = it.ts_ms <= DATE_MAX_MS && probabilities.iter().all(|it| (0.0..=1.0).contains(it));
    fits.then(|| Reading {
        ts_ms: it.ts_ms,
        boot: it.boot,
        seq: it.seq,
        label,
        probabilities,
        reason: word(&it.reason),
        group_min: it.group_min.clamp(-1, 99),
        sound: word(&it.sound),
        latency_ms: it.latency_ms.min(TIME_MAX_MS),
    })
}

/// What a box says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Info {
    /// The daemon's version.
    pub version: String,
    /// The network's name.
    pub model: String,
    /// What it runs on.
    pub provider: String,
}

/// Reads what a box says of itself; `None` if it says nothing of the kind.
#[must_use]
pub(crate) fn info(payload: &[u8]) -> Option<Info> {
    let it: Info = json(payload)?;
    Some(Info { version: word(&it.version), model: word(&it.model), provider: word(&it.provider) })
}

/// Reads a camera's state.
#[must_use]
pub(crate) fn camera_state(payload: &[u8]) -> Option<CameraState> {
    CameraState::ALL.iter().copied().find(|it| it.as_str().as_bytes() == payload)
}

fn word(words: &str) -> String {
    plain(words, WORD_CHARS_MAX)
}

fn json<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Option<T> {
    if TEXT_BYTES_MAX < payload.len() { None } else { serde_json::from_slice(payload).ok() }
}

/// Words that a terminal only shows, cut to so many characters: without control characters, which begin its commands, and without those that turn
/// the direction of writing.
#[must_use]
pub(crate) fn plain(words: &str, chars_max: usize) -> String {
    let turns = |it| matches!(it, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{61c}' | '\u{feff}');
    words.chars().filter(|it| !it.is_control() && !turns(*it)).take(chars_max).collect()
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

    /// The publisher's own texts are what is understood here.
    #[test]
    fn what_a_box_publishes_is_understood() {
        let read = |outcome| reading(&payload::json(&ReadingText::new(&record(outcome), 42))).unwrap();
        let it = read(Outcome::Label(Emotion::Positive));
        assert_eq!((it.ts_ms, it.boot, it.seq, it.label), (1_795_000_000_000, 42, 7, Label::Mood(Mood::Positive)));
        assert_eq!((it.probabilities, it.reason.as_str()), ([0.8123, 0.1, 0.0877], "none"));
        assert_eq!((it.group_min, it.sound.as_str(), it.latency_ms), (5, "present", 88));
        let it = read(Outcome::Withheld(Withheld::VideoGap));
        assert_eq!((it.label, it.reason.as_str()), (Label::Withheld, "video_gap"));
        let it = info(&payload::json(&payload::Info::new(42, "edge-ger-3", 5, 5000))).unwrap();
        assert_eq!((it.model.as_str(), it.provider.as_str()), ("edge-ger-3", "none"));
        assert_eq!(camera_state(b"stale"), Some(CameraState::Stale));
    }

    #[test]
    fn what_is_no_reading_is_not_taken() {
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
    fn words_command_no_terminal() {
        assert_eq!(word("a\x1b[31mb\x07\r\nc\u{9b}2Jd\u{7f}e\u{202e}f"), "a[31mbc2Jdef");
        assert_eq!(word(&"x".repeat(1000)).len(), WORD_CHARS_MAX);
        let text = br#"{"version":"1\u001b]0;owned\u0007","model":"m\u0000","provider":"\u009bcpu","more":1}"#;
        let it = info(text).unwrap();
        assert_eq!((it.version.as_str(), it.model.as_str(), it.provider.as_str()), ("1]0;owned", "m", "cpu"));
    }
}
