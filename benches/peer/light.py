"""Writes a network with the inputs, outputs and contract of another one that costs next to nothing.

    light.py NETWORK.onnx LIGHT.onnx

With it the bench measures everything but inference. Its answer is always the first class, the largest group and heads
as wide as a tenth of the picture, slightly changed by the means of its inputs, so that its golden case can fail.
"""

from __future__ import annotations

import hashlib
import json
import sys

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

# Old enough for every ONNX Runtime that the daemon accepts.
OPSET, IR = 17, 8


def ramp(shape: list[int]) -> np.ndarray:
    """The golden input `ramp-v1`: element i is ((i * 2654435761 mod 2^32) >> 8) / 2^24 * 2 - 1."""
    i = np.arange(np.prod(shape), dtype=np.uint64)
    return (((i * 2654435761 % 2**32) >> 8) / 2**24 * 2 - 1).astype(np.float32).reshape(shape)


def light(source: onnx.ModelProto) -> onnx.ModelProto:
    """The same inputs and outputs, with a mean of each input and one small matrix between them."""
    nodes, constants, means = [], [], []
    for given in source.graph.input:
        nodes.append(helper.make_node("Flatten", [given.name], [f"{given.name}_flat"], axis=1))
        nodes.append(
            helper.make_node("ReduceMean", [f"{given.name}_flat"], [f"{given.name}_mean"], axes=[1], keepdims=1)
        )
        means.append(f"{given.name}_mean")
    nodes.append(helper.make_node("Concat", means, ["means"], axis=1))
    for output in source.graph.output:
        width = output.type.tensor_type.shape.dim[-1].dim_value
        # The means of the golden inputs lie within 1 of 0; a share of the picture (head_width) has to stay from 0 to 1.
        is_share = width == 1
        reach = 0.02 if is_share else 0.5
        weight = np.linspace(-reach, reach, len(means) * width, dtype=np.float32).reshape(len(means), width)
        bias = np.zeros(width, np.float32)
        bias[0 if "logits" in output.name else -1] = 0.1 if is_share else 4.0
        constants += [
            numpy_helper.from_array(weight, f"{output.name}_w"),
            numpy_helper.from_array(bias, f"{output.name}_b"),
        ]
        nodes.append(helper.make_node("Gemm", ["means", f"{output.name}_w", f"{output.name}_b"], [output.name]))
    graph = helper.make_graph(nodes, "light", list(source.graph.input), list(source.graph.output), constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)


def golden(model: onnx.ModelProto) -> dict[str, list[float]]:
    """The answers to `ramp-v1`, both modalities present."""
    inputs = {}
    for given in model.graph.input:
        shape = [dim.dim_value or 1 for dim in given.type.tensor_type.shape.dim]
        inputs[given.name] = np.ones(shape, np.float32) if given.name == "present" else ramp(shape)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in model.graph.output]
    return {name: answer[0].tolist() for name, answer in zip(names, session.run(names, inputs), strict=True)}


def main() -> None:
    source_path, light_path = sys.argv[1:]
    source = onnx.load(source_path)
    contract = json.loads(next(entry.value for entry in source.metadata_props if entry.key == "ger.contract"))
    model = light(source)
    answers = golden(model)
    contract["name"] = "bench-light"
    contract["golden"] |= {name: answers[name] for name in contract["golden"].keys() & answers.keys()}
    contract["calibration"] = {"temperature": 1.0, "ece": 0.0, "data": "none"}
    contract["evaluation"] = {"data": "none"}
    contract["training"] = {"note": "not trained: made to measure everything but inference"}
    contract["source_sha256"] = hashlib.sha256(model.SerializeToString()).hexdigest()
    model.metadata_props.append(onnx.StringStringEntryProto(key="ger.contract", value=json.dumps(contract)))
    assert all(tensor.data_type == TensorProto.FLOAT for tensor in model.graph.initializer)
    onnx.checker.check_model(model)
    onnx.save(model, light_path)


if __name__ == "__main__":
    main()
