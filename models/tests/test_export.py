"""Export of a small random network: golden case, contract, batch; and the shipped network's own golden case."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from ger import contract
from ger.edge.network import EdgeNetwork, Shape
from ger.systems.export import export

INPUTS, OUTPUTS = ["video", "sound", "present"], ["logits", "group_size", "head_width"]
SHIPPED = Path(__file__).resolve().parents[1] / "edge-ger.onnx"
FACTS = {
    "name": "tiny",
    "created": "2000-01-01",
    "mel_mean": -20.0,
    "mel_std": 15.0,
    "prior": [1 / 3] * 3,
    "calibration": {"temperature": 1.0, "ece": 0.0, "data": "none"},
    "evaluation": {"data": "none"},
    "training": {},
    "head_width": [0.05, 0.2],
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    network = EdgeNetwork(Shape(size=64, dim=16, depth=1, heads=2, stem=(4, 4, 8), sound=(4, 4, 8, 8), head_width=True))
    torch.save(
        {"shape": network.shape.to_dict(), "model_state_dict": network.state_dict(), "facts": FACTS}, folder / "tiny.pt"
    )
    export(folder / "tiny.pt", folder / "tiny.onnx")
    return folder / "tiny.onnx"


def open_model(path: Path) -> tuple[onnxruntime.InferenceSession, dict]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session, json.loads(session.get_modelmeta().custom_metadata_map[contract.KEY])


def check_golden(path: Path) -> None:
    session, terms = open_model(path)
    inputs = contract.golden_inputs(terms["video"]["height"])
    for batch in (1, 2):
        outputs = session.run(OUTPUTS, {name: np.repeat(inputs[name], batch, 0) for name in INPUTS})
        for name, value in zip(OUTPUTS, outputs, strict=True):
            assert np.abs(value - np.array(terms["golden"][name])).max() <= terms["golden"]["tolerance"]


def test_the_golden_case_is_reproduced(tiny: Path) -> None:
    check_golden(tiny)


def test_the_graph_is_what_old_runtimes_load(tiny: Path) -> None:
    model = onnx.load(str(tiny))
    assert model.ir_version <= 9 and model.opset_import[0].version == 17
    shapes = {i.name: [d.dim_param or d.dim_value for d in i.type.tensor_type.shape.dim] for i in model.graph.input}
    assert shapes == {"video": ["batch", 5, 3, 64, 64], "sound": ["batch", 5, 1, 128, 128], "present": ["batch", 2]}


def test_the_contract_states_everything(tiny: Path) -> None:
    _, terms = open_model(tiny)
    assert terms["version"] == 1 and terms["system"] == "edge" and terms["batch"] == "any"
    assert terms["classes"] == ["positive", "neutral", "negative"]
    assert terms["video"]["resize"] == "squash-bicubic-antialias" and terms["video"]["layout"] == "NTCHW"
    assert terms["sound"]["mel"]["id"] == "ger-mel-1" and terms["sound"]["missing"] == "mask"
    assert terms["outputs"] == {
        "logits": 3,
        "group_size": {"buckets": [0, 1, 2, 5, 10]},
        "head_width": {"trained": [0.05, 0.2]},
    }
    assert all(abs(sum(row) - 1) < 1e-9 for row in terms["transition"])
    assert len(terms["source_sha256"]) == 64 and terms["precision"] == "fp32"


def test_a_missing_modality_is_ignored(tiny: Path) -> None:
    session, _ = open_model(tiny)
    inputs = contract.golden_inputs(64)
    rng = np.random.default_rng(0)
    for place, name in enumerate(("video", "sound")):
        present = np.ones((1, 2), np.float32)
        present[0, place] = 0
        other = {**inputs, name: rng.standard_normal(inputs[name].shape).astype(np.float32)}
        first, second = (session.run(OUTPUTS, {**given, "present": present}) for given in (inputs, other))
        assert all(np.allclose(a, b, atol=1e-6) for a, b in zip(first, second, strict=True))


def test_ramp_v1() -> None:
    values = contract.ramp((4,))
    expected = [((i * 2654435761 % 2**32) >> 8) / 2**24 * 2 - 1 for i in range(4)]
    assert values.dtype == np.float32 and values.tolist() == [np.float32(v) for v in expected]


@pytest.mark.skipif(not SHIPPED.exists(), reason="no network has been exported here")
def test_the_shipped_network_reproduces_its_golden_case() -> None:
    check_golden(SHIPPED)
    assert SHIPPED.stat().st_size <= 16 * 2**20
