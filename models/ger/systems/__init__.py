"""The published systems by name: `build("augusma2023", "tiny")`, or with other sizes, `build("augusma2023",
{"head": "flatten"})`.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any

from torch import nn

from ger.contract import Interface
from ger.systems import augusma2023, evtodienko2021, vemd2026

SYSTEMS: dict[str, types.ModuleType] = {
    "augusma2023": augusma2023,
    "evtodienko2021": evtodienko2021,
    "vemd2026": vemd2026,
}


def build(system: str, config: str | Mapping[str, Any] | None = None) -> nn.Module:
    """The network with random weights, at a named size ("full", "tiny") or with these fields of its `Config`.

    Raises `ValueError` for a system, size or field that is not known.
    """
    if system not in SYSTEMS:
        raise ValueError(f"system {system!r} is not known; known: {', '.join(SYSTEMS)}")
    module = SYSTEMS[system]
    fields = {"size": config} if isinstance(config, str) else dict(config or {})
    base = module.Config()
    if isinstance(fields.get("size"), str):
        size = fields.pop("size")
        if size not in module.SIZES:
            raise ValueError(f"size {size!r} of {system} is not known; known: {', '.join(module.SIZES)}")
        base = module.SIZES[size]
    return module.Network(configured(base, fields))


def configured(base: Any, fields: Mapping[str, Any]) -> Any:
    """`base` with these fields; lists become tuples and mappings become dataclasses, as JSON and checkpoints hold
    lists and mappings.
    """
    known = {field.name: getattr(base, field.name) for field in dataclasses.fields(base)}
    if unknown := set(fields) - set(known):
        raise ValueError(f"config has no {', '.join(sorted(unknown))}; it has {', '.join(known)}")
    changes: dict[str, Any] = {}
    for name, value in fields.items():
        if dataclasses.is_dataclass(known[name]) and isinstance(value, Mapping):
            changes[name] = configured(known[name], value)
        else:
            changes[name] = tuple(value) if isinstance(value, list) else value
    return dataclasses.replace(base, **changes)


def config_of(network: nn.Module) -> dict[str, Any]:
    """The network's configuration for a checkpoint: `build(system, config_of(network))` is the same network."""
    return dataclasses.asdict(typing.cast(Any, network).config)


__all__ = ["SYSTEMS", "Interface", "build", "config_of", "configured"]
