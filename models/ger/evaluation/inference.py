"""A network's answers: an `.onnx` with a contract, run by ONNX Runtime on decoded clips, with both senses or one of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

from ger.contract import CLASSES, KEY
from ger.datasets import DatasetError
from ger.datasets.preprocessing import Numbers, Senses, batch

BOTH, PICTURE, SOUND = (True, True), (True, False), (False, True)
MODES = {"both": BOTH, "picture": PICTURE, "sound": SOUND}
NAMES = {BOTH: "both", PICTURE: "picture", SOUND: "sound", (False, False): "none"}
BATCH_MAX = 8


@dataclass(frozen=True)
class Answer:
    """What a network says of one clip."""

    logits: np.ndarray | None  # f64 [3] positive, neutral, negative, before temperature; None where it gives no answer
    group_size: np.ndarray | None  # f64 [buckets] logits
    senses: str  # what it was given: both, picture, sound or none


class Network:
    """An `.onnx` file with a contract."""

    def __init__(self, path: Path, threads: int = 2) -> None:
        """Raises `DatasetError` where the file is no network or has no contract."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's errors share no public base class.
            raise DatasetError(f"{path}: ONNX Runtime cannot open it: {error}") from error
        try:
            self.terms = json.loads(self.session.get_modelmeta().custom_metadata_map[KEY])
        except (KeyError, json.JSONDecodeError) as error:
            raise DatasetError(f"{path}: no {KEY} in its metadata; write it with `python -m ger.export`.") from error
        self.senses = Senses.of(self.terms)
        self.inputs = {put.name for put in self.session.get_inputs()}
        self.outputs = [out.name for out in self.session.get_outputs()]
        self.missing = self.terms["sound"].get("missing", "mask")
        self.batch_max = BATCH_MAX if self.terms.get("batch") == "any" else 1
        # Logits come in the contract's order of the classes.
        self.order = [self.terms["classes"].index(name) for name in CLASSES]

    @property
    def temperature(self) -> float:
        return float(self.terms["calibration"]["temperature"])

    @property
    def buckets(self) -> list[int] | None:
        """Lower ends of the group-size buckets, people; None where the network does not tell."""
        size = self.terms["outputs"].get("group_size")
        return None if size is None else list(size["buckets"])

    def offers(self, mode: str) -> bool:
        """Whether the network answers with these senses at all."""
        return self._output(MODES[mode], mode) is not None

    def _output(self, given: tuple[bool, bool], mode: str) -> str | None:
        """The output that answers with these senses; None where none does.

        A clip that came without a sense is answered as the contract's `sound.missing` says. A network that withholds such
        clips may still offer its picture's own answer where the picture alone is asked for.
        """
        hears = self.senses.kind != "none"
        if given == PICTURE and hears:
            of_missing = {"withhold": None, "mask": "logits", "logits_video": "logits_video"}[self.missing]
            return of_missing or ("logits_video" if mode == "picture" and "logits_video" in self.outputs else None)
        if given == SOUND and mode == "both":
            # Whoever was trained with a sense masked can do without pictures, too.
            return "logits" if hears and self.missing == "mask" else None
        if given == SOUND:
            alone = "logits" if "present" in self.inputs else "logits_sound" if "logits_sound" in self.outputs else None
            return alone if hears else None
        return "logits" if given[0] else None

    def answer(self, clips: Sequence[Numbers], mode: str = "both") -> list[Answer]:
        """One answer for each clip, with no more senses than the mode's and than the clip has."""
        kept = [_withheld(clip, MODES[mode]) for clip in clips]
        answers: list[Answer | None] = [None] * len(kept)
        asked = []
        for index, clip in enumerate(kept):
            given = clip.present[0], clip.present[1] and self.senses.kind != "none"
            output = self._output(given, mode)
            if output is None:
                answers[index] = Answer(None, None, "none")
            else:
                asked.append((index, clip, given, output))
        for start in range(0, len(asked), self.batch_max):
            part = asked[start : start + self.batch_max]
            for row, answer in zip(part, self._run(part)):
                answers[row[0]] = answer
        return [answer for answer in answers if answer is not None]

    def _run(self, asked: Sequence[tuple[int, Numbers, tuple[bool, bool], str]]) -> list[Answer]:
        """One run of the network for rows of (index, clip, senses given, the output that answers)."""
        inputs = {name: value for name, value in batch([clip for _, clip, _, _ in asked]).items() if name in self.inputs}
        outputs = dict(zip(self.outputs, self.session.run(None, inputs)))
        sizes = outputs.get("group_size") if self.buckets else None
        answers = []
        for row, (_, _, senses, output) in enumerate(asked):
            logits = np.asarray(outputs[output][row], np.float64)[self.order]
            if not np.isfinite(logits).all():
                raise DatasetError(f"{self.terms['name']}: an answer is not finite; the network or its precision is broken.")
            # Without a picture nobody can be counted.
            size = np.asarray(sizes[row], np.float64) if sizes is not None and senses[0] else None
            answers.append(Answer(logits, size, NAMES[senses]))
        return answers


def _withheld(clip: Numbers, mode: tuple[bool, bool]) -> Numbers:
    """The clip with the senses that the mode leaves out zeroed, as the daemon fills in what is missing."""
    present = clip.present[0] and mode[0], clip.present[1] and mode[1]
    video = clip.video if present[0] else np.zeros_like(clip.video)
    sound = clip.sound if clip.sound is None or present[1] else np.zeros_like(clip.sound)
    return Numbers(video, sound, present)
