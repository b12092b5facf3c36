"""Prints what networks cost: `python -m ger.benchmark A.onnx B.onnx… [--threads 2] [--json F]`.

Parameters and operations are those of the system at full size; seconds are those of ONNX Runtime on the CPU, batch 1,
the median of several runs.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ger.systems.cost import measure, table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="+", type=Path, metavar="M.onnx")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = [measure(path, options.threads, options.runs) for path in options.networks]
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=1))
    print(table(rows))


if __name__ == "__main__":
    main()
