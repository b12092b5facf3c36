"""What networks cost: parameters, operations and seconds a clip.

Parameters and operations are those of the system at full size, by PyTorch's own counter on shapes alone (a multiply and
an add are two); seconds are those of ONNX Runtime on the CPU with the golden input, batch 1, the median of several
runs.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Mapping, Sequence
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

COLUMNS = (
    "network",
    "system",
    "precision",
    "MB",
    "million parameters",
    "GFLOP a clip",
    "seconds a clip",
    "fastest",
    "same label as fp32",
)


def size_of(system: str, config: Mapping[str, Any] | None = None) -> tuple[int, int]:
    """(parameters of what is exported, floating-point operations a clip) of a system, without its weights.

    A system that answers one clip at a time is counted so. Decoders that only training uses are in neither number.
    """
    with torch.device("meta"):
        network: Any = EdgeNetwork(Shape(**config or {})) if system == "edge" else build(system, config)
        interface = edge_interface(network) if system == "edge" else network.interface
        inputs = [torch.empty(shape) for shape in interface.inputs().values()]
    training_only = getattr(SYSTEMS.get(system), "TRAINING_ONLY", ())
    named = network.named_parameters()
    parameters = sum(p.numel() for name, p in named if not (training_only and name.startswith(training_only)))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.eval()(*inputs)
    return parameters, counter.get_total_flops()


def seconds_of(path: Path, threads: int, runs: int) -> list[float]:
    """Seconds of each run, after one that is not counted."""
    runtime = session(path, threads)
    shapes = {
        given.name: tuple(1 if isinstance(length, str) else length for length in given.shape)
        for given in runtime.get_inputs()
    }
    inputs = contract.golden_of(shapes)
    seconds = []
    for _ in range(runs + 1):
        started = time.perf_counter()
        runtime.run(["logits"], inputs)
        seconds.append(time.perf_counter() - started)
    return seconds[1:]


def terms_of(path: Path) -> dict[str, Any]:
    """The contract in the file. Raises `ValueError` where there is none."""
    for entry in onnx.load(str(path), load_external_data=False).metadata_props:
        if entry.key == contract.KEY:
            terms: dict[str, Any] = json.loads(entry.value)
            return terms
    raise ValueError(f"{path}: {contract.KEY}: missing; export the network with ger.export")


def measure(path: Path, threads: int, runs: int) -> dict[str, Any]:
    """The row of one file."""
    terms = terms_of(path)
    parameters, operations = size_of(terms["system"])
    seconds = seconds_of(path, threads, runs)
    agreement = terms.get("agreement")
    same = f"{agreement['same_label']} of {agreement['count']} {agreement['inputs']}" if agreement else ""
    values = (
        terms["name"],
        terms["system"],
        terms["precision"],
        round(path.stat().st_size / 1e6, 1),
        round(parameters / 1e6, 1),
        round(operations / 1e9, 1),
        round(statistics.median(seconds), 3),
        round(min(seconds), 3),
        same,
    )
    return dict(zip(COLUMNS, values, strict=True))


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows in Markdown."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    return "\n".join(lines + ["| " + " | ".join(str(row[name]) for name in COLUMNS) + " |" for row in rows])
