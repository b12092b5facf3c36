"""An `.onnx` with a contract, run by ONNX Runtime on decoded clips with both modalities or one of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from ger.contract import CLASSES, KEY
from ger.datasets import DatasetError
from ger.datasets.preprocessing import ModelInput, Preprocessing, batch

Present = tuple[bool, bool]  # (picture, sound)

BOTH, PICTURE, SOUND = (True, True), (True, False), (False, True)
MODES = {"both": BOTH, "picture": PICTURE, "sound": SOUND}
NAMES = {BOTH: "both", PICTURE: "picture", SOUND: "sound", (False, False): "none"}
BATCH_MAX = 8


@dataclass(frozen=True)
class Prediction:
    """A network's answer to one clip."""

    logits: np.ndarray | None  # f64 [3] positive, neutral, negative, before temperature; None where it is withheld
    group_size: np.ndarray | None  # f64 [buckets] logits
    modalities: str  # what it was computed from: both, picture, sound or none


@dataclass(frozen=True)
class _Request:
    """One clip to run."""

    index: int
    clip: ModelInput
    present: Present
    output: str  # the output that answers


class Network:
    """An `.onnx` file with a contract."""

    def __init__(self, path: Path, threads: int = 2) -> None:
        """Raises `DatasetError` where the file is not a network or has no contract."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's errors have no public base class.
            raise DatasetError(f"{path}: ONNX Runtime cannot open it: {error}") from error
        try:
            self.terms: dict[str, Any] = json.loads(self.session.get_modelmeta().custom_metadata_map[KEY])
        except (KeyError, json.JSONDecodeError) as error:
            raise DatasetError(f"{path}: no {KEY} in its metadata; write it with `python -m ger.export`.") from error
        self.preprocessing = Preprocessing.of(self.terms)
        self.inputs = {node.name for node in self.session.get_inputs()}
        self.outputs = [node.name for node in self.session.get_outputs()]
        self.missing: str = self.terms["sound"].get("missing", "mask")
        self.batch_max = BATCH_MAX if self.terms.get("batch") == "any" else 1
        # Logits come in the contract's order of the classes.
        self.order = [self.terms["classes"].index(name) for name in CLASSES]

    @property
    def temperature(self) -> float:
        return float(self.terms["calibration"]["temperature"])

    @property
    def buckets(self) -> list[int] | None:
        """Lower ends of the group-size buckets, people; None where the network does not estimate the size."""
        size = self.terms["outputs"].get("group_size")
        return None if size is None else list(size["buckets"])

    def offers(self, mode: str) -> bool:
        """Whether the network answers in this mode at all."""
        return self._output(MODES[mode], mode) is not None

    def _output(self, present: Present, mode: str) -> str | None:
        """The output that answers with these modalities; None where none does.

        A clip without sound is answered as the contract's `sound.missing` says. A network that withholds such clips may
        still offer an output of the picture alone where that mode is asked for.
        """
        takes_sound = self.preprocessing.kind != "none"
        if present == PICTURE and takes_sound:
            of_missing = {"withhold": None, "mask": "logits", "logits_video": "logits_video"}[self.missing]
            offered = "logits_video" if mode == "picture" and "logits_video" in self.outputs else None
            return of_missing or offered
        if present == SOUND and mode == "both":
            # A network that was trained with modalities masked can do without pictures, too.
            return "logits" if takes_sound and self.missing == "mask" else None
        if present == SOUND:
            alone = "logits_sound" if "logits_sound" in self.outputs else None
            return ("logits" if "present" in self.inputs else alone) if takes_sound else None
        return "logits" if present[0] else None

    def predict(self, clips: Sequence[ModelInput], mode: str = "both") -> list[Prediction]:
        """One prediction for each clip, from no more modalities than the mode and the clip have."""
        predictions = [Prediction(None, None, "none")] * len(clips)
        requests = []
        for index, clip in enumerate(_restricted(clip, MODES[mode]) for clip in clips):
            present = clip.present[0], clip.present[1] and self.preprocessing.kind != "none"
            output = self._output(present, mode)
            if output is not None:
                requests.append(_Request(index, clip, present, output))
        for start in range(0, len(requests), self.batch_max):
            part = requests[start : start + self.batch_max]
            for request, prediction in zip(part, self._run(part), strict=True):
                predictions[request.index] = prediction
        return predictions

    def _run(self, requests: Sequence[_Request]) -> list[Prediction]:
        """One run of the network."""
        arrays = batch([request.clip for request in requests])
        inputs = {name: value for name, value in arrays.items() if name in self.inputs}
        outputs = dict(zip(self.outputs, self.session.run(None, inputs), strict=True))
        sizes = outputs.get("group_size") if self.buckets else None
        predictions = []
        for row, request in enumerate(requests):
            logits = np.asarray(outputs[request.output][row], np.float64)[self.order]
            if not np.isfinite(logits).all():
                raise DatasetError(
                    f"{self.terms['name']}: an answer is not finite; the network or its precision is broken."
                )
            # Without a picture nobody can be counted.
            size = np.asarray(sizes[row], np.float64) if sizes is not None and request.present[0] else None
            predictions.append(Prediction(logits, size, NAMES[request.present]))
        return predictions


def _restricted(clip: ModelInput, mode: Present) -> ModelInput:
    """The clip with the modalities that the mode leaves out set to zero, as the daemon fills in what is missing."""
    present = clip.present[0] and mode[0], clip.present[1] and mode[1]
    video = clip.video if present[0] else np.zeros_like(clip.video)
    sound = clip.sound if clip.sound is None or present[1] else np.zeros_like(clip.sound)
    return ModelInput(video, sound, present)
