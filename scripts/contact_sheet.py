"""Write one PNG per domain of the digits: a row of random samples for each class, the class at the left.

python scripts/contact_sheet.py --output sheets
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tda.data.digits import Digits
from tda.task import Domain

ZOOM = 2
GAP = 4
EDGE = 32


def main() -> None:
    arguments = parse()
    arguments.output.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as folder:
        digits = Digits(tasks="O-P", cache=str(arguments.dataset_cache or folder))
        for name in arguments.domain:
            path = arguments.output / f"digits-{digits.domains[name]}.png"
            sheet(digits.domain(name), digits.classes, arguments.rows, arguments.columns).save(path)
            print(path)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset-cache", type=Path, help="folder of the cached images (default: build them anew)")
    parser.add_argument("--domain", nargs="+", choices=Digits.domains, default=list(Digits.domains))
    parser.add_argument("--rows", type=int, default=1, help="rows of samples for each class")
    parser.add_argument("--columns", type=int, default=20, help="samples in a row")
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER")
    return parser.parse_args()


def sheet(domain: Domain, classes: tuple[str, ...], rows: int, columns: int) -> Image.Image:
    rng = np.random.default_rng(0)
    cell = domain.x.shape[1] * ZOOM + GAP
    page = Image.new("RGB", (EDGE + columns * cell, len(classes) * rows * cell), "white")
    draw = ImageDraw.Draw(page)
    font = ImageFont.load_default(size=24)
    for label, title in enumerate(classes):
        top = label * rows * cell
        draw.text((EDGE // 2, top + cell // 2), title, fill="black", font=font, anchor="mm")
        chosen = rng.choice(np.flatnonzero(domain.y == label), size=rows * columns, replace=False)
        for place, index in enumerate(chosen):
            row, column = divmod(place, columns)
            image = Image.fromarray(domain.x[index]).resize((cell - GAP,) * 2, Image.Resampling.NEAREST)
            page.paste(image, (EDGE + column * cell, top + row * cell))
    return page


if __name__ == "__main__":
    main()
