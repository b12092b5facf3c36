"""Labelled clips: their files, their labels, and their preprocessing into the inputs of a network.

`Clip` is one labelled file. `vgaf.load`, `gavid.load`, `folder.load` and `table.load` list the clips of a data set;
`decode.decode` turns a file into frames and samples as the daemon does; `preprocessing.Preprocessing` turns those into
the network's inputs; `specs.open_splits` reads a data set named on a command line. A loader raises `DatasetError`,
whose message names the file, the line or key, and what to do.
"""

from ger.datasets.clip import Clip, DatasetError, Split, class_counts

__all__ = ["Clip", "DatasetError", "Split", "class_counts"]
