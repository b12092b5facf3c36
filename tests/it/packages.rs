//! What a package brings beside the daemon: completions and manual pages are those of the command line as it is, and the
//! package's own files say what is there.

#[path = "../../packaging/pages.rs"]
#[allow(dead_code, reason = "its `main` is for the target of that name")]
pub(crate) mod pages;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use edge_ger::config::file::schema::SECTIONS;

/// The pages in a folder of their own.
fn written() -> (tempfile::TempDir, Vec<PathBuf>) {
    let folder = tempfile::tempdir().unwrap();
    let files = pages::write(folder.path()).unwrap();
    (folder, files)
}

fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    fs::read_to_string(path).unwrap_or_else(|err| panic!("{}: {err}", path.display()))
}

/// Runs a program that must succeed, and returns what it says, on both ways out.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|err| panic!("{program}: {err}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {text}");
    text
}

/// Every command that is shown: its words after `edge-ger`, and its options.
fn commands(command: &clap::Command, words: &[String]) -> Vec<(Vec<String>, Vec<String>)> {
    let options = command.get_arguments().filter(|it| !it.is_hide_set());
    let options = options.filter_map(|it| it.get_long()).map(|it| format!("--{it}"));
    let mut found = vec![(words.to_vec(), options.collect())];
    for below in command.get_subcommands().filter(|it| !it.is_hide_set()) {
        let words = [words, &[below.get_name().to_owned()]].concat();
        found.extend(commands(below, &words));
    }
    found
}

fn all_commands() -> Vec<(Vec<String>, Vec<String>)> {
    let found = commands(&edge_ger::cli::command(), &[]);
    assert!(4 < found.len() && found.iter().any(|(words, _)| words == &["model", "verify"]), "{found:?}");
    found
}

#[test]
fn every_command_and_option_has_its_place_in_the_manual() {
    let (folder, files) = written();
    for (words, options) in all_commands() {
        let name = [&["edge-ger".to_owned()], words.as_slice()].concat().join("-");
        let page = read(folder.path().join(format!("{name}.1"))).replace("\\-", "-");
        for option in options {
            assert!(page.contains(&option), "{name}.1 lacks {option}");
        }
    }
    let page = read(folder.path().join("edge-ger.toml.5")).replace("\\-", "-");
    for section in SECTIONS.iter() {
        assert!(page.contains(&format!("[{}]", section.name)), "no section {}", section.name);
        for key in &section.keys {
            assert!(page.contains(&format!("\\fB{}\\fR\n", key.name)), "no key {}", key.name);
        }
    }
    let names: Vec<_> = files.iter().map(|it| it.file_name().unwrap().to_string_lossy()).collect();
    assert!(!names.iter().any(|it| it.contains("process")), "what is hidden has a page: {names:?}");
    assert!(!files.iter().any(|it| read(it).contains("ingest")), "a process of the daemon is offered");
}

#[test]
fn groff_has_no_complaint_about_the_manual() {
    let (folder, files) = written();
    let mut pages = 0;
    for file in files.iter().filter(|it| it.extension().is_some_and(|it| it == "1" || it == "5")) {
        let said = said("groff", &["-man", "-Kutf8", "-Tutf8", "-ww", "-z", "-rLL=100n", file.to_str().unwrap()]);
        assert_eq!(said, "", "{}", file.display());
        pages += 1;
    }
    assert!(all_commands().len() < pages, "{pages}");
    // A warning would have been seen.
    let wrong = folder.path().join("wrong.1");
    fs::write(&wrong, ".TH WRONG 1\n.NO_SUCH_MACRO\n").unwrap();
    assert!(
        said("groff", &["-man", "-Kutf8", "-Tutf8", "-ww", "-z", wrong.to_str().unwrap()]).contains("NO_SUCH_MACRO")
    );
}

/// What bash offers behind `edge-ger WORDS… START`.
fn bash_offers(script: &Path, words: &[String], start: &str) -> BTreeSet<String> {
    let typed = [&["edge-ger".to_owned()], words, &[start.to_owned()]].concat();
    let ask = format!(
        "source '{}'; COMP_WORDS=({}); COMP_CWORD={}; offers=$(complete -p edge-ger); offers=${{offers#*-F }}; \
         ${{offers%% *}} edge-ger '{start}' '{}'; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        script.display(),
        typed.iter().map(|it| format!("'{it}'")).collect::<Vec<_>>().join(" "),
        typed.len() - 1,
        typed[typed.len() - 2],
    );
    said("bash", &["--norc", "-c", &ask]).lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_every_command_and_option() {
    let (folder, _) = written();
    let script = folder.path().join("edge-ger.bash");
    for (words, options) in all_commands() {
        let offered = bash_offers(&script, &words, "--");
        for option in &options {
            assert!(offered.contains(option), "edge-ger {words:?} --<TAB> lacks {option}: {offered:?}");
        }
        if let Some((last, before)) = words.split_last() {
            let offered = bash_offers(&script, before, &last[..2]);
            assert!(offered.contains(last), "edge-ger {before:?} {:?}<TAB> lacks {last}: {offered:?}", &last[..2]);
        }
    }
    assert_eq!(bash_offers(&script, &[], "roo"), BTreeSet::from([String::new()]), "a hidden command is offered");
}

#[test]
fn fish_completes_every_command_and_option_and_zsh_reads_its_own() {
    let (folder, _) = written();
    let script = folder.path().join("edge-ger.fish");
    for (words, options) in all_commands() {
        let typed = |start: &str| [&["edge-ger".to_owned()], words.as_slice(), &[start.to_owned()]].concat().join(" ");
        let ask = format!("source '{}'; complete --do-complete '{}'", script.display(), typed("--"));
        let said = said("fish", &["--no-config", "-c", &ask]);
        let offered: BTreeSet<_> = said.lines().filter_map(|it| it.split('\t').next()).collect();
        for option in &options {
            assert!(offered.contains(option.as_str()), "edge-ger {words:?} --<TAB> lacks {option}: {offered:?}");
        }
    }
    said("zsh", &["-n", folder.path().join("_edge-ger").to_str().unwrap()]);
}
