"""Plots as inline SVG, drawn by matplotlib: without fonts, pictures or references from elsewhere, in the page's
colours.

matplotlib draws with placeholder colours, which are then replaced by the page's CSS variables, so that one drawing
serves a light and a dark page. Every plot has a title and a description for screen readers.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Placeholder colours, and the page's variables. `SERIES` also differ in marker and dash.
INK, GRID, PAPER = "#010101", "#020202", "#030303"
SERIES = {"both": ("#040404", "o", "-"), "picture": ("#050505", "s", "--"), "sound": ("#060606", "^", ":")}
VARIABLES = {
    INK: "--ink",
    GRID: "--line",
    PAPER: "--paper",
    "#040404": "--both",
    "#050505": "--picture",
    "#060606": "--sound",
}
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "svg.hashsalt": "ger",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": GRID,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "legend.edgecolor": GRID,
    "legend.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
}
# Metadata of matplotlib that is left out, as it contains addresses.
NOTES = {"Creator": None, "Date": None, "Format": None, "Type": None}

Point = tuple[float, float, float] | None  # value and its interval


def curve(name: str, title: str, levels: Sequence[str], series: Mapping[str, Sequence[Point]], xlabel: str) -> str:
    """Accuracy over named levels, one line for each mode, with 95 % bars. Returns an SVG element."""
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(figsize=(4.6, 2.8), layout="constrained")
        for offset, (mode, points) in enumerate(series.items()):
            colour, marker, dash = SERIES[mode]
            drawn = [(at + 0.06 * (offset - 1), point) for at, point in enumerate(points) if point]
            if not drawn:
                continue
            places, values = [at for at, _ in drawn], [point[0] for _, point in drawn]
            reach = [
                [max(v - p[1], 0) for v, (_, p) in zip(values, drawn, strict=True)],
                [max(p[2] - v, 0) for v, (_, p) in zip(values, drawn, strict=True)],
            ]
            axes.errorbar(
                places,
                values,
                reach,
                color=colour,
                marker=marker,
                linestyle=dash,
                capsize=2,
                markersize=4,
                linewidth=1.3,
                label=mode,
            )
        axes.set_xticks(range(len(levels)), levels)
        _percent(axes)
        axes.set_xlabel(xlabel)
        axes.legend(frameon=False, fontsize=8, ncols=3, loc="lower right", bbox_to_anchor=(1, 1))
        description = "; ".join(
            f"{mode}: "
            + ", ".join(f"{level} {point[0]:.0%}" for level, point in zip(levels, points, strict=True) if point)
            for mode, points in series.items()
        )
        return _svg(figure, name, title, f"Accuracy. {description}.")


def reliability(name: str, title: str, bins: Sequence[Sequence[float]]) -> str:
    """Share of right answers over confidence, for summed bins of (clips, confidence, right). Returns an SVG element."""
    drawn = [(confidence / clips, right / clips, clips) for clips, confidence, right in bins if clips]
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(figsize=(3.4, 2.9), layout="constrained")
        axes.plot([0, 1], [0, 1], color=GRID, linewidth=1)
        most = max((clips for _, _, clips in drawn), default=1)
        axes.plot([c for c, _, _ in drawn], [r for _, r, _ in drawn], color=SERIES["both"][0], linewidth=1)
        axes.scatter(
            [c for c, _, _ in drawn],
            [r for _, r, _ in drawn],
            [12 + 60 * n / most for _, _, n in drawn],
            color=SERIES["both"][0],
            zorder=3,
        )
        axes.set_xlim(0.3, 1.02)
        axes.set_xlabel("confidence")
        _percent(axes, "right")
        description = "; ".join(f"at confidence {c:.2f} {r:.0%} of {n:.0f} clips right" for c, r, n in drawn)
        return _svg(figure, name, title, f"Larger dots hold more clips. {description}.")


def _percent(axes: Axes, label: str = "accuracy") -> None:
    axes.set_ylim(-0.02, 1.02)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"])
    axes.set_ylabel(label)
    axes.grid(axis="y", linewidth=0.6)
    axes.set_axisbelow(True)


def _svg(figure: Figure, name: str, title: str, description: str) -> str:
    """The figure as an SVG element for a page: named, described, in the page's colours, its ids its own."""
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata=NOTES)
    pyplot.close(figure)
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\s+xmlns(:\w+)?="[^"]*"', "", text).replace("xlink:href", "href")
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'href="#', f'href="#{name}-', text)
    text = re.sub(r"url\(#", f"url(#{name}-", text)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    opening = (
        f'<svg role="img" aria-labelledby="{name}-title {name}-desc"',
        (
            f'<title id="{name}-title">{html.escape(title)}</title>'
            f'<desc id="{name}-desc">{html.escape(description)}</desc>'
        ),
    )
    head, _, body = text.partition(">")
    return opening[0] + head.removeprefix("<svg") + ">" + opening[1] + body
