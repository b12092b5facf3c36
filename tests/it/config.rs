//! Configurations, good and broken, as their owners write them.

use std::{
    collections::BTreeSet,
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use edge_ger::{
    config::{
        Config, Decode, MqttVersion, ProviderChoice, Sound, Source, Transport,
        file::{
            self, Loaded, check, load, load_with_warnings,
            schema::{SECTIONS, document},
            secrets,
        },
    },
    time::Span,
};
use proptest::prelude::*;

const CONFIGS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/configs");

/// What must be given, in a file's own words.
const LEAST: &str = "\
[camera]
url = \"rtsp://10.0.0.5/s1\"
[site]
context = \"event\"
notice = \"sign at the entrance\"
[mqtt]
host = \"localhost\"
";

/// A folder with files in it. Secrets are readable by their owner alone.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    dir
}

fn environment(variables: &[(&str, &str)]) -> impl Iterator<Item = (String, String)> {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<Vec<_>>().into_iter()
}

/// Loads one file of this text with these variables. Places in messages begin with `x.toml`.
fn loaded(text: &str, variables: &[(&str, &str)]) -> Result<Loaded, String> {
    let dir = folder(&[("x.toml", text)]);
    load_with_warnings(&[dir.path().join("x.toml")], environment(variables))
        .map_err(|faults| faults.to_string().replace(&format!("{}/", dir.path().display()), ""))
}

#[test]
fn full_toml_is_the_schema() {
    let there = fs::read_to_string(format!("{CONFIGS}/full.toml")).unwrap_or_default();
    let new = Path::new(env!("CARGO_TARGET_TMPDIR")).join("full.toml");
    fs::write(&new, document()).unwrap();
    assert!(there == document(), "configs/full.toml is out of date: cp {} {CONFIGS}/full.toml", new.display());
}

#[test]
fn full_toml_names_every_key_once() {
    let text = fs::read_to_string(format!("{CONFIGS}/full.toml")).unwrap();
    let (mut section, mut named) = (String::new(), Vec::new());
    for line in text.lines() {
        let setting = line.strip_prefix('#').unwrap_or(line);
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_owned();
        } else if let Some((key, _)) = setting.split_once(" = ").filter(|(key, _)| !key.contains(' ')) {
            named.push(format!("{section}.{key}"));
        }
    }
    let known: Vec<_> =
        SECTIONS.iter().flat_map(|it| it.keys.iter().map(|key| format!("{}.{}", it.name, key.name))).collect();
    assert_eq!(named, known);
}

#[test]
fn full_toml_shows_the_defaults() {
    let of = |name: &str| load(&[PathBuf::from(format!("{CONFIGS}/{name}.toml"))], environment(&[])).unwrap();
    let (full, mut minimal) = (of("full"), of("minimal"));
    minimal.cameras[0].name = "full".into();
    assert_eq!(full, minimal);
}

/// Every broken configuration says at its top what must be said of it, and nothing else is said.
#[test]
fn broken_configurations() {
    let broken = format!("{CONFIGS}/broken/");
    let mut wrong = String::new();
    let mut cases = 0;
    for entry in fs::read_dir(&broken).unwrap() {
        let path = entry.unwrap().path();
        let mut files = if path.is_dir() { files_of(&path) } else { vec![path.clone()] };
        files.sort();
        let expected: Vec<String> = files.iter().flat_map(|path| expectations(path)).collect();
        let said = match load(std::slice::from_ref(&path), environment(&[])) {
            Ok(_) => "no fault".to_owned(),
            Err(faults) => faults.to_string().replace(&broken, ""),
        };
        if said.lines().ne(expected.iter().map(String::as_str)) {
            wrong += &format!("\n== {}\n", path.strip_prefix(&broken).unwrap().display());
            said.lines().for_each(|line| wrong += &format!("# expect: {line}\n"));
        }
        assert!(!said.contains("hunter2"), "a password in: {said}");
        cases += 1;
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(20 < cases, "only {cases} broken configurations were found");
}

fn files_of(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn expectations(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map_while(|line| line.strip_prefix("# expect: ")).map(str::to_owned).collect()
}
