"""Builds the pool of faces and the backgrounds: `python -m ger.photographs --media DIR --cache DIR`.

The cache must hold the aligned faces that `ger.find_faces` writes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ger.synthetic.photographs import prepare


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--media", type=Path, required=True, help="the folder that holds train/backgrounds")
    parser.add_argument("--cache", type=Path, required=True)
    options = parser.parse_args()
    prepare(options.media, options.cache)


if __name__ == "__main__":
    main()
