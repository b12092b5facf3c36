"""Augusma et al. 2023: cross-attention fusion of a ViT's frames and a spectrogram CNN's seconds.

Published: SGD 1e-5 with momentum 0.9, batch 4, cross-entropy, 100 epochs, best by validation; 30 % of the training
clips are synthetic (1140 beside 2661); the ViT is trained alone on five frames first, then frozen while sound and
fusion train.
"""

from ger.recipes.recipe import Recipe, Stage

RECIPE = Recipe(
    system="augusma2023",
    sources=(
        "Augusma, Vaufreydaz, Letue: Multimodal Group Emotion Recognition In-the-wild "
        "Using Privacy-Compliant Features, ICMI 2023"
    ),
    stages=(
        Stage("frames", 100, "frames", {"video_backbone": 1e-5}, "sgd", momentum=0.9),
        Stage("fusion", 100, "clip", {"": 1e-5, "video_backbone": 0.0}, "sgd", momentum=0.9),
    ),
    batch_size=4,
    synthetic_share=0.3,
    choices=(
        (
            "the head of the first stage, which is thrown away, is one linear layer over the mean of the frames, "
            "at the encoder's learning rate"
        ),
        "the first stage has as many epochs as the second, and ends with its best by validation",
        "neither learning-rate schedule, weight decay nor augmentation, as none is published",
    ),
)
