"""Ours: the edge network on real clips, in one pass over all of its parts.

Modalities are withheld from some clips, so that the network can do with one of them; a second head learns the size of
the group where the labels state it, and clips are mirrored. (Its training on generated scenes, in stages, is
`ger.edge_train`.)
"""

from ger.recipes.recipe import Recipe, Stage

RECIPE = Recipe(
    system="edge",
    sources="ours",
    stages=(Stage("clips", 60, "clip", {"": 1e-3}, "adamw", weight_decay=0.05, schedule="one-cycle"),),
    batch_size=16,
    label_smoothing=0.05,
    drop_picture=0.2,
    drop_sound=0.2,
    flip=True,
    group_weight=0.3,
    gradient_norm_max=1.0,
)
