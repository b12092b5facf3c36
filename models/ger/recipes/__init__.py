"""The recipes by name: those of the papers, as published, and ours."""

from ger.recipes import augusma2023, edge, evtodienko2021, vemd2026
from ger.recipes.recipe import Recipe, Stage

RECIPES: dict[str, Recipe] = {
    "augusma2023": augusma2023.RECIPE,
    "evtodienko2021": evtodienko2021.RECIPE,
    "vemd2026": vemd2026.RECIPE,
    "edge": edge.RECIPE,
}

__all__ = ["RECIPES", "Recipe", "Stage"]
