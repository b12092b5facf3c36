//! The documentation of the configuration, made of its structs: `configs/full.toml`, `docs/configure.md` and the manual
//! page edge-ger.toml(5).

use clap_mangen::roff::{Inline, Roff, bold, roman};
use edge_ger::inside::config::file::schema::{Absent, KeySchema, SECTIONS, Scope, SectionSchema};

/// The introduction, in paragraphs.
const HEADER: &str = "\
All keys, each with its meaning, what it may be, and its default. Keys with a default stand here with that default; a
key behind a # has none, or one that is computed. camera.url, site.context, site.notice and mqtt.host must be given:
see minimal.toml.

One file is one camera. Several files, or a folder of them, are several cameras at one box. The sections [camera],
[sound], [sync] and [gates] belong to the file's camera; the others belong to the box and stand in any one file
(a file may hold nothing else), or the same in several.

The environment overrides every key: EDGE_GER__MQTT__HOST=broker.local is mqtt.host. A variable for a camera's key
applies to all cameras. Relative paths start at the folder of the file they stand in. A password never stands here but
in a file of its own, readable by the daemon alone; \"credential:NAME\" is the one that systemd's
LoadCredential=NAME:… provides.";

/// The file with every key: `configs/full.toml`.
pub(crate) fn full_toml() -> String {
    let mut out = HEADER.split("\n\n").map(comment).collect::<Vec<_>>().join("#\n");
    for section in SECTIONS.iter() {
        out += &format!("\n{}[{}]\n", comment(&section.doc), section.name);
        for key in &section.keys {
            let (absent, off) = match &key.absent {
                Absent::Required(_) => ("Must be given.".to_owned(), ""),
                Absent::Default(value) => (format!("Default: {value}."), ""),
                Absent::Computed(words, _) => (format!("Default: {words}."), "#"),
            };
            let text = format!("{} Write {}. {absent}", key.doc, key.expectation);
            out += &format!("\n{}{off}{}\n", comment(&text), key.example());
        }
    }
    out
}

/// Lines of a comment, wrapped at 115 columns.
fn comment(text: &str) -> String {
    let (mut out, mut width) = ("#".to_owned(), 1);
    for word in text.split_whitespace() {
        if 115 < width + 1 + word.chars().count() {
            out += "\n#";
            width = 1;
        }
        out += &format!(" {word}");
        width += 1 + word.chars().count();
    }
    out + "\n"
}

const CONFIGURE: &str = "\
# Configuration

<!-- Written from src/config/file/keys.rs. After a change there:
     UPDATE_DOCS=1 cargo test --locked --features demo -- configure_md_is_the_schema -->

One file is one camera, in [TOML](https://toml.io). Several files, or a folder of them (all `*.toml` in it), are several cameras at
one box. [`camera`](#camera), [`sound`](#sound), [`sync`](#sync) and [`gates`](#gates) belong to the file's camera; the others belong
to the box and stand in any one file, or the same in several. `configs/minimal.toml` is the least, `configs/full.toml` is this page as
a file.

* **Check it:** `edge-ger check FILES` says what a configuration means, or everything that is wrong with it at once, each with file,
  line, key and cure (exit code 78). Unknown keys, wrong units and values out of range are refused, never guessed. What is allowed but
  probably a mistake is a warning.
* **The environment** overrides every key: `EDGE_GER__MQTT__HOST=broker.local` is `mqtt.host`; lists have commas,
  `EDGE_GER__MODEL__PROVIDERS=cuda,cpu`. A variable for a camera's key applies to all cameras.
* **Paths** that are relative start at the folder of the file they stand in.
* **Passwords** never stand here but in a file of their own, readable by the daemon alone. `\"credential:NAME\"` is the one that systemd's
  `LoadCredential=NAME:…` provides ([install.md](install.md#3-configure)).
* **A change** takes effect after `systemctl reload edge-ger` ([operate.md](operate.md#reload)).
";

/// The page of all keys.
pub(crate) fn configure_md() -> String {
    let mut page = CONFIGURE.to_owned();
    for SectionSchema { name, scope, doc, keys } in SECTIONS.iter() {
        let whose = if *scope == Scope::Camera { "One for each camera." } else { "One for the box." };
        page += &format!("\n## {name}\n\n{doc} *{whose}*\n\n| key | meaning | write | default |\n|---|---|---|---|\n");
        keys.iter().for_each(|key| page += &row(key));
    }
    page
}

fn row(key: &KeySchema) -> String {
    let absent = match &key.absent {
        Absent::Required(example) => format!("**must be given**, e.g. `{example}`"),
        Absent::Default(value) => format!("`{value}`"),
        Absent::Computed(words, _) => words.clone(),
    };
    let cells = [&format!("`{}`", key.name), &key.doc, &key.expectation, &absent];
    format!("| {} |\n", cells.map(|cell| cell.replace('|', "\\|")).join(" | "))
}

/// The manual page of the configuration.
pub(crate) fn toml_5(source: &str, name: &str) -> String {
    let mut roff = Roff::new();
    roff.control("TH", ["edge-ger.toml", "5", "", source, name]);
    roff.control("SH", ["NAME"]).text([roman("edge-ger.toml - a camera of edge-ger, and the box that it belongs to")]);
    roff.control("SH", ["DESCRIPTION"]);
    for paragraph in HEADER.split("\n\n") {
        roff.control("PP", []).text([roman(paragraph.replace('\n', " "))]);
    }
    SECTIONS.iter().for_each(|section| man_section(&mut roff, section));
    roff.control("SH", ["SEE ALSO"]).text([bold(name), roman("(1)")]);
    roff.to_roff()
}

fn man_section(roff: &mut Roff, section: &SectionSchema) {
    let whose = if section.scope == Scope::Camera { "One for each camera." } else { "One for the box." };
    roff.control("SH", [format!("[{}]", section.name).as_str()]);
    roff.text([roman(format!("{} {whose}", section.doc))]);
    section.keys.iter().for_each(|key| man_key(roff, key));
}

fn man_key(roff: &mut Roff, key: &KeySchema) {
    let absent: [Inline; 2] = match &key.absent {
        Absent::Required(example) => [roman("Must be given, for example "), bold(example)],
        Absent::Default(value) => [roman("Default: "), bold(value)],
        Absent::Computed(words, _) => [roman("Default: "), roman(words)],
    };
    roff.control("TP", []).text([bold(&key.name)]);
    roff.text([roman(format!("{} Write {}. ", key.doc, key.expectation))]);
    roff.text(absent.into_iter().chain([roman(".")]).collect::<Vec<_>>());
}
