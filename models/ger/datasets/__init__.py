"""Labelled clips: where they lie, what they are labelled, and how they become what a network sees and hears.

`Clip` is one labelled file. `vgaf.load`, `gavid.load`, `folder.load` and `table.load` list the clips of a data set;
`decode.decode` turns a file into frames and samples as the daemon does; `senses.Senses` turns those into the
network's numbers; `sources.open_splits` reads a data set named on a command line. A loader raises `DatasetError`,
whose message names the file, the line or key, and the cure.
"""

from ger.datasets.clip import CLASSES, Clip, DatasetError, Split, class_counts, sha256

__all__ = ["CLASSES", "Clip", "DatasetError", "Split", "class_counts", "sha256"]
