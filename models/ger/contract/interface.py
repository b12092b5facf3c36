"""The inputs and outputs of a network, from which its contract and its golden case follow."""

from __future__ import annotations

from dataclasses import dataclass

from ger.contract import mel


@dataclass(frozen=True)
class Interface:
    """The inputs and outputs of a network, as its contract states them. Video mean and std are of R, G, B in 0 to 1."""

    system: str
    frames: int
    size: int  # pixels, both sides
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    sound: str  # mel, waveform or none
    normalise: str = "none"  # or zscore-clip, of a waveform
    missing: str = "withhold"  # what happens where sound is missing: withhold or mask
    present: bool = False  # takes which modalities are present
    group_size: bool = False  # estimates the group's size
    head_width: bool = False  # estimates how large people appear
    any_batch: bool = True

    def inputs(self) -> dict[str, tuple[int, ...]]:
        """Name to shape for batch 1, in the order of the network's arguments."""
        shapes: dict[str, tuple[int, ...]] = {"video": (1, self.frames, 3, self.size, self.size)}
        if self.sound == "mel":
            shapes["sound"] = (1, mel.SEGMENTS, 1, mel.BINS, mel.FRAMES)
        if self.sound == "waveform":
            shapes["sound"] = (1, mel.SAMPLES)
        if self.present:
            shapes["present"] = (1, 2)
        return shapes

    def outputs(self) -> list[str]:
        return ["logits"] + ["group_size"] * self.group_size + ["head_width"] * self.head_width
