"""Draws the demo clip: `python -m ger.demo --out demo/group.mp4`. Needs the `ffmpeg` program with x264.

`--check MODEL.onnx` runs a network over the 5-second windows of the existing clip instead, and prints its answers.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ger.edge.demo_check import check
from ger.synthetic.demo_clip import write


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--check", type=Path, metavar="MODEL", help="do not draw: run this network over the existing clip"
    )
    options = parser.parse_args()
    if options.check:
        raise SystemExit(0 if check(options.out, options.check) else "a window was answered wrongly")
    write(options.out)
    print(f"{options.out}: {options.out.stat().st_size / 2**20:.2f} MiB")


if __name__ == "__main__":
    main()
