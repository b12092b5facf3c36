//! The environment: overrides of keys, and the folders that systemd or the user's session provides.

use std::path::{Path, PathBuf};

use config_rs::ValueKind;

use super::{
    diagnostic::{Diagnostics, Place, Problem},
    layer::Layer,
    parse::{self, Base, ParsedFile},
    schema::{self, KeySchema, SECTIONS, SectionSchema, ValueType},
    suggest,
};

/// The prefix of overrides; `__` separates section and key.
const PREFIX: &str = "EDGE_GER__";

/// The variables that matter here.
#[derive(Debug, Default)]
pub(super) struct Environment {
    overrides: Vec<(String, String)>,
    pub(super) credentials: Option<PathBuf>,
    state: Option<PathBuf>,
    cache: Option<PathBuf>,
    home_state: Option<PathBuf>,
}

impl Environment {
    /// Selects the variables that matter.
    pub(super) fn of(environment: impl Iterator<Item = (String, String)>) -> Self {
        let (mut found, mut home, mut xdg) = (Self::default(), None, None);
        for (name, value) in environment {
            // systemd separates several folders by colons; ours is the first.
            let folder = || absolute(value.split(':').next().unwrap_or_default());
            match name.as_str() {
                "CREDENTIALS_DIRECTORY" => found.credentials = folder(),
                "STATE_DIRECTORY" => found.state = folder(),
                "CACHE_DIRECTORY" => found.cache = folder(),
                "XDG_STATE_HOME" => xdg = absolute(&value),
                "HOME" => home = absolute(&value),
                name if name.starts_with(PREFIX) => found.overrides.push((name.to_owned(), value)),
                _ => {}
            }
        }
        found.home_state = xdg.or_else(|| Some(home?.join(".local/state")));
        found.overrides.sort();
        found
    }

    /// The default of `box.state_dir`.
    pub(super) fn state_dir(&self) -> PathBuf {
        let home = self.home_state.as_ref().filter(|_| !rustix::process::geteuid().is_root());
        match (&self.state, home) {
            (Some(state), _) => state.clone(),
            (None, Some(home)) => home.join("edge-ger"),
            (None, None) => "/var/lib/edge-ger".into(),
        }
    }

    /// The default of `model.cache_dir`.
    pub(super) fn cache_dir(&self, state_dir: &Path) -> PathBuf {
        self.cache.clone().unwrap_or_else(|| state_dir.join("engines"))
    }

    /// The overrides as a layer, checked. Relative paths start at the working directory.
    pub(super) fn layer(&self, files: &[ParsedFile], diagnostics: &mut Diagnostics) -> Layer {
        let folder = std::path::absolute(".").unwrap_or_default();
        let base = Base { folder: &folder, credentials: self.credentials.as_deref() };
        let (mut layer, mut own) = (Layer::default(), Diagnostics::default());
        for (name, written) in &self.overrides {
            let place = Place::Environment(shown(name));
            match find(&name[PREFIX.len()..]) {
                Ok((section, key)) => {
                    let value = value(key, written, base).unwrap_or_else(|problem| {
                        own.fault(place.clone(), format!("{}.{}", section.name, key.name), problem);
                        ValueKind::Nil
                    });
                    layer.insert(section, key, &place, value);
                }
                Err(unknown) => {
                    if let Some((section, key)) = unknown.meant {
                        layer.insert_unusable(section, key, &place);
                    }
                    own.fault(place, unknown.section, unknown.problem);
                }
            }
        }
        layer.check(&mut own);
        for fault in &mut own.faults {
            let hidden = fault.key.split_once('.').and_then(|(section, key)| {
                files.iter().map(|file| file.layer.place(section, key)).find(|place| *place != Place::Default)
            });
            if let Some(hidden) = hidden {
                fault.cure += &format!(" (this overrides {hidden})");
            }
        }
        diagnostics.faults.append(&mut own.faults);
        layer
    }
}

/// What is wrong with a variable that overrides no key.
struct Unknown {
    /// The section that it names, or empty.
    section: &'static str,
    problem: Problem,
    /// The key that was probably intended.
    meant: Option<(&'static SectionSchema, &'static KeySchema)>,
}

/// The key that a variable overrides, by its name behind the prefix.
fn find(name: &str) -> Result<(&'static SectionSchema, &'static KeySchema), Unknown> {
    let unknown = |problem| Unknown { section: "", problem, meant: None };
    let levels: Vec<_> = name.split("__").collect();
    let [section_name, key_name] = levels[..] else {
        return Err(unknown(Problem::new("this is no section and key", "write EDGE_GER__SECTION__KEY")));
    };
    let Some(section) = schema::section(&section_name.to_lowercase()).filter(|_| is_upper(section_name)) else {
        let cure = match suggest::unknown_section(section_name).1 {
            Some(near) => format!("did you mean {PREFIX}{}__{}?", near.name.to_uppercase(), shown(key_name)),
            None => {
                let names: Vec<_> = SECTIONS.iter().map(|section| section.name.as_str()).collect();
                format!("there are {}", names.join(", "))
            }
        };
        return Err(unknown(Problem::new("unknown section", cure)));
    };
    if let Some(key) = section.key(&key_name.to_lowercase()).filter(|_| is_upper(key_name)) {
        return Ok((section, key));
    }
    let (mut problem, meant) = suggest::unknown_key(section, key_name);
    if let Some(key) = meant {
        let name = format!("{PREFIX}{section_name}__{}", key.name.to_uppercase());
        problem.cure = format!("did you mean {name}, {}?", key.expectation);
    }
    Err(Unknown { section: &section.name, problem, meant: meant.map(|key| (section, key)) })
}

/// A variable's text as a value of its key's type.
fn value(key: &KeySchema, written: &str, base: Base<'_>) -> Result<ValueKind, Problem> {
    let or_else = |value: Option<ValueKind>, what: &str, hint: &str| {
        value.ok_or_else(|| Problem::new(what, format!("write {}{hint}", key.expectation)))
    };
    let items = || written.split(',').map(str::trim);
    // A number that is too large for an i64 is out of every key's range, as is the largest i64.
    let is_large = || !written.is_empty() && written.bytes().all(|byte| byte.is_ascii_digit());
    match key.form {
        ValueType::Integer => {
            let number = written.parse().ok().or_else(|| is_large().then_some(i64::MAX));
            or_else(number.map(Into::into), "this is not a whole number", ", without a unit")
        }
        ValueType::Number => {
            or_else(written.parse::<f64>().ok().map(Into::into), "this is not a number", ", without a unit")
        }
        ValueType::Boolean => {
            or_else(written.parse::<bool>().ok().map(Into::into), "this is neither true nor false", "")
        }
        ValueType::Lists => or_else(parse::inline(key, written, base), "this is no list of polygons", ""),
        ValueType::Texts => Ok(items().collect::<Vec<_>>().into()),
        // An item that is no number stays a text, which the list refuses.
        ValueType::Numbers => Ok(ValueKind::Array(
            items().map(|item| item.parse::<f64>().map_or_else(|_| item.into(), ValueKind::from).into()).collect(),
        )),
        ValueType::Text | ValueType::Path | ValueType::Secret | ValueType::Url => {
            Ok(base.resolve(key.form, written).into())
        }
    }
}

fn absolute(folder: &str) -> Option<PathBuf> {
    Some(PathBuf::from(folder)).filter(|folder| folder.is_absolute())
}

fn is_upper(name: &str) -> bool {
    !name.bytes().any(|byte| byte.is_ascii_lowercase())
}

/// A variable's name, unless it may be something that must not be shown.
fn shown(name: &str) -> String {
    let plain = name.to_lowercase();
    let fits = name.split("__").count() <= 3 && plain.split("__").all(|level| suggest::showable(level).is_some());
    if fits { name.to_owned() } else { format!("{PREFIX}…") }
}
