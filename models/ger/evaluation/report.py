"""The report of an evaluation: one HTML file with nothing outside it, for light and dark screens and for screen
readers.

It contains numbers and plots of them, and never a frame, a sound or a clip's name.
"""

from __future__ import annotations

import html
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from ger.contract import CLASSES
from ger.evaluation import plots

MODES = {"both": "both modalities", "picture": "picture alone", "sound": "sound alone"}
STYLE = """
:root {
  color-scheme: light dark; --paper: #ffffff; --ink: #1b1b1f; --soft: #55555e; --line: #c4c4cc;
  --both: #0b57a4; --picture: #a33c00; --sound: #1d6b3a
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #16161a; --ink: #ececf0; --soft: #b2b2bc; --line: #4a4a54;
    --both: #7db8ff; --picture: #ffa666; --sound: #7fd69b
  }
}
* { box-sizing: border-box }
body {
  margin: 0 auto; padding: 1.5rem; max-width: 64rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif
}
h1 { line-height: 1.2 } h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line) }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums }
caption { text-align: start; color: var(--soft); padding-bottom: .3rem }
th, td { padding: .25rem .8rem; border-bottom: 1px solid var(--line); text-align: end }
th[scope=row], thead th:first-child { text-align: start }
td.right { font-weight: 700 }
.plots { display: flex; flex-wrap: wrap; gap: 1rem } svg { width: 100%; height: auto }
figure { margin: 0; flex: 0 1 30rem } figure.small { flex-basis: 21rem }
.table { overflow-x: auto } code { overflow-wrap: anywhere } p, li { max-width: 46rem } .soft { color: var(--soft) }
"""


def render(document: Mapping[str, Any]) -> str:
    """The report of what `ger.evaluation.summary.summarise` returns, as one HTML page."""
    name = html.escape(str(document["model"]["name"]))
    parts = [
        summary(document),
        confusions(document),
        calibration(document),
        group_size(document),
        columns(document),
        faults(document),
        method(document),
    ]
    body = "\n".join(part for part in parts if part)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>Evaluation of {name}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>Evaluation of {name}</h1>\n{body}\n</main>\n</body>\n</html>\n"
    )


def summary(document: Mapping[str, Any]) -> str:
    labels = document["labels"]
    counts = ", ".join(f"{count} {name}" for name, count in labels["counts"].items())
    sources = f" from {labels['sources']} source videos" if labels["sources"] else ""
    rows = []
    for mode, title in MODES.items():
        scores = document["modes"][mode]
        if not scores["offered"]:
            rows.append([title, "not offered", "", "", ""])
        elif not scores["clips"]:
            rows.append([title, "no clip has it", str(scores["withheld"]), "", ""])
        else:
            rows.append(
                [
                    title,
                    str(scores["clips"]),
                    str(scores["withheld"]),
                    percent(scores["accuracy"]),
                    number(scores["macro_f1"]),
                ]
            )
    scores_table = table(
        "Predictions by modality, with 95 % intervals",
        ["modalities", "clips answered", "withheld", "accuracy", "macro-F1"],
        rows,
    )
    chance = max(labels["counts"].values()) / max(labels["clips"], 1)
    return (
        f"<p>{labels['clips']} clips ({counts}){sources}. "
        f"Always giving the commonest label would be right in {chance:.1%} of them.</p>" + scores_table
    )


def confusions(document: Mapping[str, Any]) -> str:
    tables = []
    for mode, title in MODES.items():
        scores = document["modes"][mode]
        if scores["offered"] and scores["clips"]:
            tables.append(counts_table(f"Clips by truth and answer, {title}", CLASSES, scores["confusion"]))
    return section("Confusion", f'<div class="plots">{"".join(tables)}</div>')


def calibration(document: Mapping[str, Any]) -> str:
    errors = document["calibration"]
    rows = [
        ["as the network gives it (temperature 1)", number(errors["before"])],
        [f"with the contract's temperature {errors['temperature']}", number(errors["after"])],
    ]
    if again := document.get("refit"):
        rows += [
            [f"the {again['measured_on']} other clips, before", number(again["before"])],
            [
                (
                    f"the same after temperature {again['temperature']}, "
                    f"fitted on the {again['fitted_on']} clips with {again['rule']}"
                ),
                number(again["after"]),
            ],
        ]
    figures = "".join(
        f"<figure class=small>{calibration_plot(key, errors)}<figcaption>{key} temperature</figcaption></figure>"
        for key in ("before", "after")
    )
    fitted = html.escape(str(document["model"]["calibrated_on"]))
    return section(
        "Calibration",
        "<p>The distance of the stated confidence from the share of right answers, 15 bins, both modalities; "
        "0 is perfect. "
        f"The contract states about its temperature: {fitted}. "
        "Where it was fitted on these same clips, the error after it is too small.</p>"
        + table("Expected calibration error, with 95 % intervals", ["answers", "error"], rows)
        + f'<div class="plots">{figures}</div>',
    )


def calibration_plot(key: str, errors: Mapping[str, Any]) -> str:
    """The reliability plot before or after temperature."""
    return plots.reliability(f"bins-{key}", f"Calibration {key} temperature", errors[f"bins_{key}"])


def group_size(document: Mapping[str, Any]) -> str:
    sizes = document["group_size"]
    if sizes is None:
        return section(
            "Size of the group",
            "<p>Not measured: it needs a network that estimates it and a column <code>people</code> in the labels.</p>",
        )
    lows = sizes["buckets"]
    names = [str(low) if high == low + 1 else f"{low} to {high - 1}" for low, high in itertools.pairwise(lows)] + [
        f"{lows[-1]} and more"
    ]
    alone = sizes["under_two_labelled"]
    under = (
        f" Of the {sizes['under_two']} clips of an empty room or a single person, "
        f"{percent(alone)} are taken for a group, and would be labelled."
        if alone
        else " No clip shows an empty room or a single person."
    )
    return section(
        "Size of the group",
        f"<p>Estimated in the right bucket for {percent(sizes['accuracy'])} of {sizes['clips']} clips.{under}</p>"
        + counts_table("Clips by true and estimated size, people", names, sizes["confusion"]),
    )


def columns(document: Mapping[str, Any]) -> str:
    figures = []
    for index, curve in enumerate(document["columns"]):
        levels = [f"{point['level']}\n({point['clips']})" for point in curve["points"]]
        series = {
            mode: [triple(point[mode]) for point in curve["points"]] for mode in MODES if mode in curve["points"][0]
        }
        title = f"Accuracy by {curve['column']}"
        figures.append(
            figure(
                plots.curve(f"column-{index}", title, levels, series, f"{curve['column']} (clips)"),
                title,
                curve["points"],
                list(series),
            )
        )
    if not figures:
        return section("By column of the labels", "<p>The labels have no further columns that could be shown.</p>")
    return section("By column of the labels", f'<div class="plots">{"".join(figures)}</div>')


def faults(document: Mapping[str, Any]) -> str:
    if not document["faults"]:
        return ""
    figures = []
    for index, curve in enumerate(document["faults"]):
        series = {mode: [triple(point[mode]) for point in curve["points"]] for mode in ("both", curve["sense"])}
        title = f"Accuracy by fault: {curve['curve']}"
        levels = [point["level"] for point in curve["points"]]
        figures.append(
            figure(
                plots.curve(f"fault-{index}", title, levels, series, curve["curve"]),
                title,
                curve["points"],
                list(series),
            )
        )
    return section(
        "With added faults",
        f"<p>The same {document['fault_clips']} clips, drawn at random, with one fault at a time. "
        "The network does not know of a fault.</p>"
        f'<div class="plots">{"".join(figures)}</div>',
    )


def method(document: Mapping[str, Any]) -> str:
    model, labels, boot = document["model"], document["labels"], document["bootstrap"]
    facts = [
        (
            f"network {model['file']}, system {model['system']}, {model['precision']}, "
            f"SHA-256 <code>{model['sha256']}</code>"
        ),
        f"labels SHA-256 <code>{labels['sha256']}</code>" if labels["sha256"] else "labels are the folders' names",
        f"a clip without sound: {model['without_sound']} (as the contract states)",
        f"intervals: {boot['level']:.0%}, percentile bootstrap of {boot['resamples']} resamples by {boot['by']}"
        + (
            ""
            if boot["by"] != "clip"
            else "; clips of one source video are related, so where there are such clips the intervals are too narrow"
        ),
        (
            "where every clip was right, or none, the interval has no width; that is not certainty, "
            "as no other kind of clip was measured"
        ),
        f"measured on {document['created']} with "
        + ", ".join(f"{name} {version}" for name, version in document["versions"].items()),
    ]
    return section(
        "How it was measured",
        "<ul>" + "".join(f"<li>{fact}</li>" for fact in facts) + "</ul>"
        '<p class="soft">Labels are people\'s impressions of a group, and an expression is not an emotion. '
        "Figures hold for clips like these and for no others.</p>",
    )


def section(title: str, body: str) -> str:
    return f"<section>\n<h2>{title}</h2>\n{body}\n</section>"


def table(caption: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column names the rows."""
    head = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in header)
    body = "".join(
        f'<tr><th scope="row">{html.escape(first)}</th>'
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in rest)
        + "</tr>"
        for first, *rest in rows
    )
    return (
        f'<div class="table"><table><caption>{html.escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def counts_table(caption: str, names: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """A confusion matrix; what is right is in bold."""
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    rows = "".join(
        f'<tr><th scope="row">{name}</th>'
        + "".join(f"<td{' class=right' if i == j else ''}>{count}</td>" for j, count in enumerate(row))
        + "</tr>"
        for i, (name, row) in enumerate(zip(names, counts, strict=True))
    )
    return (
        f'<div class="table"><table><caption>{html.escape(caption)}</caption>'
        f'<thead><tr><th scope="col">truth \\ answer</th>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def figure(svg: str, title: str, points: Sequence[Mapping[str, Any]], modes: Sequence[str]) -> str:
    """A plot, and its numbers as a table that unfolds."""
    rows = [[point["level"], *(percent(point[mode]) for mode in modes)] for point in points]
    numbers = table(title, ["", *(MODES[mode] for mode in modes)], rows)
    return (
        f"<figure>{svg}<figcaption>{html.escape(title)}</figcaption>"
        f"<details><summary>Numbers</summary>{numbers}</details></figure>"
    )


def triple(interval: dict[str, float] | None) -> plots.Point:
    return None if interval is None else (interval["value"], interval["low"], interval["high"])


def percent(interval: dict[str, float] | None) -> str:
    return "–" if interval is None else f"{interval['value']:.1%} [{interval['low']:.1%}, {interval['high']:.1%}]"


def number(interval: dict[str, float]) -> str:
    return f"{interval['value']:.3f} [{interval['low']:.3f}, {interval['high']:.3f}]"
