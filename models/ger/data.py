"""Renders the training and held-out sets of the edge network that the cache lacks: `python -m ger.data --cache DIR`.

The cache must hold the media prepared by `ger.bursts`, `ger.find_faces` and `ger.photographs`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ger.edge.training_sets import SETS, render_set


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full set sizes")
    parser.add_argument("--workers", type=int, default=2, help="processes that render")
    parser.add_argument("--only", choices=list(SETS), help="render one set")
    options = parser.parse_args()
    for name in [options.only] if options.only else SETS:
        render_set(name, options.cache, options.scale, options.workers)


if __name__ == "__main__":
    main()
