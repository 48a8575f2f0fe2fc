"""Image classification: the bytes of an image file in, a score for each label and the best of them out."""

from __future__ import annotations

from builder import members
from builder.ensemble import Facts, Member, Pipeline, Tensor
from builder.members import LABEL, step

IMAGE = Tensor("image", "STRING")


def pipeline(facts: Facts) -> Pipeline:
    """Return the members for images of `facts.image` and the scores of `facts.labels`."""
    pixels = Tensor("pixel_values", "FP32", facts.image)
    scores = Tensor("scores", "FP32", (len(facts.labels),), labelled=True)
    named = members.naming(scores, facts)
    preparation = Member(
        suffix="_image",
        code="image",
        settings=("preprocessor",),
        max_batch_size=members.MAX_BATCH_SIZE,
        batching=members.AT_ONCE,
        why="whatever waits is decoded and resized together; no image waits for company",
        inputs=(IMAGE,),
        outputs=(pixels,),
    )
    return Pipeline(
        description="image file in, labels and scores out",
        samples="images",
        main="scores",
        members=(
            preparation,
            members.graph((pixels,), named.given, "all images have one size once they are prepared"),
            *named.members,
            members.ensemble(
                (IMAGE,),
                (scores, LABEL),
                step("_image", ["image"], ["pixel_values"]),
                step("_encoder", ["pixel_values"], named.outputs),
                *named.steps,
            ),
        ),
    )
