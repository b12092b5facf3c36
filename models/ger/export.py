"""Writes a network as one .onnx that carries its contract.

`python -m ger.export --checkpoint F --out M.onnx` for a checkpoint of this kit;
`python -m ger.export --system augusma2023 --checkpoint F --facts FACTS.json --out M.onnx` for one of the authors';
`python -m ger.export --system vemd2026 --checkpoint random --size tiny --out M.onnx` for random weights.

Nothing is written where ONNX Runtime and PyTorch differ by more than the contract's tolerance, or, for fp16 and int8,
where fewer than 99 % of the inputs keep their label (with `--allow` it is written, and the contract states how many
did).
"""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path

from ger.systems import SYSTEMS
from ger.systems.checkpoints import CheckpointError
from ger.systems.export import PRECISIONS, ExportError, Options, export


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True, metavar="FILE|random")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--system", choices=["edge", *SYSTEMS], help="needed where the checkpoint does not name it")
    parser.add_argument(
        "--size", choices=["full", "tiny"], default="full", help="of random weights and of the authors' layouts"
    )
    parser.add_argument(
        "--facts", type=Path, metavar="FACTS.json", help="what the contract must state and the checkpoint does not"
    )
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32")
    parser.add_argument(
        "--clips", type=Path, metavar="FILE.npz", help="inputs for the agreement of labels, instead of seeded ones"
    )
    parser.add_argument(
        "--inputs", type=int, default=100, help="seeded inputs for the agreement of labels (default 100)"
    )
    parser.add_argument("--allow", action="store_true", help="write even where labels agree on fewer than 99 %%")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def main() -> None:
    parsed = arguments().parse_args()
    options = Options(**{field.name: getattr(parsed, field.name) for field in fields(Options)})
    try:
        terms = export(parsed.checkpoint, parsed.out, options)
    except (CheckpointError, ExportError, ValueError) as error:
        raise SystemExit(str(error)) from error
    print(f"{parsed.out}: {parsed.out.stat().st_size / 2**20:.2f} MiB, golden logits {terms['golden']['logits']}")


if __name__ == "__main__":
    main()
