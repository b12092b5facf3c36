"""Export of the published systems at a tiny size, in every precision, from our checkpoints and from the authors'
layouts.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from ger import contract
from ger.systems import SYSTEMS, build, config_of, cost
from ger.systems.checkpoints import CheckpointError
from ger.systems.export import ExportError, Options, export
from ger.systems.precision import session

FACTS = {
    "name": "tiny",
    "created": "2000-01-01",
    "mel_mean": -20.0,
    "mel_std": 15.0,
    "prior": [1 / 3] * 3,
    "video_mean": [0.485, 0.456, 0.406],
    "video_std": [0.229, 0.224, 0.225],
    "licence": {"weights": "none", "data": ["none"]},
    "calibration": {"temperature": 1.0, "ece": 0.0, "data": "none"},
    "evaluation": {"data": "none"},
    "training": {},
}
VARIANTS = [
    ("augusma2023", {}),
    ("augusma2023", {"head": "flatten"}),
    ("augusma2023", {"head": "pooling"}),
    ("evtodienko2021", {}),
    ("vemd2026", {}),
    ("vemd2026", {"head": "plain"}),
]


def terms_and_session(path: Path) -> tuple[dict[str, Any], onnxruntime.InferenceSession]:
    model = onnx.load(str(path))
    onnx.checker.check_model(model)
    return cost.terms_of(path), session(path)


def save(folder: Path, system: str, fields: dict[str, Any]) -> Path:
    torch.manual_seed(0)
    network = build(system, {"size": "tiny", **fields})
    path = folder / "ours.pt"
    torch.save(
        {"system": system, "config": config_of(network), "model_state_dict": network.state_dict(), "facts": FACTS}, path
    )
    return path


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("facts") / "facts.json"
    path.write_text(json.dumps(FACTS))
    return path


@pytest.mark.parametrize("system, fields", VARIANTS)
def test_ours_is_exported_with_its_contract_and_golden_case(
    system: str, fields: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "m.onnx"
    export(save(tmp_path, system, fields), out)
    terms, runtime = terms_and_session(out)
    assert (terms["system"], terms["precision"], terms["outputs"]) == (system, "fp32", {"logits": 3})
    assert {given.name for given in runtime.get_inputs()} <= {"video", "sound"} and [
        o.name for o in runtime.get_outputs()
    ] == ["logits"]
    video = next(given.shape for given in runtime.get_inputs() if given.name == "video")
    assert video[1:] == [terms["video"]["frames"], 3, terms["video"]["height"], terms["video"]["width"]]
    assert (video[0] == "batch") == (terms["batch"] == "any")
    shapes = {given.name: tuple(1 if isinstance(n, str) else n for n in given.shape) for given in runtime.get_inputs()}
    given = runtime.run(["logits"], contract.golden_of(shapes))[0][0]
    assert np.abs(given - terms["golden"]["logits"]).max() <= terms["golden"]["tolerance"]


@pytest.mark.parametrize("precision", ["fp16", "int8"])
@pytest.mark.parametrize("system", SYSTEMS)
def test_a_reduced_precision_states_how_often_it_agrees(system: str, precision: str, tmp_path: Path) -> None:
    export(Path("random"), tmp_path / "exact.onnx", Options(system, "tiny"))
    export(Path("random"), tmp_path / "m.onnx", Options(system, "tiny", precision=precision, inputs=6, allow=True))
    terms, runtime = terms_and_session(tmp_path / "m.onnx")
    exact = session(tmp_path / "exact.onnx")
    told = terms["agreement"]
    assert (terms["precision"], told["with"], told["count"]) == (precision, "fp32", 6) and 0 <= told["same_label"] <= 6
    shapes = {given.name: tuple(1 if isinstance(n, str) else n for n in given.shape) for given in exact.get_inputs()}
    one, other = (network.run(["logits"], contract.golden_of(shapes))[0] for network in (exact, runtime))
    # It is another network, and nearly the same one.
    assert 0 < np.abs(one - other).max() < 0.1 * max(1.0, float(np.abs(one).max()))
    kinds = {tensor.data_type for tensor in onnx.load(str(tmp_path / "m.onnx")).graph.initializer}
    assert {"fp16": onnx.TensorProto.FLOAT16, "int8": onnx.TensorProto.INT8}[precision] in kinds


def test_too_little_agreement_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ger.systems.export.agreement", lambda *_: (98, 100, 0.5))
    options = Options("augusma2023", "tiny", precision="int8")
    with pytest.raises(ExportError, match="fewer than 99% of 100 inputs keep their label"):
        export(Path("random"), tmp_path / "m.onnx", options)
    assert list(tmp_path.iterdir()) == []


def published(system: str, head: str) -> dict[str, torch.Tensor]:
    """A checkpoint as the authors lay it out, at a tiny size, from our weights by the inverse of the loader's
    renaming.
    """
    torch.manual_seed(0)
    weights = build(system, {"size": "tiny", "head": head}).state_dict()
    renamed = getattr(SYSTEMS[system], "RENAMED", ())
    own = {}
    for name, tensor in weights.items():
        if name.startswith("body_decoder."):
            continue
        old, new = next(((old, new) for old, new in renamed if name.startswith(new)), ("", ""))
        own[old + name[len(new) :]] = tensor
    if system == "vemd2026":
        own["decoder_skeleton.0.weight"] = torch.zeros(3)
    return {f"module.{name}": tensor for name, tensor in own.items()}


@pytest.mark.parametrize(
    "system, head",
    [
        ("augusma2023", "mean"),
        ("augusma2023", "flatten"),
        ("augusma2023", "pooling"),
        ("vemd2026", "projected"),
        ("vemd2026", "plain"),
    ],
)
def test_the_authors_layout_gives_the_same_network(system: str, head: str, tmp_path: Path, facts: Path) -> None:
    """`module.` before every name, as DataParallel saves it, and only the weights."""
    torch.save({"epoch": 3, "best_metric": 0.5, "model_state_dict": published(system, head)}, tmp_path / "theirs.tar")
    terms = export(tmp_path / "theirs.tar", tmp_path / "theirs.onnx", Options(system, "tiny", facts))
    ours = export(save(tmp_path, system, {"head": head}), tmp_path / "ours.onnx")
    assert terms["golden"]["logits"] == pytest.approx(ours["golden"]["logits"], abs=1e-5)
    assert terms["licence"] == FACTS["licence"]


def test_tensors_that_do_not_fit_are_all_listed(tmp_path: Path, facts: Path) -> None:
    weights = published("augusma2023", "mean")
    gone = next(name for name in weights if "cross" in name)
    del weights[gone]
    weights["module.extra.weight"] = torch.zeros(2)
    weights["module.head.bias"] = torch.zeros(4)
    torch.save({"model_state_dict": weights}, tmp_path / "theirs.pt")
    with pytest.raises(CheckpointError) as refused:
        export(tmp_path / "theirs.pt", tmp_path / "m.onnx", Options("augusma2023", "tiny", facts))
    told = str(refused.value)
    assert f"missing (1): {gone.removeprefix('module.')}" in told and "unexpected (1): extra.weight" in told
    assert "of another shape (1): head.bias [4] instead of [3]" in told
    assert not (tmp_path / "m.onnx").exists()


def test_preprocessing_is_not_guessed(tmp_path: Path) -> None:
    torch.save({"model_state_dict": published("augusma2023", "mean")}, tmp_path / "theirs.pt")
    with pytest.raises(CheckpointError, match="facts: missing .*video_mean.*mel_std.*--facts"):
        export(tmp_path / "theirs.pt", tmp_path / "m.onnx", Options("augusma2023", "tiny"))


@pytest.mark.parametrize(
    "content, words",
    [
        (b"nothing", "no checkpoint that can be read safely"),
        ({"weights": 1}, "model_state_dict: missing"),
        ({"model_state_dict": {}}, "system: not stated"),
    ],
)
def test_a_file_that_is_not_a_checkpoint_is_refused(content: object, words: str, tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(CheckpointError, match=words):
        export(path, tmp_path / "m.onnx")


def test_the_benchmark_counts_what_is_published_and_times_what_is_exported(tmp_path: Path) -> None:
    """Parameters and operations of system 1 as its authors' code has them."""
    parameters, operations = cost.size_of("augusma2023")
    assert parameters == 323_587_139 and 830e9 < operations < 850e9
    export(Path("random"), tmp_path / "m.onnx", Options("evtodienko2021", "tiny"))
    row = cost.measure(tmp_path / "m.onnx", 1, 2)
    assert 0 < row["fastest"] <= row["seconds a clip"] and row["precision"] == "fp32"
    assert "evtodienko2021-tiny-random" in cost.table([row])
