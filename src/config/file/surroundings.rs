//! What the environment says: overrides of keys, and the folders that systemd or the user's session gives us.

use std::path::{Path, PathBuf};

use super::{
    remark::{Place, Remarks, Wrong},
    schema::{self, SECTIONS},
    suggest,
    value::{self, Base},
    written::{Entries, Entry},
};

/// Overrides begin with this; `__` stands between section and key.
const PREFIX: &str = "EDGE_GER__";

/// What the environment says.
#[derive(Debug, Default)]
pub(super) struct Surroundings {
    overrides: Vec<(String, String)>,
    pub(super) credentials: Option<PathBuf>,
    state: Option<PathBuf>,
    cache: Option<PathBuf>,
    home_state: Option<PathBuf>,
}

impl Surroundings {
    /// Picks what matters out of the environment.
    pub(super) fn of(environment: impl Iterator<Item = (String, String)>) -> Self {
        let (mut it, mut home, mut xdg) = (Self::default(), None, None);
        for (name, value) in environment {
            // systemd lists several folders with a colon between them; ours is the first.
            let folder = || absolute(value.split(':').next().unwrap_or_default());
            match name.as_str() {
                "CREDENTIALS_DIRECTORY" => it.credentials = folder(),
                "STATE_DIRECTORY" => it.state = folder(),
                "CACHE_DIRECTORY" => it.cache = folder(),
                "XDG_STATE_HOME" => xdg = absolute(&value),
                "HOME" => home = absolute(&value),
                name if name.starts_with(PREFIX) => it.overrides.push((name.to_owned(), value)),
                _ => {}
            }
        }
        it.home_state = xdg.or_else(|| Some(home?.join(".local/state")));
        it.overrides.sort();
        it
    }

    /// Where the box keeps its state unless it says otherwise.
    pub(super) fn state_dir(&self) -> PathBuf {
        let home = self.home_state.as_ref().filter(|_| !rustix::process::geteuid().is_root());
        match (&self.state, home) {
            (Some(state), _) => state.clone(),
            (None, Some(home)) => home.join("edge-ger"),
            (None, None) => "/var/lib/edge-ger".into(),
        }
    }

    /// Where TensorRT's engines are kept unless the box says otherwise.
    pub(super) fn cache_dir(&self, state_dir: &Path) -> PathBuf {
        self.cache.clone().unwrap_or_else(|| state_dir.join("engines"))
    }

    /// The overrides, by section and key. Relative paths start at the working directory.
    pub(super) fn entries(&self, remarks: &mut Remarks) -> Entries {
        let folder = std::path::absolute(".").unwrap_or_default();
        let base = Base { folder: &folder, credentials: self.credentials.as_deref() };
        let mut entries = Entries::new();
        for (name, written) in &self.overrides {
            let place = Place::Environment(shown(name));
            let levels: Vec<_> = name[PREFIX.len()..].split("__").collect();
            let [section_name, key_name] = levels[..] else {
                let wrong = Wrong::new("this is no section and key", "write EDGE_GER__SECTION__KEY");
                remarks.fault(place, "", wrong);
                continue;
            };
            let Some(section) = schema::section(&section_name.to_lowercase()).filter(|_| is_upper(section_name)) else {
                let cure = match suggest::unknown_section(section_name).1 {
                    Some(near) => format!("did you mean {PREFIX}{}__{}?", near.name.to_uppercase(), shown(key_name)),
                    None => format!("there are {}", SECTIONS.iter().map(|it| it.name).collect::<Vec<_>>().join(", ")),
                };
                remarks.fault(place, "", Wrong::new("unknown section", cure));
                continue;
            };
            let Some(key) = section.key(&key_name.to_lowercase()).filter(|_| is_upper(key_name)) else {
                let (mut wrong, meant) = suggest::unknown_key(section, key_name);
                if let Some(key) = meant {
                    let name = format!("{PREFIX}{section_name}__{}", key.name.to_uppercase());
                    wrong.cure = format!("did you mean {name}, {}?", key.kind.expectation());
                    entries.entry((section.name, key.name)).or_insert(Entry { value: None, place: place.clone() });
                }
                remarks.fault(place, section.name, wrong);
                continue;
            };
            let value = value::from_environment(key, written, base)
                .map_err(|wrong| remarks.fault(place.clone(), format!("{}.{}", section.name, key.name), wrong))
                .ok();
            entries.insert((section.name, key.name), Entry { value, place });
        }
        entries
    }
}

fn absolute(folder: &str) -> Option<PathBuf> {
    Some(PathBuf::from(folder)).filter(|folder| folder.is_absolute())
}

fn is_upper(name: &str) -> bool {
    name.bytes().all(|it| !it.is_ascii_lowercase())
}

/// A variable's name, unless it looks like something else.
fn shown(name: &str) -> String {
    let plain = name.to_lowercase();
    let fits = name.split("__").count() <= 3 && plain.split("__").all(|level| suggest::showable(level).is_some());
    if fits { name.to_owned() } else { format!("{PREFIX}…") }
}
