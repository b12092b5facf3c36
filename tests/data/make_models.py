"""Makes the tiny networks of the tests: `python tests/data/make_models.py` with numpy, onnx and onnxruntime.

Each is a linear read-out of the means of its inputs, with a contract. Deterministic: a second run writes the same
bytes. `good.onnx` keeps its contract; every other breaks or varies one thing, which its name says.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

HERE = Path(__file__).resolve().parent
SIZE, FRAMES = 16, 5
OUTPUTS = {"logits": 3, "group_size": 5, "head_width": 1, "logits_video": 3, "embedding": 4}


def ramp(shape: tuple[int, ...]) -> np.ndarray:
    """`ramp-v1` of the contract."""
    index = np.arange(int(np.prod(shape)), dtype=np.uint64)
    bits = ((index * np.uint64(2654435761)) & np.uint64(0xFFFF_FFFF)) >> np.uint64(8)
    return (bits.astype(np.float64) / 2.0**24 * 2.0 - 1.0).astype(np.float32).reshape(shape)


def network(outputs: list[str], batch: str | int = "batch", sound: str = "mel", frames: int = FRAMES) -> onnx.ModelProto:
    """video -> mean per colour; sound -> mean per mel bin (or over blocks of samples); present as it is."""
    rng = np.random.default_rng(7)
    shapes = {"video": [batch, frames, 3, SIZE, SIZE], "present": [batch, 2]}
    nodes = [helper.make_node("ReduceMean", ["video"], ["seen"], axes=[1, 3, 4], keepdims=0)]
    weights = {}
    if sound == "mel":
        shapes["sound"] = [batch, 5, 1, 128, 128]
        nodes.append(helper.make_node("ReduceMean", ["sound"], ["heard"], axes=[1, 2, 4], keepdims=0))
    else:
        shapes["sound"] = [batch, 80_000]
        weights["blocks"] = np.array([0, 128, 625], np.int64)
        nodes.append(helper.make_node("Reshape", ["sound", "blocks"], ["blocked"]))
        nodes.append(helper.make_node("ReduceMean", ["blocked"], ["heard"], axes=[2], keepdims=0))
    nodes.append(helper.make_node("Concat", ["seen", "heard", "present"], ["all"], axis=1))
    for name in outputs:
        source, width = ("seen", 3) if name == "logits_video" else ("all", 3 + 128 + 2)
        scale = 0.1 if name == "head_width" else 4
        weights[f"{name}.w"] = (rng.standard_normal((width, OUTPUTS[name])) * scale).astype(np.float32)
        if name == "head_width":  # a share
            nodes.append(helper.make_node("MatMul", [source, f"{name}.w"], [f"{name}.x"]))
            nodes.append(helper.make_node("Sigmoid", [f"{name}.x"], [name]))
        else:
            nodes.append(helper.make_node("MatMul", [source, f"{name}.w"], [name]))
    graph = helper.make_graph(
        nodes, "test",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, OUTPUTS[name]]) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in weights.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="make_models")
    onnx.checker.check_model(model)
    return model


def answers(model: onnx.ModelProto) -> dict[str, list[float]]:
    """The outputs for `ramp-v1`."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    inputs = {i.name: ramp(tuple(d if isinstance(d, int) else 1 for d in i.shape)) for i in session.get_inputs()}
    inputs["present"] = np.ones((1, 2), np.float32)
    names = [o.name for o in session.get_outputs()]
    return {name: [float(v) for v in value[0]] for name, value in zip(names, session.run(names, inputs))}


def contract(model: onnx.ModelProto) -> dict:
    golden = answers(model)
    return {
        "version": 1, "system": "edge", "name": "test", "created": "2026-01-01", "clip_seconds": 5.0,
        "classes": ["positive", "neutral", "negative"],
        "video": {"frames": FRAMES, "height": SIZE, "width": SIZE, "sampling": "midpoint",
                  "resize": "squash-bicubic-antialias", "layout": "NTCHW", "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]},
        "sound": {"kind": "mel", "sample_rate": 16000, "samples": 80000,
                  "mel": {"id": "ger-mel-1", "mean": -30.0, "std": 18.0}, "normalise": "none", "missing": "mask"},
        "batch": "any", "outputs": {"logits": 3, "group_size": {"buckets": [0, 1, 2, 5, 10]}, "head_width": {"trained": [0.05, 0.25]}},
        "calibration": {"temperature": 1.0, "ece": 0.0, "data": "none"},
        "prior": [0.3, 0.3, 0.4],
        "transition": [[0.699, 0.235, 0.066], [0.208, 0.654, 0.138], [0.048, 0.136, 0.816]],
        "evaluation": {"data": "none"}, "privacy": {"person_detection": "none", "faces": "none", "outputs": "group only"},
        "licence": {"weights": "Apache-2.0 OR MIT", "data": ["none"]}, "training": {"note": "not trained"},
        "golden": {"input": "ramp-v1", **{name: golden[name] for name in ("logits", "group_size", "head_width") if name in golden},
                   "tolerance": 1e-3},
    }


def write(name: str, model: onnx.ModelProto, terms: dict | None) -> None:
    model = copy.deepcopy(model)
    if terms is not None:
        helper.set_model_props(model, {"ger.contract": json.dumps(terms)})
    (HERE / f"{name}.onnx").write_bytes(model.SerializeToString(deterministic=True))


def main() -> None:
    answered = ["logits", "group_size", "head_width"]
    good = network(answered)
    terms = contract(good)
    write("good", good, terms)
    write("no-contract", good, None)

    write("golden-wrong", good, {**terms, "golden": {**terms["golden"], "logits": [v + 0.01 for v in terms["golden"]["logits"]]}})
    write("extra-output", network([*answered, "embedding"]), terms)
    write("dims-wrong", network(answered, frames=8), terms)
    write("permuted", good, {**terms, "classes": ["negative", "positive", "neutral"]})

    single = network(["logits", "logits_video"], batch=1, sound="waveform")
    waveform = {"kind": "waveform", "sample_rate": 16000, "samples": 80000, "normalise": "zscore-clip", "missing": "logits_video"}
    write("batch-one", single, {**contract(single), "batch": 1, "sound": waveform, "outputs": {"logits": 3, "logits_video": 3}})


if __name__ == "__main__":
    main()
