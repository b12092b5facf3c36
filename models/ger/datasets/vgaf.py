"""VGAF (Video Group AFfect, EmotiW): `ROOT/{Train,Val}/<source>_<clip>.mp4`, `ROOT/{Train,Val}_labels.txt`.

A labels file is space separated with the header `Vid_name Label`; a name has no extension; 1 is positive, 2 neutral, 3
negative. Two revisions of the labels circulate. They are distinguished by their counts of the classes, which is what is
published about them; state the SHA-256 with any figure.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ger.contract import sha256
from ger.datasets.clip import Clip, DatasetError, Split, check_apart, check_present, check_unique, class_counts

HEADER = ["Vid_name", "Label"]
LABELS = {"1": 0, "2": 1, "3": 2}
# (positive, neutral, negative) of the training and the validation clips.
REVISIONS = {
    ((802, 923, 936), (302, 280, 184)): "802/923/936 and 302/280/184",
    ((806, 923, 932), (299, 281, 186)): "806/923/932 and 299/281/186",
}
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Vgaf:
    """Both splits, and which revision of the labels they are."""

    train: Split
    val: Split
    revision: str

    def describe(self) -> str:
        return f"{self.train.describe()}\n{self.val.describe()}\nVGAF label revision: {self.revision}"


def load(root: Path) -> Vgaf:
    """Lists both splits. Raises `DatasetError` where a file is missing, listed twice, or in both splits."""
    train, val = (load_split(root / f"{name}_labels.txt", root / name, name.lower()) for name in ("Train", "Val"))
    check_apart(train, val)
    counts = class_counts(train.clips), class_counts(val.clips)
    return Vgaf(train, val, REVISIONS.get(counts, UNKNOWN))


def load_split(labels: Path, folder: Path, name: str) -> Split:
    """The clips of one labels file, whose videos are in `folder`."""
    clips = tuple(_clip(line, number, labels, folder) for number, line in _lines(labels))
    check_unique(clips, labels)
    check_present(clips, labels)
    return Split(name, clips, sha256(labels), sources_known=True)


def _lines(labels: Path) -> list[tuple[int, str]]:
    """The lines after the header that are not empty, with their numbers."""
    if not labels.is_file():
        raise DatasetError(f"{labels} is missing: VGAF's labels are beside its folders Train and Val.")
    lines = labels.read_text(encoding="utf-8-sig").splitlines()
    if not lines or lines[0].split() != HEADER:
        raise DatasetError(f'{labels}: the first line must be "{" ".join(HEADER)}"; is this VGAF\'s file?')
    return [(number, line) for number, line in enumerate(lines[1:], 2) if line.strip()]


def _clip(line: str, number: int, labels: Path, folder: Path) -> Clip:
    fields = line.split()
    if len(fields) != 2 or fields[1] not in LABELS:
        raise DatasetError(f"{labels}, line {number}: expected a name and 1, 2 or 3, found {line.strip()!r}.")
    stem, label = fields
    source, separator, _ = stem.rpartition("_")
    if not separator or Path(stem).name != stem:
        raise DatasetError(
            f"{labels}, line {number}: {stem!r} is not <source>_<clip>, so its source video is not known."
        )
    return Clip(folder / f"{stem}.mp4", f"{stem}.mp4", LABELS[label], source)
