"""VE-MD 2026: a variational encoder with a decoder for the emotion and one for body heatmaps, which serves training
only.

Published: the ViT is frozen; latents are pulled towards a normal distribution by an MMD penalty; the structural
decoders are trained with the emotion. Heatmaps come from a column `heatmaps` of the labels (`.npy`, [frames, limbs, 56,
56], 0 to 1, relative to the clips' folder); where no clip has one, the decoder stays untrained, which the checkpoint
then states.
"""

from ger.recipes.recipe import Recipe, Stage

RECIPE = Recipe(
    system="vemd2026",
    sources="VE-MD, variational encoder with multiple decoders, doctoral thesis 2026 and its public code",
    stages=(Stage("clips", 100, "clip", {"": 1e-5, "vit": 0.0}, "sgd", momentum=0.9),),
    batch_size=4,
    mmd_weight=1.0,
    heatmap_weight=1.0,
    choices=(
        "optimiser, batch and epochs as in the same author's system of 2023, as none are published for this one",
        "both penalties weigh 1; the MMD has five Gaussian kernels of widths 0.25 to 4 times the dimension",
        "one latent of each frame counts as one draw",
    ),
)
