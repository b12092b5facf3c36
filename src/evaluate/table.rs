//! Labels in, predictions out: the tables of `evaluate`.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::{Component, Path, PathBuf},
};

use csv::{ReaderBuilder, StringRecord, Trim, Writer};
use sha2::{Digest as _, Sha256};

use super::{Error, Outcome, place};
use crate::{infer::clip::Modalities, wire::record::Emotion};

/// The columns of predictions.
const COLUMNS: [&str; 7] = ["clip", "truth", "predicted", "p_positive", "p_neutral", "p_negative", "senses"];
/// The header of VGAF's labels files, whose names have no extension; 1 is positive, 2 neutral, 3 negative.
const VGAF: [&str; 2] = ["Vid_name", "Label"];
const VGAF_LABELS: [&str; 3] = ["1", "2", "3"];
/// The extensions that a name without one is looked for with.
const EXTENSIONS: [&str; 6] = ["mp4", "mkv", "webm", "mov", "avi", "ts"];

/// A clip and its label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Labelled {
    /// The file's name, relative to the clips' folder.
    pub name: String,
    /// What people said.
    pub truth: Emotion,
}

/// The labels of a set of clips, in the order of their file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Labels {
    /// At least one.
    pub(super) clips: Vec<Labelled>,
    /// The SHA-256 of the labels file, in hexadecimal.
    pub(super) sha256: String,
}

/// One row as it is written: its line, and the two fields that count.
struct Row {
    line: u64,
    name: String,
    label: String,
}

/// Reads a labels file and looks for its clips.
///
/// # Errors
/// All faults of the file at once, each with its line; then all clips that are not there at once.
pub(super) fn read(file: &Path, folder: &Path) -> Result<Labels, Error> {
    if !folder.is_dir() {
        return Err(Error::NoFolder(folder.to_path_buf()));
    }
    let cure = "name a CSV file with the columns clip and label";
    let unreadable = |source| Error::File { file: file.to_path_buf(), what: "the labels cannot be read", source, cure };
    let bytes = fs::read(file).map_err(unreadable)?;
    let text = String::from_utf8(bytes.clone())
        .map_err(|_| Error::Labels(vec![format!("{}: this is not text in UTF-8; {cure}", file.display())]))?;
    let text = text.trim_start_matches('\u{feff}');
    let is_vgaf = text.lines().next().is_some_and(|line| line.split_whitespace().eq(VGAF));
    let rows =
        if is_vgaf { of_vgaf(file, text) } else { of_csv(file, text) }.map_err(|fault| Error::Labels(vec![fault]))?;
    if rows.is_empty() {
        let fault = format!("{}: it has no labels, only a header; add a line for each clip", file.display());
        return Err(Error::Labels(vec![fault]));
    }
    let words: Vec<_> = if is_vgaf { VGAF_LABELS.to_vec() } else { Emotion::ALL.map(Emotion::as_str).to_vec() };
    let clips = checked(file, folder, rows, &words, is_vgaf)?;
    let sha256 = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Labels { clips, sha256 })
}

fn of_vgaf(file: &Path, text: &str) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    for (line, text) in (1..).zip(text.lines()).skip(1).filter(|(_, text)| !text.trim().is_empty()) {
        let fields: Vec<_> = text.split_whitespace().collect();
        let [name, label] = fields[..] else {
            return Err(format!("{}:{line}: this is not a name and 1, 2 or 3; correct it", file.display()));
        };
        rows.push(Row { line, name: name.to_owned(), label: label.to_owned() });
    }
    Ok(rows)
}

fn of_csv(file: &Path, text: &str) -> Result<Vec<Row>, String> {
    let mut reader = ReaderBuilder::new().trim(Trim::All).from_reader(text.as_bytes());
    let fault = |err: csv::Error| {
        let line = err.position().map_or(1, |position| line_of(text, position));
        format!("{}:{line}: this is no CSV: {}; quote fields that hold commas", file.display(), plain(&err))
    };
    let header = reader.headers().map_err(fault)?.clone();
    let column = |name: &str| {
        let found: Vec<_> = header.iter().collect();
        header.iter().position(|field| field == name).ok_or_else(|| {
            let found = if found.is_empty() { "nothing".to_owned() } else { found.join(", ") };
            format!("{}:1: the column {name:?} is missing, the header has {found}; name it there", file.display())
        })
    };
    let (clip, label) = (column(COLUMNS[0])?, column("label")?);
    let field = |record: &StringRecord, at: usize| record.get(at).unwrap_or_default().to_owned();
    let row = |record: csv::Result<StringRecord>| {
        let record = record.map_err(fault)?;
        let line = record.position().map_or(0, |position| line_of(text, position));
        Ok(Row { line, name: field(&record, clip), label: field(&record, label) })
    };
    reader.into_records().map(row).collect()
}

/// The line on which a record begins, from 1: the crate's place is that of the empty lines before it, where there are some.
fn line_of(text: &str, place: &csv::Position) -> u64 {
    let start = usize::try_from(place.byte()).unwrap_or(usize::MAX);
    let rest = text.get(start..).unwrap_or_default();
    let skipped = rest.bytes().take_while(|byte| matches!(byte, b'\r' | b'\n')).filter(|byte| *byte == b'\n').count();
    place.line() + u64::try_from(skipped).unwrap_or(0)
}

/// The crate's own words begin with the position, which is told already.
fn plain(err: &csv::Error) -> String {
    match err.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("{len} fields, and the header has {expected_len}")
        }
        _ => err.to_string(),
    }
}

/// The rows as clips, or everything that is wrong with them.
fn checked(file: &Path, folder: &Path, rows: Vec<Row>, words: &[&str], is_vgaf: bool) -> Result<Vec<Labelled>, Error> {
    let (mut faults, mut absent, mut clips) = (Vec::new(), Vec::new(), Vec::new());
    let mut lines: BTreeMap<String, u64> = BTreeMap::new();
    let count = rows.len();
    for Row { line, name, label } in rows {
        let at = format!("{}:{line}", file.display());
        let truth = words.iter().position(|word| word.eq_ignore_ascii_case(&label)).map(|index| Emotion::ALL[index]);
        if truth.is_none() {
            faults.push(format!("{at}: the label {label:?} is none of {}; correct it", words.join(", ")));
        }
        let is_below =
            |name: &str| Path::new(name).components().all(|component| matches!(component, Component::Normal(_)));
        if name.is_empty() || !is_below(&name) {
            faults.push(format!(
                "{at}: the clip {name:?} is no file below the clips' folder; write its name relative to it"
            ));
        } else if let Some(before) = lines.insert(name.clone(), line) {
            faults.push(format!("{at}: the clip {name:?} is in line {before}, too; keep one of them"));
        }
        let Some(found) = find(folder, &name, is_vgaf) else {
            absent.push(format!("{name} (line {line})"));
            continue;
        };
        clips.extend(truth.map(|truth| Labelled { name: found, truth }));
    }
    if faults.is_empty() && !absent.is_empty() {
        faults.push(format!(
            "{}: {} of {count} clips are not in {}: {}; put them there, or take their lines out",
            file.display(),
            absent.len(),
            folder.display(),
            absent.join(", ")
        ));
    }
    if faults.is_empty() { Ok(clips) } else { Err(Error::Labels(faults)) }
}

/// The clip's file, if it is there.
fn find(folder: &Path, name: &str, is_vgaf: bool) -> Option<String> {
    let mut names =
        if is_vgaf { EXTENSIONS.iter().map(|extension| format!("{name}.{extension}")).collect() } else { Vec::new() };
    names.push(name.to_owned());
    names.into_iter().find(|name| folder.join(name).is_file())
}

/// Writes the answer to each clip.
pub(super) struct Predictions {
    file: PathBuf,
    writer: Writer<File>,
}

impl Predictions {
    /// Begins a file; one that is there is replaced.
    pub(super) fn create(file: &Path) -> Result<Self, Error> {
        let of_file = |source| unwritable(file, source);
        let writer = Writer::from_writer(File::create(file).map_err(of_file)?);
        let mut predictions = Self { file: file.to_path_buf(), writer };
        predictions.record(COLUMNS.map(str::to_owned))?;
        Ok(predictions)
    }

    /// A clip that has no answer has senses `none`, and nothing is predicted.
    pub(super) fn write(&mut self, clip: &Labelled, outcome: &Outcome, modalities: Modalities) -> Result<(), Error> {
        let (predicted, chances) = match outcome {
            Outcome::Answered(prediction) => {
                let chances = Emotion::ALL.map(|emotion| format!("{:.6}", prediction.probabilities[place(emotion)]));
                (prediction.predicted.as_str(), chances)
            }
            _ => ("", [const { String::new() }; 3]),
        };
        let [positive, neutral, negative] = chances;
        let (clip, truth) = (clip.name.clone(), clip.truth.as_str().to_owned());
        self.record([clip, truth, predicted.to_owned(), positive, neutral, negative, modalities.as_str().to_owned()])
    }

    pub(super) fn finish(mut self) -> Result<(), Error> {
        self.writer.flush().map_err(|source| unwritable(&self.file, source))
    }

    fn record(&mut self, fields: [String; 7]) -> Result<(), Error> {
        self.writer.write_record(&fields).map_err(|err| unwritable(&self.file, io::Error::from(err)))
    }
}

fn unwritable(file: &Path, source: io::Error) -> Error {
    let cure = "name a file in a folder that you may write to";
    Error::File { file: file.to_path_buf(), what: "the predictions cannot be written", source, cure }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads labels beside three empty files.
    fn labels(text: &str) -> Result<Vec<(String, Emotion)>, String> {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.mp4", "b,c.mkv", "v_1.mp4"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let file = folder.path().join("labels.csv");
        fs::write(&file, text).unwrap();
        match read(&file, folder.path()) {
            Ok(labels) => Ok(labels.clips.into_iter().map(|clip| (clip.name, clip.truth)).collect()),
            Err(err) => Err(err.to_string().replace(&folder.path().display().to_string(), "F")),
        }
    }

    #[test]
    fn both_forms_are_read() {
        let expected = vec![("a.mp4".to_owned(), Emotion::Negative), ("b,c.mkv".to_owned(), Emotion::Positive)];
        assert_eq!(labels("\u{feff}people,label , clip\n3,Negative,a.mp4\r\n\n2,POSITIVE,\"b,c.mkv\"\n"), Ok(expected));
        let expected = vec![("v_1.mp4".to_owned(), Emotion::Neutral), ("a.mp4".to_owned(), Emotion::Negative)];
        assert_eq!(labels("Vid_name Label\nv_1 2\n\na 3\n"), Ok(expected));
    }

    #[test]
    fn every_fault_names_its_line_and_cure() {
        let check = |text: &str, fault: &str| assert_eq!(labels(text).unwrap_err(), fault, "{text:?}");
        check(
            "clip,mood\na.mp4,x\n",
            "F/labels.csv:1: the column \"label\" is missing, the header has clip, mood; name it there",
        );
        check("", "F/labels.csv:1: the column \"clip\" is missing, the header has nothing; name it there");
        check("clip,label\n", "F/labels.csv: it has no labels, only a header; add a line for each clip");
        check(
            "clip,label\n\na.mp4,happy\n",
            "F/labels.csv:3: the label \"happy\" is none of positive, neutral, negative; correct it",
        );
        check("Vid_name Label\nv_1 4\n", "F/labels.csv:2: the label \"4\" is none of 1, 2, 3; correct it");
        check("Vid_name Label\nv_1\n", "F/labels.csv:2: this is not a name and 1, 2 or 3; correct it");
        check(
            "clip,label\na.mp4\n",
            "F/labels.csv:2: this is no CSV: 1 fields, and the header has 2; quote fields that hold commas",
        );
        check(
            "clip,label\na.mp4,neutral\na.mp4,neutral\n../a.mp4,neutral\n",
            "F/labels.csv:3: the clip \"a.mp4\" is in line 2, too; keep one of them\n\
             F/labels.csv:4: the clip \"../a.mp4\" is no file below the clips' folder; write its name relative to it",
        );
        check(
            "clip,label\nx.mp4,neutral\na.mp4,neutral\ny.mp4,neutral\n",
            "F/labels.csv: 2 of 3 clips are not in F: x.mp4 (line 2), y.mp4 (line 4); put them there, or take their lines out",
        );
    }
}
