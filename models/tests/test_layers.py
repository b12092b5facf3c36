"""Which module of the kit may import which: no circles, packages in their order, and libraries that read no command
line.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# A package imports only those that stand before it. The modules directly in `ger` are the commands.
ORDER = ["contract", "datasets", "synthetic", "edge", "systems", "evaluation", "recipes"]


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in (ROOT / "ger").rglob("*.py")}
COMMANDS = {name for name in MODULES if name.count(".") == 1 and MODULES[name].stem != "__init__"}


def imported(name: str) -> Iterator[str]:
    """The modules of the kit that a module imports, also within functions."""
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: imports are absolute"
            submodules = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (module for module in submodules if module in MODULES)
            if node.module in MODULES and not all(module in MODULES for module in submodules):
                yield node.module


IMPORTS = {name: sorted(set(imported(name)) - {name}) for name in MODULES}


def test_no_module_imports_itself_through_others() -> None:
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> None:
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name not in done:
            for other in IMPORTS[name]:
                visit(other, [*path, name])
            done.add(name)

    for name in MODULES:
        visit(name, [])


def test_packages_import_only_those_before_them() -> None:
    assert {name.split(".")[1] for name in MODULES if name.count(".") > 1} == set(ORDER)
    for name in MODULES.keys() - COMMANDS - {"ger"}:
        own = ORDER.index(name.split(".")[1])
        for other in IMPORTS[name]:
            assert other not in COMMANDS, f"{name} imports the command {other}"
            assert ORDER.index(other.split(".")[1]) <= own, f"{name} imports {other}"


def test_only_commands_read_the_command_line() -> None:
    for name, path in MODULES.items():
        text = path.read_text(encoding="utf-8")
        reads = "import argparse" in text, 'if __name__ == "__main__":' in text
        assert reads == (name in COMMANDS,) * 2, name
