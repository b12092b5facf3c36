//! Parses a file into a layer: its sections and keys, each with its place. Unknown names are refused here; values are
//! checked by the layer.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use config_rs::{Map, ValueKind};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    diagnostic::{Diagnostics, Place, Problem},
    layer::Layer,
    schema::{KeySchema, Scope, SectionSchema, ValueType, section},
    suggest,
    value::{SecretFile, without_slashes},
};

/// What paths of a source are relative to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Base<'a> {
    pub(super) folder: &'a Path,
    /// Where systemd put the credentials.
    pub(super) credentials: Option<&'a Path>,
}

impl Base<'_> {
    /// Makes the path in a text absolute. What is no path is left to be refused by its key.
    pub(super) fn resolve(self, form: ValueType, text: &str) -> String {
        let join = |path: &str| match path {
            _ if path.trim().is_empty() || path.starts_with('~') => path.to_owned(),
            _ => self.folder.join(path).to_string_lossy().into_owned(),
        };
        match form {
            ValueType::Path => join(text),
            ValueType::Secret if text.starts_with("credential:") => {
                let path = self.credentials.zip(SecretFile::credential(text)).map(|(folder, name)| folder.join(name));
                path.map_or_else(|| text.to_owned(), |path| path.to_string_lossy().into_owned())
            }
            ValueType::Secret => join(text),
            ValueType::Url => match text.strip_prefix("file:").map(without_slashes) {
                Some(path) if !path.is_empty() => format!("file:{}", join(path)),
                _ => text.to_owned(),
            },
            _ => text.to_owned(),
        }
    }
}

/// One file.
#[derive(Debug)]
pub(super) struct ParsedFile {
    pub(super) path: PathBuf,
    pub(super) layer: Layer,
    /// The lines on which sections begin.
    sections: BTreeMap<&'static str, usize>,
    /// It could not be read, so keys that seem missing may stand in it.
    pub(super) is_broken: bool,
    /// A key of a camera stands in no section, so there may be a camera in it.
    pub(super) may_have_camera: bool,
}

impl ParsedFile {
    /// A file that could not be read.
    pub(super) fn broken(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            layer: Layer::default(),
            sections: BTreeMap::new(),
            is_broken: true,
            may_have_camera: false,
        }
    }

    /// Where the file's camera begins, if there is one in it.
    pub(super) fn camera(&self) -> Option<Place> {
        let others = self
            .sections
            .iter()
            .filter(|(name, _)| section(name).is_some_and(|section| section.scope == Scope::Camera));
        self.section("camera").or_else(|| Some(self.place(others.map(|(_, line)| *line).min()?)))
    }

    /// Where a section begins, if it is there.
    pub(super) fn section(&self, name: &str) -> Option<Place> {
        Some(self.place(*self.sections.get(name)?))
    }

    pub(super) fn place(&self, line: usize) -> Place {
        Place::File { path: self.path.clone(), line }
    }
}

/// Reads one file's text.
pub(super) fn parse(path: &Path, text: &str, base: Base<'_>, diagnostics: &mut Diagnostics) -> ParsedFile {
    let mut file = ParsedFile { is_broken: false, ..ParsedFile::broken(path) };
    let (root, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        // What the parser recovers behind an error would only cause false faults.
        syntax(&file, text, &errors, diagnostics);
        return ParsedFile::broken(path);
    }
    let mut parser = Parser { text, base, diagnostics, file: &mut file };
    let (known, unknown): (Vec<_>, Vec<_>) =
        root.get_ref().iter().partition(|(name, _)| section(name.get_ref()).is_some());
    for (name, value) in known {
        if let Some(section) = section(name.get_ref()) {
            parser.section(section, name, value);
        }
    }
    for (name, value) in unknown {
        parser.unknown(name, value);
    }
    file.layer.check(diagnostics);
    file
}

/// The parser's messages are constant; its `Display`, which shows the line itself, is never used.
fn syntax(file: &ParsedFile, text: &str, errors: &[toml::de::Error], diagnostics: &mut Diagnostics) {
    let mut last_line = 0;
    for error in errors {
        let at = error.span().map_or(0, |span| span.start);
        let line = line_of(text, at);
        if line != last_line {
            let before = text[..text.floor_char_boundary(at)].rsplit('\n').next().unwrap_or_default();
            let what = format!("this is not TOML: at column {}, {}", before.chars().count() + 1, error.message());
            let cure = "lines are [section], key = \"text\", key = 1, key = true, or # and a comment";
            diagnostics.fault(file.place(line), "", Problem::new(what, cure));
        }
        last_line = line;
    }
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count()
}

struct Parser<'a> {
    text: &'a str,
    base: Base<'a>,
    diagnostics: &'a mut Diagnostics,
    file: &'a mut ParsedFile,
}

impl Parser<'_> {
    fn place(&self, name: &Spanned<Cow<'_, str>>) -> Place {
        self.file.place(line_of(self.text, name.span().start))
    }

    fn section(&mut self, section: &'static SectionSchema, name: &Spanned<Cow<'_, str>>, value: &Spanned<DeValue<'_>>) {
        self.file.sections.entry(&section.name).or_insert_with(|| line_of(self.text, name.span().start));
        let problem = match value.get_ref() {
            DeValue::Table(table) => {
                for (name, value) in table.iter() {
                    self.key(section, name, value.get_ref());
                }
                return;
            }
            DeValue::Array(_) if section.scope == Scope::Camera => {
                Problem::new("a file is one camera", format!("write [{}], and a file for each", section.name))
            }
            DeValue::Array(_) => Problem::new("the box has one of it", format!("write [{}], once", section.name)),
            _ => {
                let cure = format!("write [{}] on a line, and its keys on lines below it", section.name);
                Problem::new("this is a section, not a key", cure)
            }
        };
        let place = self.place(name);
        self.diagnostics.fault(place.clone(), &section.name, problem);
        // Its keys are not missing then.
        for key in &section.keys {
            self.file.layer.insert_unusable(section, key, &place);
        }
    }

    fn key(&mut self, section: &'static SectionSchema, name: &Spanned<Cow<'_, str>>, value: &DeValue<'_>) {
        let place = self.place(name);
        if let Some(key) = section.key(name.get_ref()) {
            match self::value(key, value, self.base) {
                Some(value) => self.file.layer.insert(section, key, &place, value),
                None => {
                    let problem = Problem::new("this is a date", format!("write {}", key.expectation));
                    self.diagnostics.fault(place.clone(), format!("{}.{}", section.name, key.name), problem);
                    self.file.layer.insert(section, key, &place, ValueKind::Nil);
                }
            }
            return;
        }
        let (problem, meant) = suggest::unknown_key(section, name.get_ref());
        let shown = suggest::showable(name.get_ref());
        let shown = shown.map_or_else(|| section.name.clone(), |name| format!("{}.{name}", section.name));
        self.diagnostics.fault(place.clone(), shown, problem);
        if let Some(key) = meant {
            self.file.layer.insert_unusable(section, key, &place);
        }
    }

    /// A name at the top that is no section's.
    fn unknown(&mut self, name: &Spanned<Cow<'_, str>>, value: &Spanned<DeValue<'_>>) {
        let place = self.place(name);
        let shown = suggest::showable(name.get_ref()).unwrap_or_default();
        if !value.get_ref().is_table() && !value.get_ref().is_array() {
            let (problem, homes) = suggest::key_without_section(name.get_ref());
            self.diagnostics.fault(place.clone(), shown, problem);
            // It is not missing in the sections in which it may belong.
            for (section, key) in homes {
                self.file.layer.insert_unusable(section, key, &place);
                self.file.may_have_camera |= section.scope == Scope::Camera;
            }
            return;
        }
        let (problem, meant) = suggest::unknown_section(name.get_ref());
        self.diagnostics.fault(place, shown, problem);
        // The intended section is known, so its keys are checked as well.
        if let Some(section) = meant.filter(|section| !self.file.sections.contains_key(section.name.as_str())) {
            self.section(section, name, value);
        }
    }
}

/// A value as a type of `config`, which has none for dates.
fn value(key: &KeySchema, written: &DeValue<'_>, base: Base<'_>) -> Option<ValueKind> {
    Some(match written {
        DeValue::String(text) => base.resolve(key.form, text).into(),
        DeValue::Boolean(on) => (*on).into(),
        DeValue::Float(number) => number.as_str().parse::<f64>().unwrap_or(f64::NAN).into(),
        DeValue::Integer(number) => {
            // A number that is too large for an i64 is out of every key's range, as is the i64 nearest to it.
            let nearest = if number.as_str().starts_with('-') { i64::MIN } else { i64::MAX };
            let number = i64::from_str_radix(number.as_str(), number.radix()).unwrap_or(nearest);
            // So that 5 and 5.0 are equal.
            if key.form == ValueType::Number { (number as f64).into() } else { number.into() }
        }
        DeValue::Array(items) => {
            let items = items.iter().map(|item| value(key, item.get_ref(), base).map(Into::into));
            ValueKind::Array(items.collect::<Option<_>>()?)
        }
        DeValue::Table(keys) => {
            let keys = keys
                .iter()
                .map(|(name, written)| Some((name.get_ref().to_string(), value(key, written.get_ref(), base)?.into())));
            ValueKind::Table(keys.collect::<Option<Map<_, _>>>()?)
        }
        DeValue::Datetime(_) => return None,
    })
}

/// A list of lists from a variable, in the syntax of a file.
pub(super) fn inline(key: &KeySchema, written: &str, base: Base<'_>) -> Option<ValueKind> {
    let text = format!("value = {written}");
    let root = DeTable::parse(&text).ok().filter(|root| root.get_ref().len() == 1)?;
    match root.get_ref().get("value")?.get_ref() {
        list @ DeValue::Array(_) => value(key, list, base),
        _ => None,
    }
}
