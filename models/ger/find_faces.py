"""Finds and aligns the faces of the synthetic portraits: `python -m ger.find_faces --media DIR --cache DIR`.

Needs OpenCV 4 (`opencv-python-headless==4.12.*`), which nothing else here does.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ger.synthetic.face_alignment import prepare


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--media", type=Path, required=True, help="the folder that holds train/faces")
    parser.add_argument("--cache", type=Path, required=True)
    options = parser.parse_args()
    prepare(options.media, options.cache)


if __name__ == "__main__":
    main()
