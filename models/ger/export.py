"""Writes a checkpoint as an .onnx that carries its contract: `python -m ger.export --checkpoint F --out G`.

Refuses to write when ONNX Runtime and PyTorch disagree on the golden case by more than the contract's tolerance.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch

from . import contract
from .network import EdgeNetwork, Shape

INPUTS, OUTPUTS = ["video", "sound", "present"], ["logits", "group_size"]
IR_VERSION = 9  # ONNX Runtime 1.19 loads it
OPSET = 17


def load_checkpoint(path: Path) -> tuple[EdgeNetwork, dict[str, object]]:
    """The network in evaluation mode and the facts that training measured."""
    saved = torch.load(path, map_location="cpu", weights_only=True)
    fields = {k: tuple(v) if isinstance(v, list) else v for k, v in saved["shape"].items()}
    network = EdgeNetwork(Shape(**fields))
    network.load_state_dict(saved["model_state_dict"])
    return network.eval(), saved["facts"]


def to_onnx(network: EdgeNetwork, out: Path) -> onnx.ModelProto:
    """Traces the network with a symbolic batch."""
    example = tuple(torch.from_numpy(np.repeat(v, 2, 0)) for v in contract.golden_inputs(network.shape.size).values())
    torch.onnx.export(network, example, str(out), input_names=INPUTS, output_names=OUTPUTS, opset_version=OPSET,
                      dynamic_axes={name: {0: "batch"} for name in INPUTS + OUTPUTS}, dynamo=False, do_constant_folding=True)
    model = onnx.load(str(out))
    model.ir_version = min(model.ir_version, IR_VERSION)
    return model


def golden(network: EdgeNetwork, model: onnx.ModelProto) -> dict[str, list[float]]:
    """The golden outputs from PyTorch, after ONNX Runtime agreed on them for batch 1 and 3."""
    inputs = contract.golden_inputs(network.shape.size)
    with torch.no_grad():
        wanted = [t.numpy() for t in network(*(torch.from_numpy(inputs[name]) for name in INPUTS))]
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for batch in (1, 3):
        given = session.run(OUTPUTS, {name: np.repeat(inputs[name], batch, 0) for name in INPUTS})
        worst = max(float(np.abs(g - w).max()) for g, w in zip(given, wanted))
        if not worst <= contract.TOLERANCE:
            raise SystemExit(f"ONNX Runtime differs from PyTorch by {worst:.2e} at batch {batch}: not exported")
    return {name: [float(v) for v in w[0]] for name, w in zip(OUTPUTS, wanted)}


def export(checkpoint: Path, out: Path) -> dict[str, object]:
    """Writes `out` and returns its contract."""
    network, facts = load_checkpoint(checkpoint)
    partial = out.with_name(out.name + ".partial")
    model = to_onnx(network, partial)
    terms = contract.build(facts, network.shape.size, golden(network, model), contract.sha256(checkpoint))
    onnx.helper.set_model_props(model, {contract.KEY: json.dumps(terms)})
    onnx.checker.check_model(model)
    onnx.save(model, str(partial))
    partial.replace(out)
    return terms


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    terms = export(options.checkpoint, options.out)
    print(f"{options.out}: {options.out.stat().st_size / 2**20:.2f} MiB, golden logits {terms['golden']['logits']}")


if __name__ == "__main__":
    main()
