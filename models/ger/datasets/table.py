"""A folder of clips and a CSV with a header: columns `clip` and `label`, and any others.

`clip` is the file's name with its extension, relative to the folder; `label` is positive, neutral or negative. Of
further columns, `source` (the video a clip was cut from) makes intervals account for related clips, and `split` divides
the clips; `people`, `face_px`, `light` and the like become curves of an evaluation.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ger.contract import CLASSES, sha256
from ger.datasets import vgaf
from ger.datasets.clip import Clip, DatasetError, Split, check_present, check_unique

WORDS = {name: index for index, name in enumerate(CLASSES)}


@dataclass(frozen=True)
class Columns:
    """The names of a CSV's columns, and its words for the labels (compared without regard to case)."""

    clip: str = "clip"
    label: str = "label"
    source: str = "source"
    split: str = "split"
    words: Mapping[str, int] = field(default_factory=lambda: WORDS)
    suffix: str = ""  # appended to a clip's name where the table leaves the extension out

    def index(self, word: str) -> int | None:
        """The class of a label as written; None where it is unknown."""
        return self.words.get(word.strip().lower())


def load(clips: Path, labels: Path, columns: Columns = Columns(), name: str = "clips") -> Split:
    """All clips of the table. A VGAF labels file (`.txt`) is read as such."""
    if not clips.is_dir():
        raise DatasetError(f"{clips} is not a folder: name the folder that holds the labels' clips.")
    if labels.suffix == ".txt":
        return vgaf.load_split(labels, clips, name)
    rows = read_rows(labels, (columns.clip, columns.label))
    listed = tuple(_clip(row, number, labels, clips, columns) for number, row in rows)
    check_unique(listed, labels)
    check_present(listed, labels)
    return Split(name, listed, sha256(labels), sources_known=bool(rows) and columns.source in rows[0][1])


def read_rows(labels: Path, needed: tuple[str, ...]) -> list[tuple[int, dict[str, str]]]:
    """The rows with their line numbers. Raises `DatasetError` for a file without the needed columns, and for rows of
    another length.
    """
    if not labels.is_file():
        raise DatasetError(f"{labels} is missing: it must be a CSV with the columns {', '.join(needed)}.")
    with labels.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, restkey="", strict=True)
        missing = [column for column in needed if column not in (reader.fieldnames or [])]
        if missing:
            found = ", ".join(reader.fieldnames or ["nothing"])
            raise DatasetError(f"{labels}: column {', '.join(missing)} is missing from the header; it has {found}.")
        rows = [(reader.line_num, row) for row in reader]
    for number, row in rows:
        if "" in row or None in row.values():
            raise DatasetError(
                f"{labels}, line {number}: the number of fields is not that of the header; quote fields with commas."
            )
    return rows


def _clip(row: dict[str, str], number: int, labels: Path, folder: Path, columns: Columns) -> Clip:
    name = row[columns.clip].strip() + columns.suffix
    label = columns.index(row[columns.label])
    if label is None:
        words = ", ".join(columns.words)
        raise DatasetError(f"{labels}, line {number}: label {row[columns.label]!r} of {name} is none of {words}.")
    if not name or Path(name).is_absolute() or ".." in Path(name).parts:
        raise DatasetError(
            f"{labels}, line {number}: clip {name!r} does not lie in {folder}; write names relative to that folder."
        )
    known = {columns.clip, columns.label}
    further = {column: value for column, value in row.items() if column not in known}
    return Clip(folder / name, name, label, row.get(columns.source) or name, further)
