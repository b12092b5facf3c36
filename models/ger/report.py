"""Draws the report of an evaluation again: `python -m ger.report figures.json --out report.html`.

The figures are what `python -m ger.evaluate --json` wrote.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ger.evaluation.report import render


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figures", type=Path, help="what `python -m ger.evaluate --json` wrote")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.write_text(render(json.loads(options.figures.read_text(encoding="utf-8"))), encoding="utf-8")


if __name__ == "__main__":
    main()
