"""Prints the figures of the edge network on held-out clips, which its card quotes.

`python -m ger.edge_measure --checkpoint F --cache DIR` renders the held-out sets where the cache lacks them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ger.edge import figures, training_sets
from ger.systems.checkpoints import load_edge


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    options = parser.parse_args()
    for name in ("held", "held-sounds"):
        training_sets.render_set(name, options.cache, 1.0, 2)
    network, facts = load_edge(options.checkpoint)
    figures.show(figures.measure(network, options.cache, facts))


if __name__ == "__main__":
    main()
