"""Prints the measures of the source tree, of one commit or of several side by side.

    tools/measures.py [COMMIT …]          (`make measures`; without a commit: the working tree)

What is measured, and how:

* Code lines are lines of `src/` before a file's tests that are neither blank nor a comment.
* A function's length is its lines from `fn` to the closing brace, both included.
* A file's length counts its lines before `#[cfg(test)] mod …`.
* A type name is shared if several `struct`, `enum`, `trait` or `type` items outside of tests have it.
* A duplicate is a run of six or more code lines that stands at two places in the same words.
* A circle is a set of files that import each other in a ring. That a file imports from the file above its folder (a
  child from its parent) does not count.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles

ROOT = Path(__file__).resolve().parent.parent
FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 400
DUPLICATE_LINES = 6

Files = dict[str, str]
Row = tuple[str, str]


def files_of(commit: str | None) -> Files:
    """The text of every tracked Rust and Python file, by its path."""
    listing = ["git", "ls-tree", "-r", "--name-only", commit] if commit else ["git", "ls-files"]
    names = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    names = [name for name in names if name.endswith((".rs", ".py"))]
    if not commit:
        return {name: (ROOT / name).read_text() for name in names if (ROOT / name).exists()}
    wanted = "".join(f"{commit}:{name}\n" for name in names).encode()
    blobs = subprocess.run(["git", "cat-file", "--batch"], cwd=ROOT, check=True, capture_output=True, input=wanted).stdout
    files, at = {}, 0
    for name in names:
        head_end = blobs.index(b"\n", at)
        size = int(blobs[at:head_end].split()[-1])
        files[name] = blobs[head_end + 1 : head_end + 1 + size].decode()
        at = head_end + size + 2
    return files


def before_tests(text: str) -> str:
    return re.split(r"^#\[cfg\(test\)\]\nmod ", text, maxsplit=1, flags=re.MULTILINE)[0]


RUST_TOKEN = re.compile(
    r'//[^\n]*|/\*.*?\*/|b?r(#*)".*?"\1|b?"(?:\\.|[^"\\])*"|b?\'(?:\\.[^\']*|[^\'\\\n])\'', flags=re.DOTALL
)


def blanked(code: str) -> str:
    """The same text with comments and the insides of literals as spaces: braces that are left are code."""

    def blank(found: re.Match[str]) -> str:
        return re.sub(r"[^\n]", " ", found[0])

    return RUST_TOKEN.sub(blank, code)


def code_lines(code: str) -> int:
    return sum(1 for line in blanked(code).splitlines() if line.strip())


def function_lengths(code: str) -> Iterator[int]:
    code = blanked(code)
    for found in re.finditer(r"\bfn\s+\w+", code):
        depth, at = 0, found.end()
        while at < len(code):
            char = code[at]
            depth += char in "{[(" and 1 or char in "}])" and -1 or 0
            if char == "}" and depth == 0:
                yield code.count("\n", found.start(), at) + 1
            if (char == "}" and depth == 0) or (char == ";" and depth == 0):
                break
            at += 1


def duplicates(sources: Files) -> int:
    """Runs of equal lines at two places; a longer run counts once."""
    lines = [
        (name, line.strip())
        for name, text in sources.items()
        for line in blanked_comments(text).splitlines()
        if line.strip() and not re.fullmatch(r"[})\];,\s]*|use .*|mod .*", line.strip())
    ]
    seen: dict[tuple[str, ...], int] = {}
    runs, last = 0, (-2, -2)
    for at in range(len(lines) - DUPLICATE_LINES + 1):
        window = lines[at : at + DUPLICATE_LINES]
        if window[0][0] != window[-1][0]:
            continue
        key = tuple(line for _, line in window)
        first = seen.setdefault(key, at)
        if first + DUPLICATE_LINES <= at:
            runs += (first - 1, at - 1) != last
            last = (first, at)
    return runs


def blanked_comments(code: str) -> str:
    return re.sub(r"^\s*//.*$", "", code, flags=re.MULTILINE)


def module_of(name: str) -> tuple[str, ...]:
    parts = name.removeprefix("src/").removesuffix(".rs").split("/")
    return () if parts in (["lib"], ["main"]) else tuple(parts)


def imports(name: str, code: str, modules: set[tuple[str, ...]]) -> set[tuple[str, ...]]:
    here = module_of(name)
    # A parent needs its children.
    found = {(*here, child) for child in re.findall(r"^\s*(?:pub(?:\([^)]*\))?\s+)?mod (\w+);", code, re.MULTILINE)} & modules
    for path in paths(blanked(code)):
        parts = path.split("::")
        if parts[0] == "crate":
            base, rest = (), parts[1:]
        elif parts[0] == "self":
            base, rest = here, parts[1:]
        elif parts[0] == "super":
            ups = next((n for n, part in enumerate(parts) if part != "super"), len(parts))
            base, rest = here[: len(here) - ups], parts[ups:]
        elif (*here, parts[0]) in modules:
            base, rest = here, parts
        else:
            continue
        whole = (*base, *rest)
        target = next((whole[:n] for n in range(len(whole), 0, -1) if whole[:n] in modules), None)
        if target and target != here:
            found.add(target)
    return found


def paths(code: str) -> Iterator[str]:
    """Every path of the code, those of `use` with their braces written out."""
    for found in re.finditer(r"\buse\s+([^;]+);", code):
        yield from written_out("", re.sub(r"\s+as\s+\w+|\s", "", found[1]))
    for found in re.finditer(r"[\w]+(?:::\w+)+", code):
        yield found[0]


def written_out(prefix: str, tree: str) -> Iterator[str]:
    head, brace, rest = tree.partition("{")
    if not brace:
        yield (prefix + tree).removesuffix("::self").removesuffix("::*")
        return
    depth, start, rest = 0, 0, rest.removesuffix("}")
    for at, char in enumerate(rest + ","):
        depth += (char == "{") - (char == "}")
        if char == "," and depth == 0:
            if rest[start:at]:
                yield from written_out(prefix + head, rest[start:at])
            start = at + 1


def circles(graph: dict[tuple[str, ...], set[tuple[str, ...]]]) -> list[list[str]]:
    """Strongly connected sets of more than one module; edges from a child to its parents are left out."""
    graph = {node: {to for to in edges if node[: len(to)] != to} for node, edges in graph.items()}
    reach: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
    for start in graph:
        seen, todo = set(), [start]
        while todo:
            for to in graph.get(todo.pop(), ()):
                if to not in seen:
                    seen.add(to)
                    todo.append(to)
        reach[start] = seen
    groups = {tuple(sorted(b for b in reach[a] if a in reach.get(b, ()))) for a in graph if a in reach[a]}
    return [["::".join(module) for module in group] for group in sorted(groups)]


def rust_rows(files: Files) -> list[Row]:
    sources = {name: before_tests(text) for name, text in files.items() if name.startswith("src/")}
    lengths = [length for code in sources.values() for length in function_lengths(code)]
    file_lines = {name: code.count("\n") for name, code in sources.items()}
    types = Counter(
        found[1]
        for code in sources.values()
        for found in re.finditer(r"^\s*(?:pub(?:\([^)]*\))?\s+)?(?:struct|enum|trait|type)\s+(\w+)", code, re.MULTILINE)
        if not found[0].startswith("    type")
    )
    shared = [f"{name} {n}" for name, n in types.most_common() if n > 1]
    modules = {module_of(name) for name in sources}
    graph = {module_of(name): imports(name, code, modules) for name, code in sources.items()}
    rings = circles(graph)
    public = sum(len(re.findall(r"^\s*pub\s", code, re.MULTILINE)) for code in sources.values())
    allows = sum(len(re.findall(r"#!?\[(?:allow|expect)\(", blanked(text))) for name, text in files.items() if name.endswith(".rs"))
    unwraps = sum(len(re.findall(r"\.unwrap\(\)|\.expect\(", blanked(code))) for code in sources.values())
    return [
        ("src: files", str(len(sources))),
        (f"src: files over {FILE_LINES_MAX} lines before their tests", str(sum(n > FILE_LINES_MAX for n in file_lines.values()))),
        ("src: longest file before its tests, lines", str(max(file_lines.values()))),
        ("src: code lines before tests", str(sum(map(code_lines, sources.values())))),
        ("src: functions", str(len(lengths))),
        ("src: function lines, median", f"{median(lengths):.0f}"),
        ("src: function lines, 90th percentile", f"{quantiles(lengths, n=10)[-1]:.0f}"),
        ("src: function lines, longest", str(max(lengths))),
        (f"src: functions over {FUNCTION_LINES_MAX} lines", str(sum(n > FUNCTION_LINES_MAX for n in lengths))),
        ("src: unwrap or expect before tests", str(unwraps)),
        ("src: types", str(sum(types.values()))),
        ("src: type names", str(len(types))),
        ("src: type names that name several types", str(len(shared))),
        ("src: the most shared type names", ", ".join(shared[:4]) or "none"),
        ("src: `pub` items (visible outside the crate, if their module is)", str(public)),
        ("src: closures whose parameter is `it`", str(sum(len(re.findall(r"\|it\b", code)) for code in sources.values()))),
        ("src: circles of files but parent and child", str(len(rings))),
        ("src: the circles", "; ".join(" ↔ ".join(ring) for ring in rings) or "none"),
        ("all Rust: `allow` and `expect` attributes", str(allows)),
        (f"src: duplicates of {DUPLICATE_LINES} lines", str(duplicates(sources))),
        ("tests/it: code lines", str(sum(code_lines(text) for name, text in files.items() if name.startswith("tests/")))),
    ]


def python_rows(files: Files) -> list[Row]:
    kit = {name: text for name, text in files.items() if name.startswith("models/ger/")}
    modules = {tuple(name.removeprefix("models/").removesuffix(".py").removesuffix("/__init__").split("/")) for name in kit}
    graph = defaultdict(set)
    for name, text in kit.items():
        here = tuple(name.removeprefix("models/").removesuffix(".py").split("/"))
        package, here = here[:-1], here[:-1] if here[-1] == "__init__" else here
        for found in re.finditer(r"^(?:from\s+(\.*)([\w.]*)\s+import\s+\(?([^)\n]+|[^)]+)\)?|import\s+([\w.]+))", text, re.MULTILINE):
            dots, base, names, whole = found.groups()
            start = package[: len(package) - len(dots) + 1] if dots else ()
            stem = (*start, *filter(None, (base or whole or "").split(".")))
            for part in re.split(r"[,\s]+", names or ""):
                target = next((m for m in ((*stem, part), stem) if m in modules), None)
                if target and target != here:
                    graph[here].add(target)
    code = {name: re.sub(r"^\s*#.*$", "", text, flags=re.MULTILINE) for name, text in kit.items()}
    return [
        ("models/ger: modules", str(len(kit))),
        ("models/ger: lines that are neither blank nor a comment", str(sum(sum(map(bool, map(str.strip, t.splitlines()))) for t in code.values()))),
        ("models/ger: modules directly in the package", str(sum(name.count("/") == 2 for name in kit))),
        ("models/ger: circles of modules but parent and child", str(len(circles(graph)))),
    ]


def main() -> None:
    commits: list[str | None] = list(sys.argv[1:]) or [None]
    columns = []
    for commit in commits:
        files = files_of(commit)
        columns.append(rust_rows(files) + python_rows(files))
    print("| measure |" + "".join(f" {commit or 'working tree'} |" for commit in commits))
    print("|---|" + "---:|" * len(commits))
    for cells in zip(*columns, strict=True):
        print(f"| {cells[0][0]} |" + "".join(f" {value} |" for _, value in cells))


if __name__ == "__main__":
    main()
