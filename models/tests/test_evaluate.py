"""Evaluation from files to figures with the shipped network, and of networks whose contracts offer fewer outputs."""

import csv
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from drawn import drawn_table, frames_of, sound_of
from onnx import TensorProto, helper

from ger import evaluate
from ger.contract import KEY, VIDEO_MEAN, VIDEO_STD
from ger.datasets import DatasetError, Split
from ger.datasets.decode import Decoded
from ger.datasets.preprocessing import ModelInput
from ger.evaluation import summary
from ger.evaluation.faults import FAULTS
from ger.evaluation.inference import Network
from ger.evaluation.predictions import Media, Predictions, open_clip, preprocess, with_fault, write_predictions

SHIPPED = Path(__file__).resolve().parents[1] / "edge-ger.onnx"
COUNT = 6


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return drawn_table(tmp_path_factory.mktemp("evaluate"), COUNT)


@pytest.fixture(scope="module")
def evaluated(clips: tuple[Path, Path]) -> tuple[dict, Predictions, Network, Split]:
    split = evaluate.read_split(*clips)
    return *evaluate.evaluate(SHIPPED, split, fault_clips=1), split


def test_every_mode_is_scored(evaluated: tuple) -> None:
    document = evaluated[0]
    for mode, clips in (("both", COUNT), ("picture", COUNT), ("sound", COUNT - 1)):
        scores = document["modes"][mode]
        assert (scores["clips"], scores["withheld"]) == (clips, COUNT - clips)
        matrix = np.array(scores["confusion"])
        assert matrix.sum() == clips and scores["accuracy"]["value"] == pytest.approx(
            np.trace(matrix) / clips, abs=1e-4
        )
    json.dumps(document, allow_nan=False)


def test_one_modality_alone_is_the_networks_own_answer(evaluated: tuple, clips: tuple[Path, Path]) -> None:
    _, predictions, network, split = evaluated
    inputs = preprocess(network, open_clip(network, split.clips[0]))
    arrays = {"video": inputs.video[None], "sound": inputs.sound[None], "present": np.float32([[1, 0]])}
    logits = network.session.run(["logits"], arrays)[0][0]
    assert np.allclose(predictions.by_mode["picture"][0].logits, logits, atol=1e-4)
    assert not np.allclose(predictions.by_mode["both"][0].logits, logits, atol=1e-2)
    assert [answer.modalities for answer in predictions.by_mode["both"]] == ["both"] * (COUNT - 1) + ["picture"]
    assert predictions.by_mode["sound"][-1].logits is None and predictions.by_mode["sound"][-1].modalities == "none"


def test_predictions_are_in_the_agreed_form(evaluated: tuple, tmp_path: Path) -> None:
    document, predictions, network, split = evaluated
    write_predictions(tmp_path / "p.csv", split, predictions.by_mode["both"], network.temperature)
    rows = list(csv.reader((tmp_path / "p.csv").open()))
    assert rows[0] == ["clip", "truth", "predicted", "p_positive", "p_neutral", "p_negative", "senses"]
    assert [row[0] for row in rows[1:]] == [clip.name for clip in split.clips]
    assert rows[1][1] == "positive" and rows[2][1] == "neutral" and rows[-1][6] == "picture"
    for row, answer in zip(rows[1:], predictions.by_mode["both"], strict=True):
        chances = np.array(row[3:6], float)
        assert all(len(cell) == 8 for cell in row[3:6]) and chances.sum() == pytest.approx(1, abs=2e-6)
        scaled = np.exp(
            answer.logits
            / json.loads(network.session.get_modelmeta().custom_metadata_map[KEY])["calibration"]["temperature"]
        )
        assert np.allclose(chances, scaled / scaled.sum(), atol=1e-6)
        assert row[2] == ("positive", "neutral", "negative")[int(chances.argmax())]
    right = sum(row[1] == row[2] for row in rows[1:])
    assert document["modes"]["both"]["accuracy"]["value"] == pytest.approx(right / COUNT, abs=1e-4)


def test_columns_and_faults_become_curves(evaluated: tuple) -> None:
    document = evaluated[0]
    columns = {curve["column"]: curve["points"] for curve in document["columns"]}
    assert set(columns) == {"people", "light"}
    assert [(point["level"], point["clips"]) for point in columns["people"]] == [
        ("1", 2),
        ("3", 2),
        ("6", 1),
        ("12", 1),
    ]
    assert [point["level"] for point in columns["light"]] == ["bright", "dim"]
    assert sum(len(curve["points"]) - 1 for curve in document["faults"]) == len(FAULTS)
    assert document["group_size"]["clips"] == COUNT and document["group_size"]["under_two"] == 2
    assert document["labels"]["sources"] == 3 and document["bootstrap"]["by"] == "source video"


def test_the_command_writes_all_three_files(
    clips: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    words = [str(SHIPPED), *map(str, clips), "--curve-clips", "0", "--calibrate", "light=dim"]
    outputs = {"--out": tmp_path / "r.html", "--json": tmp_path / "r.json", "--predictions": tmp_path / "p.csv"}
    monkeypatch.setattr("sys.argv", ["evaluate", *words, *(str(word) for pair in outputs.items() for word in pair)])
    with pytest.raises(SystemExit, match="share|sources lie on both sides"):
        evaluate.main()  # Every second clip of a source is dim, so that the sources lie on both sides.
    monkeypatch.setattr(
        "sys.argv", ["evaluate", *words[:-2], *(str(word) for pair in outputs.items() for word in pair)]
    )
    evaluate.main()
    assert all(path.stat().st_size for path in outputs.values())
    assert "2 positive, 2 neutral, 2 negative" in capsys.readouterr().out
    assert json.loads(outputs["--json"].read_text())["faults"] == []


def test_vgafs_labels_and_plain_folders_are_accepted(clips: tuple[Path, Path], tmp_path: Path) -> None:
    first, second = sorted(clips[0].iterdir())[:2]
    (tmp_path / "Val").mkdir()
    (tmp_path / "Val" / "party_3.mp4").symlink_to(first)
    (tmp_path / "Val_labels.txt").write_text("Vid_name Label\nparty_3 1\n")
    split = evaluate.read_split(tmp_path / "Val", tmp_path / "Val_labels.txt")
    assert [(clip.name, clip.label, clip.source) for clip in split.clips] == [("party_3.mp4", 0, "party")]
    (tmp_path / "plain" / "neutral").mkdir(parents=True)
    (tmp_path / "plain" / "neutral" / "x.mp4").symlink_to(second)
    document, predictions, _ = evaluate.evaluate(SHIPPED, evaluate.read_split(tmp_path / "plain", None))
    assert (
        document["labels"]["counts"] == {"positive": 0, "neutral": 1, "negative": 0}
        and predictions.by_mode["both"][0].modalities == "both"
    )
    assert document["labels"]["sha256"] is None and document["bootstrap"]["by"] == "clip"


def test_bins_of_columns() -> None:
    assert summary.bin_column(["1", "1", "1"]) is None and summary.bin_column([str(i) + "x" for i in range(40)]) is None
    assert summary.bin_column(["b", "a", "b"]) == [("a", [1]), ("b", [0, 2])]
    assert summary.bin_column(["2", "10", "3"]) == [("2", [0]), ("3", [2]), ("10", [1])]
    quarters = summary.bin_column([str(i) for i in range(40)])
    assert (
        quarters is not None and [len(rows) for _, rows in quarters] == [10, 10, 10, 10] and quarters[0][0] == "0 to 9"
    )
    assert summary.bin_column(["0", "1", "4", "30", "3"], [0, 1, 2, 5, 10]) == [
        ("0", [0]),
        ("1", [1]),
        ("3 to 4", [2, 4]),
        ("30", [3]),
    ]


def test_a_refitted_temperature_is_measured_on_the_other_clips(evaluated: tuple) -> None:
    _, predictions, _, split = evaluated
    answers = predictions.by_mode["both"]
    told = summary.refit(answers, split, [clip.source for clip in split.clips], "source=video-0")
    assert (told["fitted_on"], told["measured_on"]) == (2, 4)
    with pytest.raises(DatasetError, match="--calibrate 'weather=dry'.*people, source, light"):
        summary.refit(answers, split, None, "weather=dry")


# ---- networks that offer less ----


def tiny_network(
    path: Path, outputs: list[str], missing: str, classes: list[str], kind: str = "mel", has_present: bool = False
) -> Path:
    """A real graph: output k is k plus the sums of its modalities, so that an answer tells which output it is of."""
    batch, terms = (
        "batch",
        {
            "clip_seconds": 5.0,
            "name": "tiny",
            "system": "edge",
            "classes": classes,
            "batch": "any",
            "outputs": dict.fromkeys(outputs, 3),
            "video": {
                "frames": 5,
                "height": 16,
                "width": 16,
                "sampling": "midpoint",
                "resize": "squash-bicubic-antialias",
                "mean": VIDEO_MEAN,
                "std": VIDEO_STD,
            },
            "sound": {"kind": kind, "sample_rate": 16_000, "mel": {"mean": -30.0, "std": 12.0}, "missing": missing},
            "calibration": {"temperature": 2.0},
        },
    )
    inputs = [helper.make_tensor_value_info("video", TensorProto.FLOAT, [batch, 5, 3, 16, 16])]
    if kind != "none":
        inputs.append(helper.make_tensor_value_info("sound", TensorProto.FLOAT, [batch, 5, 1, 128, 128]))
    if has_present:
        inputs.append(helper.make_tensor_value_info("present", TensorProto.FLOAT, [batch, 2]))
    nodes, constants = [], []
    nodes.append(helper.make_node("ReduceMean", ["video"], ["seen"], axes=[1, 2, 3, 4], keepdims=0))
    nodes.append(helper.make_node("Unsqueeze", ["seen", "one"], ["column"]))
    constants.append(helper.make_tensor("one", TensorProto.INT64, [1], [1]))
    for index, name in enumerate(outputs):
        constants.append(
            helper.make_tensor(
                f"bias{index}", TensorProto.FLOAT, [1, 3], [10.0 * index, 10.0 * index + 1, 10.0 * index + 2]
            )
        )
        nodes.append(helper.make_node("Add", ["column", f"bias{index}"], [name]))
    graph = helper.make_graph(
        nodes,
        "tiny",
        inputs,
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, 3]) for name in outputs],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, {KEY: json.dumps(terms)})
    onnx.save(model, str(path))
    return path


ORDER = ["positive", "neutral", "negative"]


def model_input(picture: bool, sound: bool) -> ModelInput:
    return ModelInput(np.zeros((5, 3, 16, 16), np.float32), np.zeros((5, 1, 128, 128), np.float32), (picture, sound))


@pytest.mark.parametrize(
    ("outputs", "missing", "has_present", "offered", "without_sound"),
    [
        (["logits"], "withhold", False, ["both"], None),
        (["logits"], "mask", True, ["both", "picture", "sound"], 0),
        (["logits", "logits_video"], "logits_video", False, ["both", "picture"], 10),
        (["logits", "logits_video", "logits_sound"], "withhold", False, ["both", "picture", "sound"], None),
    ],
)
def test_a_missing_modality_is_answered_as_the_contract_says(
    tmp_path: Path, outputs: list, missing: str, has_present: bool, offered: list, without_sound: int | None
) -> None:
    network = Network(tiny_network(tmp_path / "t.onnx", outputs, missing, ORDER, has_present=has_present))
    assert [mode for mode in ("both", "picture", "sound") if network.offers(mode)] == offered
    full, mute, blind, nothing = network.predict(
        [model_input(True, True), model_input(True, False), model_input(False, True), model_input(False, False)]
    )
    assert blind.modalities == ("sound" if missing == "mask" else "none")
    assert full.logits is not None and full.logits.tolist() == [0, 1, 2] and full.modalities == "both"
    assert nothing.logits is None and nothing.modalities == "none"
    if without_sound is None:
        assert mute.logits is None and mute.modalities == "none"
    else:
        assert mute.logits is not None and mute.logits[0] == without_sound and mute.modalities == "picture"
    if "logits_sound" in outputs:
        assert network.predict([model_input(True, True)], "sound")[0].logits.tolist() == [20, 21, 22]


def test_logits_are_put_into_our_order_of_the_classes(tmp_path: Path) -> None:
    network = Network(tiny_network(tmp_path / "t.onnx", ["logits"], "mask", ["negative", "positive", "neutral"]))
    assert network.predict([model_input(True, True)])[0].logits.tolist() == [1, 2, 0]


def test_a_network_without_sound_answers_from_the_picture(tmp_path: Path) -> None:
    network = Network(tiny_network(tmp_path / "t.onnx", ["logits"], "mask", ORDER, kind="none"))
    assert network.offers("picture") and not network.offers("sound")
    mute = network.preprocessing.apply(Decoded(np.zeros((5, 16, 16, 3), np.uint8), None))
    assert mute.sound is None and network.predict([mute])[0].modalities == "picture"


def test_a_file_that_is_not_a_network_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"nothing")
    with pytest.raises(DatasetError, match="x.onnx: ONNX Runtime cannot open it"):
        Network(tmp_path / "x.onnx")
    model = onnx.load(str(tiny_network(tmp_path / "t.onnx", ["logits"], "mask", ORDER)))
    del model.metadata_props[:]
    onnx.save(model, str(tmp_path / "bare.onnx"))
    with pytest.raises(DatasetError, match="no ger.contract"):
        Network(tmp_path / "bare.onnx")


# ---- faults ----


def test_faults_do_what_they_say() -> None:
    rng = np.random.default_rng(0)
    pictures, samples = frames_of(4, 0, seconds=1)[:5], sound_of(4, 0)
    by_name = {fault.name: fault for fault in FAULTS}
    dark = by_name["Light: 0.2×"].apply(pictures, rng)
    assert np.allclose(np.mean((dark[0] / 255) ** 2.2), 0.2 * np.mean((pictures[0] / 255) ** 2.2), rtol=0.03)
    noisy = by_name["Noise over the sound (SNR): 10 dB"].apply(0.1 * samples, rng)
    ratio = 10 * np.log10(np.mean((0.1 * samples) ** 2) / np.mean((noisy - 0.1 * samples) ** 2))
    assert ratio == pytest.approx(10, abs=0.2)
    small = by_name["Size of the group in the picture: 1/2"].apply(pictures, rng)[0]
    assert (
        small.shape == pictures[0].shape
        and np.ptp(small[:10].reshape(-1, 3), 0).max() == 0
        and np.ptp(small[16:48, 24:72]) > 0
    )
    lost = by_name["Frames lost: last 4"].apply(pictures, rng)
    assert len(lost) == 5 and all(np.array_equal(picture, pictures[0]) for picture in lost)
    assert not by_name["Sound lost: all: muted"].apply(samples, rng).any()
    part = by_name["Sound lost: last 40%"].apply(samples, rng)
    assert not part[48_000:].any() and np.array_equal(part[:48_000], samples[:48_000])
    blurred = by_name["Blur (σ, share of the height): 4.0%"].apply(pictures, rng)[0]
    assert (
        np.abs(np.diff(blurred.astype(int), axis=1)).mean()
        < 0.7 * np.abs(np.diff(pictures[0].astype(int), axis=1)).mean()
    )


def test_a_fault_is_repeated_by_the_clips_name(evaluated: tuple) -> None:
    split = evaluated[3]
    fault = next(fault for fault in FAULTS if fault.name.startswith("Noise"))
    first, second = (with_fault(fault, split.clips[0], Media(None, sound_of(1, 1))).samples for _ in range(2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, with_fault(fault, split.clips[1], Media(None, sound_of(1, 1))).samples)
