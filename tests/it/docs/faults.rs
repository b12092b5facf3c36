//! `docs/faults.md`: its tables of words are those of `src/faults.rs`.

use std::{env, fmt::Write as _, fs};

use edge_ger::{
    faults::{self, Explanation},
    publish::record_filter::Refusal,
    wire::record::{CameraFault, CameraState, Provider, SoundState, Withheld},
};

use super::{UPDATE, below, read, rows};
use crate::it::harness::daemon::repository;

/// A word, the number that is published for it, and what is said of it.
type Word = (&'static str, i32, Explanation);

/// The table of these words below the heading, with or without what to do.
fn table(column: &str, number: &str, has_cure: bool, words: &[Word]) -> String {
    let (title, rule) = if has_cure { (" what to do |", "---|") } else { ("", "") };
    let mut table = format!("| {column} | {number} | meaning |{title}\n|---|---:|---|{rule}\n");
    for (word, number, Explanation { meaning, cure }) in words {
        write!(table, "| `{word}` | {number} | {meaning} |").unwrap();
        match cure.chars().next() {
            Some(first) if has_cure => {
                write!(table, " {}{}. |", first.to_uppercase(), &cure[first.len_utf8()..]).unwrap()
            }
            None if has_cure => table.push_str(" |"),
            _ => {}
        }
        table.push('\n');
    }
    table
}

/// Each heading whose first table is generated, and that table.
fn tables() -> [(&'static str, String); 5] {
    // As published: the code of a withheld reading is -10 minus the reason's.
    let withheld =
        Withheld::ALL.iter().map(|word| (word.as_str(), -10 - i32::from(word.code()), faults::withheld(*word)));
    let states = CameraState::ALL.iter().map(|word| (word.as_str(), word.code().into(), faults::camera_state(*word)));
    let camera = CameraFault::ALL.iter().map(|word| (word.as_str(), word.code().into(), faults::camera_fault(*word)));
    let sound = SoundState::ALL.iter().map(|word| (word.as_str(), word.code().into(), faults::sound(*word)));
    let providers = Provider::ALL.iter().map(|word| (word.as_str(), word.code().into(), faults::provider(*word)));
    [
        ("## Why a reading is withheld", table("reason", "code", true, &withheld.collect::<Vec<_>>())),
        ("## The state of a camera", table("state", "number", false, &states.collect::<Vec<_>>())),
        ("## Why a camera is not online", table("fault", "number", true, &camera.collect::<Vec<_>>())),
        ("## Sound", table("sound", "number", true, &sound.collect::<Vec<_>>())),
        ("## What runs the network", table("provider", "number", false, &providers.collect::<Vec<_>>())),
    ]
}

/// The page with its tables replaced by those of the program.
fn generated(page: &str) -> String {
    tables().into_iter().fold(page.to_owned(), |page, (heading, table)| {
        let (before, rest) = page.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no {heading:?}"));
        let start = rest.find("\n|").unwrap_or_else(|| panic!("no table below {heading:?}")) + 1;
        let end = start + rest[start..].find("\n\n").unwrap() + 1;
        format!("{before}\n{heading}\n{}{table}{}", &rest[..start], &rest[end..])
    })
}

#[test]
fn faults_md_has_the_words_of_the_program() {
    let path = repository("docs/faults.md");
    let page = read("docs/faults.md");
    if env::var_os(UPDATE).is_some() {
        fs::write(&path, generated(&page)).unwrap();
    }
    let page = read("docs/faults.md");
    assert!(page == generated(&page), "docs/faults.md is out of date: run this test with {UPDATE}=1");
    let refusals: Vec<_> =
        rows(below(&page, "## Records that were refused")).iter().map(|row| row[0].clone()).collect();
    assert_eq!(refusals, Refusal::ALL.map(Refusal::as_str));
}
