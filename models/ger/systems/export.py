"""Writes a network as one .onnx that carries its contract.

`python -m ger.export --checkpoint F --out M.onnx` for a checkpoint of this kit;
`python -m ger.export --system augusma2023 --checkpoint F --facts FACTS.json --out M.onnx` for one of the authors';
`python -m ger.export --system vemd2026 --checkpoint random --size tiny --out M.onnx` for random weights.

Refuses to write when ONNX Runtime and PyTorch disagree by more than the contract's tolerance, and, for fp16 and int8, when
fewer than 99 % of the inputs keep their label (`--allow` writes all the same, and the contract says how many did).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from ger import contract
from ger.edge.network import EdgeNetwork
from ger.systems import SYSTEMS, Interface
from ger.systems.checkpoints import CheckpointError, Loaded, load, random_weights
from ger.systems.precision import (
    agreement,
    clips_of,
    lifelike_inputs,
    random_inputs,
    seeded_inputs,
    session,
    to_fp16,
    to_int8,
)

IR_VERSION = 9  # ONNX Runtime 1.19 loads it
OPSET = 17
AGREEMENT_MIN = 0.99
PRECISIONS = tuple(contract.TOLERANCES)


class ExportError(Exception):
    """A network that must not be written as it is."""


def load_checkpoint(path: Path) -> tuple[EdgeNetwork, dict[str, object]]:
    """The edge network of a checkpoint in evaluation mode, and the facts that training measured."""
    loaded = load(path, "edge")
    assert isinstance(loaded.network, EdgeNetwork)
    return loaded.network, loaded.facts


def to_onnx(network: nn.Module, interface: Interface, out: Path) -> None:
    """Traces the network, with a symbolic batch where it has one, and writes it as fp32."""
    names, outputs = list(interface.inputs()), interface.outputs()
    batch = 2 if interface.any_batch else 1
    example = tuple(torch.from_numpy(np.repeat(v, batch, 0)) for v in contract.golden_of(interface.inputs()).values())
    axes = {name: {0: "batch"} for name in names + outputs} if interface.any_batch else None
    with torch.no_grad():
        torch.onnx.export(network, example, str(out), input_names=names, output_names=outputs, opset_version=OPSET,
                          dynamic_axes=axes, dynamo=False, do_constant_folding=True)
    model = onnx.load(str(out))
    model.ir_version = min(model.ir_version, IR_VERSION)
    onnx.save(model, str(out))


def answers(network: nn.Module, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """PyTorch's outputs."""
    with torch.no_grad():
        given = network(*(torch.from_numpy(values) for values in inputs.values()))
    return [t.numpy() for t in ((given,) if isinstance(given, Tensor) else given)]


def compare(network: nn.Module, interface: Interface, path: Path, seed: int) -> tuple[dict[str, list[float]], float]:
    """PyTorch's golden outputs, and how far ONNX Runtime is from PyTorch on ramps, random and lifelike inputs.

    Each is run alone, and, where any batch is claimed, all of them at once. Raises `ExportError` beyond the tolerance.
    """
    rng = np.random.default_rng(seed)
    cases = [contract.golden_of(interface.inputs()), random_inputs(interface, rng), lifelike_inputs(interface, rng)]
    wanted = [answers(network, case) for case in cases]
    runtime, outputs = session(path), interface.outputs()
    given = [runtime.run(outputs, case) for case in cases]
    pairs = list(zip(wanted, given))
    if interface.any_batch:
        together = runtime.run(outputs, {name: np.concatenate([case[name] for case in cases]) for name in cases[0]})
        pairs += [(want, [value[i : i + 1] for value in together]) for i, want in enumerate(wanted)]
    worst = max(float(np.abs(w - g).max()) for want, give in pairs for w, g in zip(want, give))
    if not worst <= contract.TOLERANCE:
        raise ExportError(f"ONNX Runtime differs from PyTorch by {worst:.2e}, more than {contract.TOLERANCE:g}: not exported")
    return {name: [float(v) for v in value[0]] for name, value in zip(outputs, wanted[0])}, worst


def lower(exact: Path, lesser: Path, interface: Interface, options: argparse.Namespace) -> dict[str, Any]:
    """Writes `lesser` from `exact`, and says what the contract will: on how many inputs both give the same label."""
    (to_fp16 if options.precision == "fp16" else to_int8)(exact, lesser)
    if options.clips is not None:
        told, inputs = "clips", clips_of(options.clips, interface)
    else:
        told, inputs = f"seeded inputs, lifelike and random, seed {options.seed}", seeded_inputs(interface, options.inputs, options.seed)
    same, count, worst = agreement(exact, lesser, inputs)
    print(f"{options.precision}: {same} of {count} inputs keep their label; logits differ by at most {worst:.4f}")
    if (count == 0 or same < AGREEMENT_MIN * count) and not options.allow:
        raise ExportError(f"{options.precision}: fewer than {AGREEMENT_MIN:.0%} of {count} inputs keep their label: not exported; --allow does")
    return {"with": "fp32", "inputs": told, "count": count, "same_label": same, "logits_differ_max": round(worst, 6)}


def golden_of_file(path: Path, interface: Interface) -> dict[str, list[float]]:
    """The golden outputs of a lesser precision are its own, by ONNX Runtime: PyTorch has no such network."""
    outputs = interface.outputs()
    values = session(path).run(outputs, contract.golden_of(interface.inputs()))
    return {name: [float(v) for v in value[0]] for name, value in zip(outputs, values)}


def write(loaded: Loaded, out: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Writes `out`, whole or not at all, and returns its contract."""
    interface = loaded.interface
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".export-") as folder:
        path, lesser = Path(folder) / "fp32.onnx", Path(folder) / "lesser.onnx"
        to_onnx(loaded.network, interface, path)
        golden, worst = compare(loaded.network, interface, path, options.seed)
        print(f"fp32: ONNX Runtime differs from PyTorch by at most {worst:.1e}")
        agreed = {}
        if options.precision != "fp32":
            agreed = {"agreement": lower(path, lesser, interface, options)}
            path, golden = lesser, golden_of_file(lesser, interface)
        terms = {**contract.build(loaded.facts, interface, golden, loaded.source, options.precision), **agreed}
        model = onnx.load(str(path))
        onnx.helper.set_model_props(model, {contract.KEY: json.dumps(terms)})
        onnx.save(model, str(path))
        onnx.checker.check_model(str(path))
        path.replace(out)
    return terms


def export(checkpoint: Path, out: Path, *words: str) -> dict[str, Any]:
    """As the command line does, with further `words` of it: writes `out` and returns its contract."""
    return run(arguments().parse_args(["--checkpoint", str(checkpoint), "--out", str(out), *words]))


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Raises `CheckpointError` and `ExportError`; then nothing is written."""
    if str(options.checkpoint) == "random":
        if options.system is None:
            raise CheckpointError("random weights: say of which system with --system")
        loaded = random_weights(options.system, options.size, options.seed)
    else:
        loaded = load(options.checkpoint, options.system, options.size, options.facts)
    if loaded.left_out:
        print(f"{options.checkpoint}: {len(loaded.left_out)} tensors of decoders that serve training only are left out")
    return write(loaded, options.out, options)


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True, metavar="FILE|random")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--system", choices=["edge", *SYSTEMS], help="needed where the checkpoint does not say it")
    parser.add_argument("--size", choices=["full", "tiny"], default="full", help="of random weights and of the authors' layouts")
    parser.add_argument("--facts", type=Path, metavar="FACTS.json", help="what the contract must say and the checkpoint does not")
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32")
    parser.add_argument("--clips", type=Path, metavar="FILE.npz", help="inputs for the agreement of labels, instead of seeded ones")
    parser.add_argument("--inputs", type=int, default=100, help="seeded inputs for the agreement of labels (default 100)")
    parser.add_argument("--allow", action="store_true", help="write even where labels agree on fewer than 99 %%")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def main() -> None:
    options = arguments().parse_args()
    try:
        terms = run(options)
    except (CheckpointError, ExportError, ValueError) as error:
        raise SystemExit(str(error)) from error
    print(f"{options.out}: {options.out.stat().st_size / 2**20:.2f} MiB, golden logits {terms['golden']['logits']}")


if __name__ == "__main__":
    main()
