"""What networks cost: `python -m ger.benchmark A.onnx B.onnx… [--threads 2] [--json F]` prints a table.

Parameters and operations are those of the system at full size, by PyTorch's own counter on shapes alone (a multiply and an add are
two); seconds are of ONNX Runtime on the CPU with the golden input, batch 1, the middle one of several runs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
import torch
from torch.utils.flop_counter import FlopCounterMode

from ger import contract
from ger.edge.network import EdgeNetwork, Shape
from ger.systems import SYSTEMS, build
from ger.systems.checkpoints import edge_interface
from ger.systems.precision import session

COLUMNS = ("network", "system", "precision", "MB", "million parameters", "GFLOP a clip", "seconds a clip", "fastest", "same label as fp32")


def size_of(system: str, config: Mapping[str, Any] | None = None) -> tuple[int, int]:
    """(parameters of what is exported, floating-point operations a clip) of a system, without its weights.

    A system that answers one clip at a time is counted so. Decoders that serve training only are not in either number.
    """
    with torch.device("meta"):
        network: Any = EdgeNetwork(Shape(**config or {})) if system == "edge" else build(system, config)
        interface = edge_interface(network) if system == "edge" else network.interface
        inputs = [torch.empty(shape) for shape in interface.inputs().values()]
    training_only = getattr(SYSTEMS.get(system), "TRAINING_ONLY", ())
    names = dict(network.named_parameters())
    parameters = sum(p.numel() for name, p in names.items() if not (training_only and name.startswith(training_only)))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.eval()(*inputs)
    return parameters, counter.get_total_flops()


def seconds_of(path: Path, terms: Mapping[str, Any], threads: int, runs: int) -> list[float]:
    """Seconds of each run, after one that is not counted."""
    runtime = session(path, threads)
    shapes = {given.name: tuple(1 if isinstance(n, str) else n for n in given.shape) for given in runtime.get_inputs()}
    inputs = contract.golden_of(shapes)
    taken = []
    for _ in range(runs + 1):
        begun = time.perf_counter()
        runtime.run(["logits"], inputs)
        taken.append(time.perf_counter() - begun)
    return taken[1:]


def terms_of(path: Path) -> dict[str, Any]:
    """The contract in the file. Raises `ValueError` where there is none."""
    for entry in onnx.load(str(path), load_external_data=False).metadata_props:
        if entry.key == contract.KEY:
            return json.loads(entry.value)
    raise ValueError(f"{path}: {contract.KEY}: missing; export the network with ger.export")


def measure(path: Path, threads: int, runs: int) -> dict[str, Any]:
    """The row of one file."""
    terms = terms_of(path)
    parameters, operations = size_of(terms["system"])
    taken = seconds_of(path, terms, threads, runs)
    agreement = terms.get("agreement")
    return {
        "network": terms["name"], "system": terms["system"], "precision": terms["precision"], "MB": round(path.stat().st_size / 1e6, 1),
        "million parameters": round(parameters / 1e6, 1), "GFLOP a clip": round(operations / 1e9, 1),
        "seconds a clip": round(statistics.median(taken), 3), "fastest": round(min(taken), 3),
        "same label as fp32": f"{agreement['same_label']} of {agreement['count']} {agreement['inputs']}" if agreement else "",
    }


def table(rows: list[dict[str, Any]]) -> str:
    """The rows in Markdown."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    return "\n".join(lines + ["| " + " | ".join(str(row[name]) for name in COLUMNS) + " |" for row in rows])


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
