"""Why DANN gains on MNIST -> MNIST-M and not on the embedded digits: the resolution of the handwriting.

900 digits of MNIST teach another draw of 900 that are blended with photographs, once as they are (28 x 28 pixels), once
brought down to the 8 x 8 pixels of optdigits and enlarged as those are. All else is `experiment=mnist_m`. Target labels
are read for the accuracies alone.

    python scripts/resolution.py
    python scripts/resolution.py method=dann trainer.steps=2000 seed=1
"""

import sys
from collections.abc import Sequence

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

from tda.config import Sweep
from tda.data.digits import enlarge, photo_blend, random_patch
from tda.preparation import prepared
from tda.run import limited

SAMPLES = 900
SMALL = 8  # side, in pixels, of optdigits' images; their values go from 0 to 16
SEED = 0  # of the patches


def coarse(digit: np.ndarray) -> np.ndarray:
    """Return a digit (32, 32) as if it came from 8 x 8 pixels of seventeen values."""
    small = np.asarray(Image.fromarray(digit).resize((SMALL, SMALL), Image.Resampling.BOX), np.float64)
    return enlarge(np.round(16 * small / max(small.max(), 1)))


def accuracies(overrides: Sequence[str], resolution: str) -> dict[str, float]:
    """Return each method's accuracy on blended digits, per cent."""
    photographs = load_sample_images().images
    found = {}
    first = ["experiment=mnist_m", "seed=0", f"dataset.sample={{M: {SAMPLES}, MM: {SAMPLES}}}", *overrides]
    for plain, other in zip(*(Sweep([*first, f"dataset.draw={draw}"]).cells for draw in (0, 1)), strict=True):
        learner, task = prepared(plain.config, "cpu")
        source, blended = task.source, prepared(other.config, "cpu")[1].source
        patches = np.random.default_rng(SEED)
        alter = coarse if resolution == "8 x 8" else np.asarray
        shown, hidden = ([alter(x[..., 0]) for x in domain.x] for domain in (source, blended))
        Xs = np.stack([np.stack([digit] * 3, axis=-1) for digit in shown])
        Xt = np.stack([photo_blend(digit, random_patch(photographs, patches)) for digit in hidden])
        with limited(plain.config.runtime.threads):
            predicted = learner.fit(Xs, source.y, Xt).predict(Xt)
        found[plain.label] = 100 * float(np.mean(predicted == blended.y))
    return found


def main(overrides: Sequence[str]) -> None:
    """Print the accuracies at both resolutions."""
    for resolution in ("28 x 28", "8 x 8"):
        for label, accuracy in accuracies(overrides, resolution).items():
            print(f"{resolution:>7} pixels  {label:<12} {accuracy:5.1f} %", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
