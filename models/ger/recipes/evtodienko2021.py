"""Evtodienko 2021: HuBERT and ResNet-101d, self-attention and cross-attention.

Published: Adam 1e-4 with weight decay 1e-3, both encoders at 1e-6, label smoothing 0.2, nothing frozen.
"""

from ger.recipes.recipe import Recipe, Stage

RECIPE = Recipe(
    system="evtodienko2021",
    sources="Evtodienko: Multimodal End-to-End Group Emotion Recognition using Cross-Modal Attention, 2021",
    stages=(
        Stage("clips", 30, "clip", {"": 1e-4, "video_encoder": 1e-6, "sound_encoder": 1e-6}, "adam", weight_decay=1e-3),
    ),
    batch_size=8,
    label_smoothing=0.2,
    choices=("30 epochs, the best by validation", "batch 8", "no learning-rate schedule, no augmentation"),
)
