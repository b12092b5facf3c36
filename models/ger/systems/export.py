"""A network as one `.onnx` that carries its contract.

Nothing is written where ONNX Runtime and PyTorch differ by more than the contract's tolerance, or, for fp16 and int8,
where fewer than 99 % of the inputs keep their label.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from ger import contract
from ger.contract import Interface
from ger.systems.checkpoints import CheckpointError, Loaded, load, random_weights
from ger.systems.precision import (
    agreement,
    clip_inputs,
    random_inputs,
    realistic_inputs,
    seeded_inputs,
    session,
    to_fp16,
    to_int8,
)

IR_VERSION = 9  # ONNX Runtime 1.19 loads it
OPSET = 17
AGREEMENT_MIN = 0.99
PRECISIONS = tuple(contract.TOLERANCES)
RANDOM = "random"


class ExportError(Exception):
    """A network that must not be written as it is."""


@dataclass(frozen=True)
class Options:
    """How a network is exported."""

    system: str | None = None  # where the checkpoint does not name it
    size: str = "full"  # or tiny: of random weights and of the authors' layouts
    facts: Path | None = None  # JSON with what the contract must state and the checkpoint does not
    precision: str = "fp32"
    clips: Path | None = None  # inputs for the agreement of labels, instead of seeded ones
    inputs: int = 100  # number of seeded inputs
    allow: bool = False  # write even where fewer labels agree
    seed: int = 0


def export(checkpoint: Path, out: Path, options: Options = Options()) -> dict[str, Any]:
    """Writes `out`, whole or not at all, and returns its contract. `Path("random")` as the checkpoint gives random
    weights.

    Raises `CheckpointError` and `ExportError`.
    """
    if str(checkpoint) == RANDOM:
        if options.system is None:
            raise CheckpointError("random weights: name the system with --system")
        loaded = random_weights(options.system, options.size, options.seed)
    else:
        loaded = load(checkpoint, options.system, options.size, options.facts)
    if loaded.left_out:
        print(f"{checkpoint}: {len(loaded.left_out)} tensors of decoders that only training uses are left out")
    return write(loaded, out, options)


def write(loaded: Loaded, out: Path, options: Options) -> dict[str, Any]:
    """Writes the network in the wanted precision, and returns its contract."""
    interface = loaded.interface
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".export-") as folder:
        path, reduced = Path(folder) / "fp32.onnx", Path(folder) / "reduced.onnx"
        to_onnx(loaded.network, interface, path)
        golden, worst = compare(loaded.network, interface, path, options.seed)
        print(f"fp32: ONNX Runtime differs from PyTorch by at most {worst:.1e}")
        agreed = {}
        if options.precision != "fp32":
            agreed = {"agreement": reduce_precision(path, reduced, interface, options)}
            path, golden = reduced, golden_outputs(reduced, interface)
        terms = {**contract.build(loaded.facts, interface, golden, loaded.source, options.precision), **agreed}
        model = onnx.load(str(path))
        onnx.helper.set_model_props(model, {contract.KEY: json.dumps(terms)})
        onnx.save(model, str(path))
        onnx.checker.check_model(str(path))
        path.replace(out)
    return terms


def to_onnx(network: nn.Module, interface: Interface, out: Path) -> None:
    """Traces the network, with a symbolic batch where it has one, and writes it as fp32."""
    names, outputs = list(interface.inputs()), interface.outputs()
    batch = 2 if interface.any_batch else 1
    golden = contract.golden_of(interface.inputs()).values()
    example = tuple(torch.from_numpy(np.repeat(values, batch, 0)) for values in golden)
    axes = {name: {0: "batch"} for name in names + outputs} if interface.any_batch else None
    with torch.no_grad():
        torch.onnx.export(
            network,
            example,
            str(out),
            input_names=names,
            output_names=outputs,
            opset_version=OPSET,
            dynamic_axes=axes,
            dynamo=False,
            do_constant_folding=True,
        )
    model = onnx.load(str(out))
    model.ir_version = min(model.ir_version, IR_VERSION)
    onnx.save(model, str(out))


def torch_outputs(network: nn.Module, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """PyTorch's outputs."""
    with torch.no_grad():
        outputs = network(*(torch.from_numpy(values) for values in inputs.values()))
    return [tensor.numpy() for tensor in ((outputs,) if isinstance(outputs, Tensor) else outputs)]


def compare(network: nn.Module, interface: Interface, path: Path, seed: int) -> tuple[dict[str, list[float]], float]:
    """PyTorch's golden outputs, and how far ONNX Runtime is from PyTorch on ramps, random and realistic inputs.

    Each input is run alone, and, where any batch is claimed, all of them at once. Raises `ExportError` beyond the
    tolerance.
    """
    rng = np.random.default_rng(seed)
    cases = [
        contract.golden_of(interface.inputs()),
        random_inputs(interface, rng),
        realistic_inputs(interface, rng),
    ]
    wanted = [torch_outputs(network, case) for case in cases]
    runtime, names = session(path), interface.outputs()
    pairs = [(want, runtime.run(names, case)) for want, case in zip(wanted, cases, strict=True)]
    if interface.any_batch:
        together = runtime.run(names, {name: np.concatenate([case[name] for case in cases]) for name in cases[0]})
        pairs += [(want, [values[row : row + 1] for values in together]) for row, want in enumerate(wanted)]
    worst = max(
        float(np.abs(want - given).max()) for wants, givens in pairs for want, given in zip(wants, givens, strict=True)
    )
    if not worst <= contract.TOLERANCE:
        raise ExportError(
            f"ONNX Runtime differs from PyTorch by {worst:.2e}, more than {contract.TOLERANCE:g}: not exported"
        )
    return {name: [float(v) for v in values[0]] for name, values in zip(names, wanted[0], strict=True)}, worst


def reduce_precision(exact: Path, reduced: Path, interface: Interface, options: Options) -> dict[str, Any]:
    """Writes `reduced` from `exact`. Returns what the contract states: on how many inputs both give the same label."""
    (to_fp16 if options.precision == "fp16" else to_int8)(exact, reduced)
    if options.clips is not None:
        source, inputs = "clips", clip_inputs(options.clips, interface)
    else:
        source = f"seeded inputs, lifelike and random, seed {options.seed}"
        inputs = seeded_inputs(interface, options.inputs, options.seed)
    same, count, worst = agreement(exact, reduced, inputs)
    print(f"{options.precision}: {same} of {count} inputs keep their label; logits differ by at most {worst:.4f}")
    if (count == 0 or same < AGREEMENT_MIN * count) and not options.allow:
        raise ExportError(
            f"{options.precision}: fewer than {AGREEMENT_MIN:.0%} of {count} inputs keep their label: not exported; "
            "--allow exports it all the same"
        )
    return {
        "with": "fp32",
        "inputs": source,
        "count": count,
        "same_label": same,
        "logits_differ_max": round(worst, 6),
    }


def golden_outputs(path: Path, interface: Interface) -> dict[str, list[float]]:
    """The golden outputs of a reduced precision are those of ONNX Runtime: PyTorch has no such network."""
    names = interface.outputs()
    outputs = session(path).run(names, contract.golden_of(interface.inputs()))
    return {name: [float(v) for v in values[0]] for name, values in zip(names, outputs, strict=True)}
