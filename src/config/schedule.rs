//! Hours of the week in which a camera is watched, in local time.
//!
//! An entry is a day (`Sat`), days (`Mon-Fri`, also across the week's end) or nothing for every day, and from and until
//! (`08:00-18:00`, up to `24:00`). An entry that ends before it begins ends on the next day: `Fri 22:00-02:00` is
//! Friday night. At every moment the local time alone decides: an hour that the clock skips is skipped, and one that it
//! shows twice counts twice.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::time::local::Local;

/// Enough for two entries a day.
const ENTRIES_MAX: usize = 16;
const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const DAY: u16 = 24 * 60;

/// When a camera is watched. The default is always.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
#[schemars(extend("x-write" = "a list such as [\"Mon-Fri 08:00-18:00\", \"Sat 22:00-02:00\"]"))]
pub struct Schedule(Vec<Entry>);

/// One entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    /// The first day, 0 Monday to 6 Sunday, and how many, 1 to 7.
    first: u8,
    days: u8,
    /// Minutes of the day. `until` itself is excluded; if it is not after `from`, it is on the next day.
    from: u16,
    until: u16,
}

// What is wrong with an entry, as it follows "entry 2".
const NO_ENTRY: &str = "is not a day or days, from and until";
const NO_DAY: &str = "has a day that is not Mon, Tue, Wed, Thu, Fri, Sat or Sun";
const NO_TIME: &str = "has a time that is not 00:00 to 23:59, or 24:00 at its end";
const EMPTY: &str = "begins when it ends (the whole day is 00:00-24:00)";
const TOO_MANY: &str = "is one too many: 16 are allowed";

impl Schedule {
    /// Parses entries; none at all means always.
    ///
    /// # Errors
    /// The number of the first wrong entry, from 1, and what is wrong with it.
    pub fn parse<'e>(entries: impl IntoIterator<Item = &'e str>) -> Result<Self, (usize, &'static str)> {
        let mut hours = Vec::new();
        for (number, entry) in (1..).zip(entries) {
            if ENTRIES_MAX < number {
                return Err((number, TOO_MANY));
            }
            hours.push(Entry::parse(entry).map_err(|fault| (number, fault))?);
        }
        Ok(Self(hours))
    }

    /// Whether the camera is watched at this local time.
    #[must_use]
    pub fn is_open(&self, shown: Local) -> bool {
        self.0.is_empty() || self.0.iter().any(|entry| entry.holds(shown))
    }

    /// Whether the camera is always watched.
    #[must_use]
    pub fn is_always(&self) -> bool {
        self.0.is_empty()
    }
}

/// Entries from a source, where an empty list is more likely a mistake than intended.
impl TryFrom<Vec<String>> for Schedule {
    type Error = String;

    fn try_from(entries: Vec<String>) -> Result<Self, String> {
        if entries.is_empty() {
            return Err("the list is empty; leave the key out for always, or take the camera out for never".to_owned());
        }
        Self::parse(entries.iter().map(String::as_str)).map_err(|(number, what)| format!("entry {number} {what}"))
    }
}

impl From<Schedule> for Vec<String> {
    fn from(schedule: Schedule) -> Self {
        schedule.0.iter().map(ToString::to_string).collect()
    }
}

impl Entry {
    fn parse(entry: &str) -> Result<Self, &'static str> {
        let mut words = entry.split_whitespace();
        let (days, times) = match (words.next(), words.next(), words.next()) {
            (Some(times), None, None) => ("Mon-Sun", times),
            (Some(days), Some(times), None) => (days, times),
            _ => return Err(NO_ENTRY),
        };
        let (from, until) = times.split_once('-').ok_or(NO_ENTRY)?;
        let (from, until) = (minute(from)?, minute(until)?);
        let (first, last) = days.split_once('-').unwrap_or((days, days));
        let (first, last) = (day(first)?, day(last)?);
        match from {
            _ if from == until => Err(EMPTY),
            DAY => Err(NO_TIME),
            _ => Ok(Self { first, days: (last + 7 - first) % 7 + 1, from, until }),
        }
    }

    fn holds(self, shown: Local) -> bool {
        let begun_on = |weekday: u8| (weekday + 7 - self.first) % 7 < self.days;
        let yesterday = (shown.weekday + 6) % 7;
        if self.from < self.until {
            return begun_on(shown.weekday) && (self.from..self.until).contains(&shown.minute);
        }
        begun_on(shown.weekday) && self.from <= shown.minute || begun_on(yesterday) && shown.minute < self.until
    }
}

fn day(word: &str) -> Result<u8, &'static str> {
    let found = (0..).zip(DAYS).find(|(_, name)| name.eq_ignore_ascii_case(word));
    found.map(|(number, _)| number).ok_or(NO_DAY)
}

/// `HH:MM` in minutes.
fn minute(word: &str) -> Result<u16, &'static str> {
    let two_digits = |text: &str| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    let (hour, minute) = word.split_once(':').ok_or(NO_ENTRY)?;
    let (Ok(h), Ok(m)) = (hour.parse::<u16>(), minute.parse::<u16>()) else { return Err(NO_TIME) };
    match h * 60 + m {
        sum if two_digits(hour) && two_digits(minute) && m < 60 && sum <= DAY => Ok(sum),
        _ => Err(NO_TIME),
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_always() {
            return f.write_str("always");
        }
        let entries: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&entries.join(", "))
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |day: u8| DAYS[usize::from(day % 7)];
        let clock = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
        match self.days {
            7 => {}
            1 => write!(f, "{} ", name(self.first))?,
            days => write!(f, "{}-{} ", name(self.first), name(self.first + days - 1))?,
        }
        write!(f, "{}-{}", clock(self.from), clock(self.until))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::local::{Zone, parse_rfc3339};

    fn schedule(entries: &[&str]) -> Schedule {
        Schedule::parse(entries.iter().copied()).unwrap()
    }

    /// The stretches of a week, Monday first, in which it is open: as many as ends were crossed.
    fn edges(entries: &[&str]) -> Vec<String> {
        let schedule = schedule(entries);
        let at = |n: u16| Local { weekday: u8::try_from(n / DAY % 7).unwrap(), minute: n % DAY };
        let shown = |n: u16| format!("{} {:02}:{:02}", DAYS[usize::from(n / DAY)], n % DAY / 60, n % 60);
        let changes = (0..7 * DAY).filter(|n| schedule.is_open(at(*n)) != schedule.is_open(at(n + 7 * DAY - 1)));
        changes.map(shown).collect()
    }

    #[test]
    fn days_and_nights() {
        assert_eq!(edges(&[]), [""; 0]);
        assert!(schedule(&[]).is_open(Local { weekday: 3, minute: 99 }));
        assert_eq!(edges(&["Sat 10:00-14:00"]), ["Sat 10:00", "Sat 14:00"]);
        assert_eq!(edges(&["Fri 22:00-02:00"]), ["Fri 22:00", "Sat 02:00"]);
        assert_eq!(edges(&["Sun 22:00-02:00"]), ["Mon 02:00", "Sun 22:00"]);
        assert_eq!(
            edges(&["Sat-Mon 23:00-24:00"]),
            ["Mon 00:00", "Mon 23:00", "Tue 00:00", "Sat 23:00", "Sun 00:00", "Sun 23:00"]
        );
        assert_eq!(
            edges(&["mon-tue 08:00-09:00", "Tue 09:00-10:00"]),
            ["Mon 08:00", "Mon 09:00", "Tue 08:00", "Tue 10:00"]
        );
        assert_eq!(edges(&["Wed 00:00-24:00"]), ["Wed 00:00", "Thu 00:00"]);
        assert_eq!(edges(&["00:00-24:00"]), [""; 0]);
        assert_eq!(edges(&["Thu-Wed 12:00-00:00"]).len(), 14);
    }

    #[test]
    fn it_is_shown_as_it_is_written() {
        for entries in [&["Mon-Fri 08:00-18:00", "Sat 22:00-02:00"][..], &["10:00-24:00"], &["Sun-Tue 00:00-00:01"]] {
            assert_eq!(schedule(entries).to_string(), entries.join(", "));
            assert_eq!(schedule(&schedule(entries).to_string().split(", ").collect::<Vec<_>>()), schedule(entries));
        }
        assert_eq!(schedule(&[]).to_string(), "always");
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let check = |entry: &str, fault| assert_eq!(Schedule::parse(["Mon 08:00-09:00", entry]), Err((2, fault)));
        for form in ["", "Mon", "08:00", "Mon 08:00", "Mon Tue 08:00-09:00", "Mon 8-9", "Mon 08:00 - 09:00"] {
            check(form, NO_ENTRY);
        }
        for day in ["Mo 08:00-09:00", "Monday 08:00-09:00", "Mon-Funday 08:00-09:00", "Mon-Tue-Wed 08:00-09:00"] {
            check(day, NO_DAY);
        }
        for time in
            ["8:00-09:00", "08:0-09:00", "08:60-09:00", "08:00-24:01", "24:00-08:00", "+8:00-09:00", "99999:00-09:00"]
        {
            check(time, NO_TIME);
        }
        check("08:00-08:00", EMPTY);
        assert_eq!(Schedule::parse(["08:00-09:00"; 17]), Err((17, TOO_MANY)));
    }

    /// In a zone with summer time, minute by minute of the two nights on which the clock is moved.
    #[test]
    fn the_clock_on_the_wall_decides_when_it_is_moved() {
        let zone = Zone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let edges = |entry: &str, from: &str| {
            let (schedule, from) = (schedule(&[entry]), parse_rfc3339(from).unwrap());
            let open = |minute: u64| schedule.is_open(zone.at(from + minute * 60_000));
            (1..12 * 60).filter(|it| open(*it) != open(it - 1)).collect::<Vec<_>>()
        };
        // From Saturday 20:00 to Sunday 08:00 by the clock of winter: minutes that went by.
        let (spring, autumn) = ("2026-03-28T19:00:00Z", "2026-10-24T18:00:00Z");
        // 22:00 to 04:00 is an hour shorter in spring and an hour longer in autumn.
        assert_eq!(edges("Sat 22:00-04:00", spring), [120, 120 + 5 * 60]);
        assert_eq!(edges("Sat 22:00-04:00", autumn), [120, 120 + 7 * 60]);
        // What the clock skips does not come, and what it shows twice comes twice.
        assert_eq!(edges("Sun 02:15-02:45", spring), [0; 0]);
        assert_eq!(edges("Sun 02:30-03:30", spring), [360, 390]);
        assert_eq!(edges("Sun 02:15-02:45", autumn), [375, 405, 435, 465]);
    }
}
