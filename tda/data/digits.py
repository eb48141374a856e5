"""Three domains of digits made from what the installed packages carry: nothing is downloaded."""

import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from safetensors import safe_open
from safetensors.numpy import save_file
from scipy.ndimage import gaussian_filter, map_coordinates
from sklearn.datasets import load_digits, load_sample_images

from tda.cache import built, reading
from tda.data.base import Dataset
from tda.errors import unknown
from tda.task import Domain

RECIPE: Literal[3] = (
    3  # raised, here and in conf, when a change below alters a pixel: old caches and records are not read
)
SEED = 14097495
SIDE = 32
FINE = 4  # glyphs are drawn at FINE times the resolution, then averaged
RENDERED = 2000
CONTRAST = 80  # least difference in intensity, of 255, between a rendered digit and its background
TINT = 15  # most that a colour of either lies off its grey
SMOOTH, BEND = 4, 18  # of the field that bends a rendered digit: deviation of its smoothing, strength, in pixels
FONTS = (
    *(f"DejaVuSans{style}.ttf" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSansMono{style}.ttf" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSerif{style}.ttf" for style in ("", "-Bold", "-Italic", "-BoldItalic")),
    *(f"STIXGeneral{style}.ttf" for style in ("", "Bol", "Italic", "BolIta")),
    *(f"{family}.ttf" for family in ("cmr10", "cmb10", "cmss10", "cmti10", "cmtt10")),
)


class Digits(Dataset):
    """Handwritten digits (O), the same kind of digits over photographs (P), digits rendered from fonts (S).

    O and P take disjoint, stratified halves of scikit-learn's 1,797 optdigits; P blends its half with crops
    of scikit-learn's two sample photographs, the recipe of MNIST-M; S draws 2,000 digits with the fonts that
    matplotlib ships, the recipe of SYN NUMBERS. Samples are ``(32, 32, 3)`` uint8 images.

    Parameters
    ----------
    tasks : str
        The tasks that a sweep takes by default: ``O-P,O-S,P-O``.
    cache : str
        Folder that keeps the images after the first use. The seed is fixed: one set of package versions makes
        one set of images, and the file's name carries a fingerprint of those versions.
    recipe : int
        Version of the recipe; stands in the configuration so that records of other images are not mistaken for these.

    References
    ----------
    Y. Ganin and V. Lempitsky. Unsupervised domain adaptation by backpropagation. ICML 2015, section 4
    (MNIST-M and SYN NUMBERS), arXiv 1409.7495.
    E. Alpaydin and C. Kaynak. Optical recognition of handwritten digits. UCI Machine Learning Repository,
    1998.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     task = Digits(tasks="O-P", cache=folder).task("O-P")
    >>> task.source.x.shape, task.target.x.shape
    ((899, 32, 32, 3), (898, 32, 32, 3))
    """

    name = "digits"
    domains: Mapping[str, str] = {"O": "optdigits", "P": "photo", "S": "synthetic"}
    classes = tuple("0123456789")

    def __init__(self, *, tasks: str, cache: str, recipe: Literal[3] = RECIPE) -> None:
        super().__init__(tasks=tasks)
        self.cache = Path(cache)

    def load(self, name: str) -> Domain:
        """Read one domain, its arrays read-only; all three are built first if the cache lacks them."""
        if name not in self.domains:
            raise unknown(f"domain of {self.name}", name, self.domains)
        path = built(self.cache / f"digits-{fingerprint()}.safetensors", build)
        with reading(path), safe_open(path, framework="numpy") as stored:
            x, y = stored.get_tensor(f"{name}.x"), stored.get_tensor(f"{name}.y")
        x.setflags(write=False)
        y.setflags(write=False)
        return Domain(name, x, y)


def fingerprint() -> str:
    """Identify what determines the pixels: this recipe, and the packages that carry or draw the images."""
    packages = ("scikit-learn", "matplotlib", "pillow", "numpy", "scipy")
    parts = (f"recipe {RECIPE}", *(f"{package} {version(package)}" for package in packages))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def build(path: Path) -> None:
    """Make the three domains and write them to `path`, as tensors ``O.x``, ``O.y``, ``P.x`` and so on."""
    split, crops, text = np.random.default_rng(SEED).spawn(3)
    bunch = load_digits()
    plain, blended = halves(bunch.target, split)
    photographs = load_sample_images().images
    images = {
        "O": np.stack([np.stack([enlarge(small)] * 3, axis=-1) for small in bunch.images[plain]]),
        "P": np.stack(
            [photo_blend(enlarge(small), random_patch(photographs, crops)) for small in bunch.images[blended]]
        ),
    }
    labels = {"O": bunch.target[plain], "P": bunch.target[blended]}
    images["S"], labels["S"] = synthetic(RENDERED, text)
    save_file(
        {f"{name}.x": x for name, x in images.items()}
        | {f"{name}.y": y.astype(np.int64) for name, y in labels.items()},
        path,
    )


def halves(y: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Split the indices of `y` at random into two halves whose class counts differ by at most one."""
    order = rng.permutation(len(y))
    order = order[np.argsort(y[order], kind="stable")]
    return np.sort(order[::2]), np.sort(order[1::2])


def enlarge(small: np.ndarray) -> np.ndarray:
    """Upsample an 8 x 8 digit of values 0 .. 16 to a 32 x 32 uint8 one with a margin, white on black.

    Interpolating 8 x 8 pixels leaves wide grey slopes; the smoothstep ``3 t^2 - 2 t^3`` over the middle of
    the range gives strokes the edges of a scanned digit.
    """
    padded = Image.fromarray(np.pad(small, 1).astype(np.float32))
    smooth = np.asarray(padded.resize((SIDE, SIDE), Image.Resampling.LANCZOS)) / 16
    t = np.clip((smooth - 0.3) / 0.5, 0, 1)
    return to_bytes(255 * t**2 * (3 - 2 * t))


def photo_blend(digit: np.ndarray, patch: np.ndarray) -> np.ndarray:
    """Blend a digit with a patch: ``|digit - patch|`` for each colour, so that the digit inverts the patch.

    Parameters
    ----------
    digit : ndarray of uint8, shape (h, w)
        White strokes on black.
    patch : ndarray of uint8, shape (h, w, 3)
        Piece of a photograph.

    Returns
    -------
    ndarray of uint8, shape (h, w, 3)
    """
    return to_bytes(np.abs(digit[:, :, None] - patch.astype(np.float64)))


def random_patch(photographs: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Cut a square of 32 to 128 pixels from one of the photographs, mirror it at random, resize it to 32."""
    photograph = photographs[rng.integers(len(photographs))]
    side = rng.integers(SIDE, 4 * SIDE, endpoint=True)
    top, left = (rng.integers(length - side, endpoint=True) for length in photograph.shape[:2])
    square = photograph[top : top + side, left : left + side]
    if rng.random() < 0.5:
        square = square[:, ::-1]
    return np.asarray(Image.fromarray(square).resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def synthetic(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Render `count` digits, equally many of each class in random order, in random fonts; return images and labels."""
    y = rng.permutation(np.arange(count) % 10)
    return np.stack([render(int(digit), rng.choice(FONTS), rng) for digit in y]), y


def render(digit: int, font: str, rng: np.random.Generator) -> np.ndarray:
    """Draw one digit at a random place, angle, size, weight and intensity, bent as by a hand; blur it, add noise.

    Parameters
    ----------
    digit : int
        What to draw.
    font : str
        One of `FONTS`.
    rng : Generator
        Source of everything random.

    Returns
    -------
    ndarray of uint8, shape (32, 32, 3)
    """
    ink = stencil(
        str(digit),
        typeface(font, int(rng.integers(28 * FINE, 38 * FINE))),
        weight=int(rng.integers(1, FINE)),
        shift=rng.uniform(-2, 2, size=2),
        angle=rng.uniform(-12, 12),
    )
    ink = bent(ink, slant=rng.uniform(-0.35, 0.35), stretch=rng.uniform(0.8, 1.25, size=2), rng=rng)[:, :, None]
    background, stroke = two_intensities(rng)
    slope = rng.uniform(-40, 40, size=(2, 1, 1, 3))  # change of each colour from edge to edge: down, across
    ramp = np.linspace(-0.5, 0.5, SIDE)
    paper = background + slope[0] * ramp[:, None, None] + slope[1] * ramp[None, :, None]
    clean = Image.fromarray(to_bytes(paper + ink * (stroke - paper)))
    blurred = np.asarray(clean.filter(ImageFilter.GaussianBlur(rng.uniform(0, 1.2))))
    return to_bytes(blurred + rng.normal(0, rng.uniform(0, 15), size=blurred.shape))


def stencil(text: str, font: ImageFont.FreeTypeFont, *, weight: int, shift: np.ndarray, angle: float) -> np.ndarray:
    """Return how much of each of 32 x 32 pixels a digit covers, 0 .. 1.

    Parameters
    ----------
    text : str
        The digit.
    font : FreeTypeFont
        At `FINE` times its size in the image.
    weight : int
        Thickening of the strokes on each side, in pixels divided by `FINE`.
    shift : ndarray of shape (2,)
        Right and down from the image's centre to the middle of the digit's box, in pixels.
    angle : float
        Counter-clockwise, about the image's centre, in degrees.
    """
    canvas = Image.new("L", (SIDE * FINE, SIDE * FINE))
    box = np.reshape(font.getbbox(text, anchor="ls"), (2, 2))  # (left, top), (right, bottom)
    x, y = FINE * (SIDE / 2 + shift) - box.mean(axis=0)
    ImageDraw.Draw(canvas).text((x, y), text, fill=255, font=font, anchor="ls", stroke_width=weight)
    turned = canvas.rotate(angle, Image.Resampling.BICUBIC)
    return np.asarray(turned.reduce(FINE)) / 255


def bent(ink: np.ndarray, *, slant: float, stretch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Stretch a stencil (32, 32) down and across, slant it, and move its pixels by a smooth random field.

    References
    ----------
    P. Simard, D. Steinkraus, J. Platt. Best practices for convolutional neural networks applied to visual document
    analysis. ICDAR 2003, section 2 (elastic distortions).
    """
    centre = (SIDE - 1) / 2
    offset = np.indices(ink.shape) - centre  # (2, 32, 32)
    down, across = offset[0] / stretch[0], offset[1] / stretch[1] + slant * offset[0]
    field = np.stack([gaussian_filter(rng.uniform(-1, 1, ink.shape), SMOOTH) for _ in range(2)])
    drawn: np.ndarray = map_coordinates(ink, np.stack([down, across]) + centre + BEND * field, order=1)
    return drawn


def two_intensities(rng: np.random.Generator) -> np.ndarray:
    """Draw background and stroke, shape ``(2, 3)``: greys whose intensities differ by `CONTRAST`, slightly tinted."""
    while True:
        greys = rng.uniform(0, 255, size=(2, 1))
        if abs(greys[0, 0] - greys[1, 0]) > CONTRAST:
            tinted: np.ndarray = np.clip(greys + rng.uniform(-TINT, TINT, size=(2, 3)), 0, 255)
            return tinted


@cache
def typeface(font: str, size: int) -> ImageFont.FreeTypeFont:
    """Open one of matplotlib's fonts; the basic layout draws the same with and without the Raqm library."""
    path = Path(matplotlib.get_data_path(), "fonts", "ttf", font)
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)


def to_bytes(image: np.ndarray) -> np.ndarray:
    """Round an image to the nearest of 0 .. 255."""
    rounded: np.ndarray = np.rint(np.clip(image, 0, 255)).astype(np.uint8)
    return rounded
