"""Decodes the vocal bursts (EmoGator) into the cache: `python -m ger.bursts --media DIR --cache DIR`."""

from __future__ import annotations

import argparse
from pathlib import Path

from ger.synthetic.vocal_bursts import prepare


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--media", type=Path, required=True, help="the folder that holds train/bursts")
    parser.add_argument("--cache", type=Path, required=True)
    options = parser.parse_args()
    prepare(options.media, options.cache)


if __name__ == "__main__":
    main()
