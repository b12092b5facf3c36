//! What was written: every file's sections and keys, each with its place, each as its key wants it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    remark::{Place, Remarks, Wrong},
    schema::{Scope, Section, section},
    suggest,
    value::{self, Base, Value},
};

/// What was written, by section and key.
pub(super) type Entries = BTreeMap<(&'static str, &'static str), Entry>;

/// What was written for one key.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// `None` where a fault was found: nothing more is to be said about it.
    pub(super) value: Option<Value>,
    pub(super) place: Place,
}

/// One file.
#[derive(Debug)]
pub(super) struct Sheet {
    pub(super) path: PathBuf,
    pub(super) entries: Entries,
    /// The lines of the sections that are there.
    pub(super) sections: BTreeMap<&'static str, usize>,
    /// It could not be read to its end, so what seems missing may stand in it.
    pub(super) broken: bool,
    /// A key of a camera stands in no section, so there may be a camera in it.
    pub(super) homeless: bool,
}

impl Sheet {
    /// A file of which nothing is known.
    pub(super) fn broken(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            entries: Entries::new(),
            sections: BTreeMap::new(),
            broken: true,
            homeless: false,
        }
    }

    /// Where the file's camera begins, if there is one in it.
    pub(super) fn camera(&self) -> Option<Place> {
        let line = self.sections.get("camera").copied();
        let others = self.sections.iter().filter(|(name, _)| section(name).is_some_and(|it| it.scope == Scope::Camera));
        Some(self.place(line.or_else(|| others.map(|(_, line)| *line).min())?))
    }

    pub(super) fn place(&self, line: usize) -> Place {
        Place::File { path: self.path.clone(), line }
    }
}

/// Reads one file's text. Every fault of it is remarked.
pub(super) fn read(path: &Path, text: &str, base: Base<'_>, remarks: &mut Remarks) -> Sheet {
    let mut sheet = Sheet { broken: false, ..Sheet::broken(path) };
    let (root, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        // What the parser guesses behind an error would only make faults that are none.
        syntax(&sheet, text, &errors, remarks);
        return Sheet::broken(path);
    }
    let mut reading = Reading { text, base, remarks, sheet: &mut sheet };
    let (known, unknown): (Vec<_>, Vec<_>) =
        root.get_ref().iter().partition(|(name, _)| section(name.get_ref()).is_some());
    for (name, value) in known {
        if let Some(section) = section(name.get_ref()) {
            reading.section(section, name, value);
        }
    }
    for (name, value) in unknown {
        reading.unknown(name, value);
    }
    sheet
}

/// The parser's own words are fixed ones; its `Display`, which would show the line, is never used.
fn syntax(sheet: &Sheet, text: &str, errors: &[toml::de::Error], remarks: &mut Remarks) {
    let mut last_line = 0;
    for error in errors {
        let at = error.span().map_or(0, |span| span.start);
        let line = line_of(text, at);
        if line == last_line {
            continue;
        }
        last_line = line;
        let start = text.as_bytes()[..at.min(text.len())].iter().rposition(|it| *it == b'\n').map_or(0, |it| it + 1);
        let column = String::from_utf8_lossy(&text.as_bytes()[start..at.min(text.len())]).chars().count() + 1;
        let cure = "lines are [section], key = \"text\", key = 1, key = true, or # and a comment";
        let what = format!("this is not TOML: at column {column}, {}", error.message());
        remarks.fault(sheet.place(line), "", Wrong::new(what, cure));
    }
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.as_bytes()[..at.min(text.len())].iter().filter(|it| **it == b'\n').count()
}

type Name<'a> = Spanned<std::borrow::Cow<'a, str>>;

struct Reading<'a> {
    text: &'a str,
    base: Base<'a>,
    remarks: &'a mut Remarks,
    sheet: &'a mut Sheet,
}

impl Reading<'_> {
    fn place(&self, name: &Name<'_>) -> Place {
        self.sheet.place(line_of(self.text, name.span().start))
    }

    fn section(&mut self, section: &'static Section, name: &Name<'_>, value: &Spanned<DeValue<'_>>) {
        self.sheet.sections.entry(section.name).or_insert_with(|| line_of(self.text, name.span().start));
        match value.get_ref() {
            DeValue::Table(table) => {
                for (name, value) in table.iter() {
                    self.key(section, name, value);
                }
            }
            DeValue::Array(_) if section.scope == Scope::Camera => {
                let wrong =
                    Wrong::new("a file is one camera", format!("write [{}], and a file for each", section.name));
                self.refuse_all(section, name, wrong);
            }
            DeValue::Array(_) => {
                let wrong = Wrong::new("the box has one of it", format!("write [{}], once", section.name));
                self.refuse_all(section, name, wrong);
            }
            _ => {
                let cure = format!("write [{}] on a line, and its keys on lines below it", section.name);
                self.refuse_all(section, name, Wrong::new("this is a section, not a key", cure));
            }
        }
    }

    /// Refuses a section; no key of it is missing then.
    fn refuse_all(&mut self, section: &'static Section, name: &Name<'_>, wrong: Wrong) {
        let place = self.place(name);
        self.remarks.fault(place.clone(), section.name, wrong);
        for key in section.keys {
            let entry = Entry { value: None, place: place.clone() };
            self.sheet.entries.entry((section.name, key.name)).or_insert(entry);
        }
    }

    fn key(&mut self, section: &'static Section, name: &Name<'_>, value: &Spanned<DeValue<'_>>) {
        let place = self.place(name);
        if let Some(key) = section.key(name.get_ref()) {
            let value = value::from_toml(key, value.get_ref(), self.base)
                .map_err(|wrong| self.remarks.fault(place.clone(), format!("{}.{}", section.name, key.name), wrong))
                .ok();
            self.sheet.entries.insert((section.name, key.name), Entry { value, place });
            return;
        }
        let (wrong, meant) = suggest::unknown_key(section, name.get_ref());
        let shown = suggest::showable(name.get_ref());
        let shown = shown.map_or_else(|| section.name.to_owned(), |name| format!("{}.{name}", section.name));
        self.remarks.fault(place.clone(), shown, wrong);
        if let Some(key) = meant {
            // It is known what was meant, so that key is not missing.
            self.sheet.entries.entry((section.name, key.name)).or_insert(Entry { value: None, place });
        }
    }

    /// A name at the top that is no section's.
    fn unknown(&mut self, name: &Name<'_>, value: &Spanned<DeValue<'_>>) {
        let place = self.place(name);
        let shown = suggest::showable(name.get_ref()).unwrap_or_default();
        if !value.get_ref().is_table() && !value.get_ref().is_array() {
            let (wrong, homes) = suggest::homeless_key(name.get_ref());
            self.remarks.fault(place.clone(), shown, wrong);
            for (section, key) in homes {
                // Wherever it was meant to stand, there it is not missing.
                let entry = Entry { value: None, place: place.clone() };
                self.sheet.entries.entry((section.name, key.name)).or_insert(entry);
                self.sheet.homeless |= section.scope == Scope::Camera;
            }
            return;
        }
        let (wrong, meant) = suggest::unknown_section(name.get_ref());
        self.remarks.fault(place, shown, wrong);
        // It is known what was meant, so its keys are checked as well.
        if let Some(section) = meant.filter(|section| !self.sheet.sections.contains_key(section.name)) {
            self.section(section, name, value);
        }
    }
}
