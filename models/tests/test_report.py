"""The report: complete, accessible, and with nothing but numbers and plots of them."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from ger import report as command
from ger.evaluation import report

INTERVAL = {"value": 0.8125, "low": 0.75, "high": 0.9}


def scores(clips: int = 32) -> dict:
    return {
        "offered": True,
        "clips": clips,
        "withheld": 3,
        "accuracy": INTERVAL,
        "macro_f1": INTERVAL,
        "confusion": [[11, 1, 0], [2, 7, 1], [0, 2, 8]],
    }


@pytest.fixture
def document() -> dict:
    bins = [[0, 0, 0]] * 10 + [[4, 2.8, 2], [6, 4.6, 5], [10, 8.5, 9], [8, 7.2, 7], [4, 3.9, 4]]
    point = {"both": INTERVAL, "picture": INTERVAL, "sound": None}
    return {
        "created": "2000-01-01",
        "model": {
            "file": "n.onnx",
            "sha256": "ab" * 32,
            "name": '<net> & "co"',
            "system": "edge",
            "precision": "fp32",
            "without_sound": "mask",
            "calibrated_on": "clips <of> others",
        },
        "labels": {
            "clips": 35,
            "counts": {"positive": 13, "neutral": 12, "negative": 10},
            "sha256": "cd" * 32,
            "sources": 9,
        },
        "modes": {"both": scores(), "picture": scores(), "sound": {"offered": False}},
        "calibration": {
            "temperature": 0.9,
            "before": INTERVAL,
            "after": INTERVAL,
            "bins_before": bins,
            "bins_after": bins,
        },
        "refit": {
            "rule": "split=val",
            "fitted_on": 9,
            "measured_on": 26,
            "temperature": 1.1,
            "before": INTERVAL,
            "after": INTERVAL,
        },
        "group_size": {
            "clips": 35,
            "buckets": [0, 1, 2, 5, 10],
            "accuracy": INTERVAL,
            "confusion": [[1] * 5] * 5,
            "under_two": 6,
            "under_two_labelled": INTERVAL,
        },
        "columns": [
            {
                "column": "people & $x$ <b>",
                "points": [{"level": "1", "clips": 5, **point}, {"level": "2 to 4", "clips": 30, **point}],
            }
        ],
        "faults": [
            {
                "curve": "Light",
                "sense": "picture",
                "points": [{"level": "as it is", **point}, {"level": "0.5×", **point}],
            }
        ],
        "fault_clips": 20,
        "versions": {"onnxruntime": "1.0"},
        "bootstrap": {"resamples": 2000, "level": 0.95, "by": "source video"},
    }


class Page(HTMLParser):
    """What a browser would fetch, and what a screen reader would read."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.ids: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in ("meta", "br", "use", "path", "rect"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("use", "path", "rect"):
            assert self.open.pop() == tag


def test_the_page_has_no_external_content_and_no_pictures(document: dict) -> None:
    text = report.render(document)
    page = Page(text)
    assert not page.open
    assert "://" not in text and "@import" not in text and "data:" not in text
    assert {tag for tag, _ in page.tags}.isdisjoint(
        {"script", "img", "image", "link", "iframe", "object", "embed", "video", "audio"}
    )
    references = [attrs[name] for _, attrs in page.tags for name in ("href", "src") if name in attrs]
    assert references and all(reference.startswith("#") and reference[1:] in page.ids for reference in references)
    assert all(target in page.ids for target in re.findall(r"url\(#([^)]+)\)", text))
    assert not re.search(r"\.(mp4|jpe?g|png)", text)


def test_every_part_is_there_with_its_numbers(document: dict) -> None:
    text = report.render(document)
    for title in (
        "Confusion",
        "Calibration",
        "Size of the group",
        "By column of the labels",
        "With added faults",
        "How it was measured",
    ):
        assert f"<h2>{title}</h2>" in text
    assert "81.2% [75.0%, 90.0%]" in text and "not offered" in text and "cd" * 32 in text and "9 source videos" in text
    assert "people &amp; $x$ &lt;b&gt;" in text and "<b>" not in text
    assert "&lt;net&gt; &amp; &quot;co&quot;" in text and "<net>" not in text and "clips &lt;of&gt; others" in text


def test_the_page_is_accessible_to_screen_readers(document: dict) -> None:
    page = Page(report.render(document))
    assert len(page.ids) == len(set(page.ids))
    assert next(attrs for tag, attrs in page.tags if tag == "html")["lang"] == "en"
    tables, captions = (sum(tag == wanted for tag, _ in page.tags) for wanted in ("table", "caption"))
    assert tables == captions >= 5
    assert all("scope" in attrs for tag, attrs in page.tags if tag == "th")
    plots = [attrs for tag, attrs in page.tags if tag == "svg"]
    assert len(plots) == 4
    for attrs in plots:
        assert attrs["role"] == "img" and all(name in page.ids for name in attrs["aria-labelledby"].split())
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and set(levels[1:]) == {2}


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb, WCAG 2.1."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_contrast_is_enough_on_both_pages() -> None:
    pages = [
        dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", block)) for block in re.findall(r":root \{([^}]*)\}", report.STYLE)
    ]
    assert len(pages) == 2
    for page in pages:
        paper = luminance(page["paper"])
        for name in ("ink", "soft", "both", "picture", "sound"):
            dark, light = sorted((paper, luminance(page[name])))
            assert (light + 0.05) / (dark + 0.05) >= 4.5, name


def test_plots_use_the_pages_colours_alone(document: dict) -> None:
    text = report.render(document)
    plots = text[text.index("<svg") :]
    assert not re.findall(r"#[0-9a-f]{6}\b", plots.replace("ab" * 32, "").replace("cd" * 32, ""))
    assert "var(--both)" in plots and "var(--ink)" in plots


def test_a_report_without_optional_parts_is_complete(
    document: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document |= {"group_size": None, "columns": [], "faults": []}
    del document["refit"]
    document["modes"]["picture"] = {"offered": True, "clips": 0, "withheld": 35}
    (tmp_path / "f.json").write_text(json.dumps(document))
    monkeypatch.setattr("sys.argv", ["report", str(tmp_path / "f.json"), "--out", str(tmp_path / "r.html")])
    command.main()
    assert "no clip has it" in (tmp_path / "r.html").read_text() and not Page((tmp_path / "r.html").read_text()).open
