//! The documentation says what the program does: keys, words, fields, examples and links are held against it.

mod broker;
mod dashboards;
mod faults;

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
};

use edge_ger::{
    config::file::schema::section,
    publish::payload::{self, BoxFigures, HealthText, Info, ReadingText, Topics},
    service::Exit,
    wire::{
        CameraId,
        record::{CameraState, Emotion, Outcome, Provider, Reading, SoundState, Vital, Withheld},
    },
};
use serde_json::Value;

use crate::it::{harness::daemon::repository, packages::pages::keys, publish::vital, tidy::sources};

/// Set, the test writes what it would otherwise compare.
pub(crate) const UPDATE: &str = "UPDATE_DOCS";

fn read(path: &str) -> String {
    fs::read_to_string(repository(path)).unwrap_or_else(|err| panic!("{path}: {err}"))
}

/// The pages of the documentation, and the two that link to it, by their paths in the repository.
fn pages() -> Vec<String> {
    let entries = fs::read_dir(repository("docs")).unwrap().map(|it| it.unwrap().file_name());
    let names = entries.map(|it| it.to_string_lossy().into_owned()).filter(|it| it.ends_with(".md"));
    let mut pages: Vec<_> = names.map(|it| format!("docs/{it}")).collect();
    assert!(5 < pages.len(), "{pages:?}");
    pages.extend(["dashboards/README.md".to_owned(), "README.md".to_owned()]);
    pages.sort();
    pages
}

/// The fenced blocks of one language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let (mut blocks, mut inside) = (Vec::<String>::new(), None);
    for line in text.lines() {
        match (line.trim_start().strip_prefix("```"), inside) {
            (Some(_), Some(_)) => inside = None,
            (Some(word), None) => {
                inside = Some(word == language);
                blocks.extend((word == language).then(String::new));
            }
            (None, Some(true)) => blocks.last_mut().unwrap().extend([line, "\n"]),
            (None, _) => {}
        }
    }
    assert_eq!(inside, None, "a block without an end");
    blocks
}

/// The text outside of fenced blocks.
fn prose(text: &str) -> String {
    let mut inside = false;
    let is_prose = |line: &&str| {
        let fence = line.trim_start().starts_with("```");
        inside ^= fence;
        !inside && !fence
    };
    text.lines().filter(is_prose).map(|line| format!("{line}\n")).collect()
}

/// What stands below a heading, up to the next one of its rank or above.
fn below<'t>(text: &'t str, heading: &str) -> &'t str {
    let (_, rest) = text.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no {heading:?}"));
    let rank = heading.split(' ').next().unwrap();
    let ends = (1..=rank.len()).filter_map(|rank| rest.find(&format!("\n{} ", "#".repeat(rank))));
    &rest[..ends.min().unwrap_or(rest.len())]
}

/// The cells of a table's rows, whose first is a word in code marks.
fn rows(text: &str) -> Vec<Vec<String>> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("| `")?.strip_suffix(" |"));
    let cells = |line: &str| line.split(" | ").map(|cell| cell.trim_matches(['`', ' ']).to_owned()).collect();
    lines.map(cells).collect()
}

/// The first two cells of each row.
fn pairs(text: &str) -> Vec<(String, String)> {
    rows(text).into_iter().map(|row| (row[0].clone(), row[1].clone())).collect()
}

#[test]
fn configure_md_is_the_schema() {
    let path = repository("docs/configure.md");
    if env::var_os(UPDATE).is_some() {
        fs::write(&path, keys::configure_md()).unwrap();
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    assert!(there == keys::configure_md(), "docs/configure.md is out of date: run this test with {UPDATE}=1");
}

#[test]
fn every_setting_in_an_example_is_a_key() {
    let mut seen = 0;
    for page in pages() {
        for block in blocks(&read(&page), "toml") {
            let table: toml::Table = block.parse().unwrap_or_else(|err| panic!("{page}: {err}\n{block}"));
            for (name, keys) in &table {
                let section = section(name).unwrap_or_else(|| panic!("{page}: no section {name}"));
                for key in keys.as_table().unwrap().keys() {
                    assert!(section.key(key).is_some(), "{page}: no key {name}.{key}");
                    seen += 1;
                }
            }
        }
    }
    assert!(20 < seen, "{seen}");
}

#[test]
fn every_log_line_and_exit_code_is_the_programs() {
    let page = read("docs/operate.md");
    let source: String = sources(&repository("src")).iter().map(|it| fs::read_to_string(it).unwrap()).collect();
    let lines = rows(below(&page, "## By log line"));
    assert!(20 < lines.len());
    for line in lines.iter().flat_map(|row| row[0].split("`, `")) {
        // What stands for a value, and the fields behind the words, differ from line to line.
        let words = line.split('=').next().unwrap();
        let words = if words == line { words } else { words.rsplit_once(' ').unwrap().0 };
        for piece in words.split('…').map(str::trim).filter(|it| !it.is_empty()) {
            assert!(source.contains(piece), "docs/operate.md: no line with {piece:?}");
        }
    }
    let codes: Vec<_> = rows(below(&page, "## Exit codes")).iter().map(|row| row[0].parse::<u8>().unwrap()).collect();
    let all = [Exit::Stopped, Exit::Unanswered, Exit::Usage, Exit::Internal, Exit::AlreadyRunning, Exit::Configuration];
    assert_eq!(codes, all.map(Exit::code));
}

/// What the examples show.
fn labelled() -> Reading {
    Reading {
        camera: CameraId(0),
        slot: 4806,
        window_end_ms: 1_795_221_104_381,
        outcome: Outcome::Label(Emotion::Positive),
        probabilities: [8123, 1402, 475],
        group_at_least: Some(5),
        sound: SoundState::Present,
        frame_offset_ms: 225,
        latency_ms: 76,
        inference_ms: 60,
    }
}

fn withheld() -> Reading {
    Reading {
        slot: 4807,
        window_end_ms: 1_795_221_109_381,
        outcome: Outcome::Withheld(Withheld::VideoGap),
        probabilities: [0; 3],
        group_at_least: None,
        frame_offset_ms: 0,
        latency_ms: 21,
        inference_ms: 0,
        ..labelled()
    }
}

const BOOT: u32 = 1_761_068_479;

fn parsed(text: &impl serde::Serialize) -> Value {
    serde_json::from_slice(&payload::json(text)).unwrap()
}

fn reading_payload(reading: &Reading) -> Value {
    parsed(&ReadingText::new(reading, BOOT))
}

fn health_payload() -> Value {
    let vital = Vital { units_dropped: 0, labelled: 4700, withheld: 13, ..vital() };
    let figures =
        BoxFigures { waiting: 0, given_up: 0, on_disk: true, refused: 0, broker_outages: 1, broker_connected: true };
    parsed(&HealthText::new(&vital, CameraState::Online, &figures, 1_795_221_120_112, BOOT))
}

fn info_payload() -> Value {
    let mut info = Info::new(BOOT, "edge-ger-2", 5, 5000);
    info.set_provider(Provider::Cpu);
    parsed(&info)
}

fn keys(payload: &Value) -> BTreeSet<String> {
    payload.as_object().unwrap().keys().cloned().collect()
}

#[test]
fn the_payloads_are_those_of_the_program() {
    let page = read("docs/integrate.md");
    let check = |heading: &str, payloads: &[Value]| {
        let text = below(&page, heading);
        let shown: Vec<Value> = blocks(text, "json").iter().map(|it| serde_json::from_str(it).unwrap()).collect();
        assert_eq!(shown, payloads, "{heading}: {}", payloads.iter().map(|it| format!("\n{it}")).collect::<String>());
        let told: Vec<_> = rows(text).into_iter().map(|row| row[0].clone()).collect();
        assert_eq!(told.iter().cloned().collect::<BTreeSet<_>>(), keys(&payloads[0]), "{heading}: the table");
        assert_eq!(told.len(), keys(&payloads[0]).len(), "{heading}: a key stands twice");
    };
    check("## reading", &[reading_payload(&labelled()), reading_payload(&withheld())]);
    check("## health", &[health_payload()]);
    check("## info", &[info_payload()]);
}

/// All topics of a box with a camera.
fn topics() -> Vec<String> {
    let topics = Topics::new("edge-ger", "box-1");
    let leaves = ["status", "reading", "last", "health"].map(|leaf| topics.camera("hall", leaf));
    [topics.status(), topics.info()].into_iter().chain(leaves).collect()
}

/// Whether a subscription gets the messages of a topic.
fn matches(filter: &str, topic: &str) -> bool {
    let (mut filter, mut topic) = (filter.split('/'), topic.split('/'));
    loop {
        match (filter.next(), topic.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some(wanted), Some(level)) if wanted == "+" || wanted == level => {}
            _ => return false,
        }
    }
}

#[test]
fn every_topic_in_an_example_is_published() {
    let mut seen = 0;
    for page in pages() {
        let text = read(&page);
        let code: String = ["sh", "python", "javascript"].iter().flat_map(|it| blocks(&text, it)).collect();
        for filter in code.split(['\'', '"', ' ', '\n']).filter(|it| it.starts_with("edge-ger/")) {
            // One box of the examples is gone, and another name than this one's would do as well.
            let filter = filter.replace("box-7", "box-1");
            assert!(topics().iter().any(|topic| matches(&filter, topic)), "{page}: {filter}");
            seen += 1;
        }
    }
    assert!(8 < seen, "{seen}");
}

/// The part of a link that leads to a heading, as code hosting sites make it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().to_lowercase();
    kept.chars()
        .filter(|it| it.is_alphanumeric() || matches!(it, '-' | '_' | ' '))
        .collect::<String>()
        .replace(' ', "-")
}

fn links(text: &str) -> Vec<String> {
    let targets = prose(text);
    targets.split("](").skip(1).filter_map(|it| Some(it.split_once(')')?.0.to_owned())).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut faults = Vec::new();
    for page in pages() {
        let text = read(&page);
        for link in links(&text).iter().filter(|it| !it.contains("://")) {
            let (path, heading) = link.split_once('#').unwrap_or((link, ""));
            let folder = Path::new(&page).parent().unwrap();
            let target = if path.is_empty() { PathBuf::from(&page) } else { folder.join(path) };
            let found = repository(target.to_str().unwrap());
            let leads = match heading {
                "" => found.exists(),
                _ => fs::read_to_string(found)
                    .is_ok_and(|it| prose(&it).lines().any(|it| it.starts_with('#') && anchor(it) == heading)),
            };
            if !leads {
                faults.push(format!("{page}: {link}"));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn the_index_has_every_page() {
    let index = links(&read("docs/README.md"));
    for page in pages().iter().filter_map(|it| it.strip_prefix("docs/")).filter(|it| *it != "README.md") {
        assert!(index.iter().any(|it| it == page), "docs/README.md does not link to {page}");
    }
    assert!(links(&read("README.md")).iter().any(|it| it == "docs/README.md"));
}

#[test]
fn the_checks_can_fail() {
    let page =
        "# A\n\n## B c, d\n\n| key |\n|---|\n| `x` | 1 |\n\n```json\n{}\n[x](nowhere)\n```\n\n## E\n\n[y](z.md#e)\n";
    assert_eq!(pairs(below(page, "## B c, d")), [("x".to_owned(), "1".to_owned())]);
    assert_eq!(rows(below(page, "## E")), [[""; 0]; 0]);
    assert_eq!((links(page), anchor("## B c, d")), (vec!["z.md#e".to_owned()], "b-c-d".to_owned()));
    assert_eq!(blocks(page, "json"), ["{}\n[x](nowhere)\n"]);
    for (filter, topic, fits) in [
        ("edge-ger/#", "edge-ger/b/status", true),
        ("edge-ger/+/status", "edge-ger/b/status", true),
        ("edge-ger/+/status", "edge-ger/b/c/status", false),
        ("edge-ger/+/+", "edge-ger/b", false),
    ] {
        assert_eq!(matches(filter, topic), fits, "{filter} {topic}");
    }
}
