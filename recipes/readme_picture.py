"""Makes `docs/pictures/stylize.jpg`: the photographs that ship, each in three of the styles that ship.

python recipes/readme_picture.py
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from muybridge import Stylizer
from muybridge.media.images import read_image, resize_image, write_image
from muybridge.stylize.styles import built_in_style

RGB = NDArray[np.uint8]
ROOT = Path(__file__).parents[1]
STYLES_OF = {
    "chelsea": ("ember", "comic", "meadow"),
    "coffee": ("ember", "tesserae", "woodcut"),
    "rocket": ("comic", "ember", "tesserae"),
}
PAINTED, CELL, GAP, INSET, RIM = 576, 288, 4, 64, 3


def square(rgb: RGB) -> RGB:
    side = min(rgb.shape[:2])
    y, x = (rgb.shape[0] - side) // 2, (rgb.shape[1] - side) // 2
    return np.ascontiguousarray(rgb[y : y + side, x : x + side])


def with_inset(painting: RGB, style: RGB) -> RGB:
    """A painting with its style in the lower right corner."""
    shown = painting.copy()
    shown[-INSET - RIM :, -INSET - RIM :] = 255
    shown[-INSET:, -INSET:] = resize_image(style, INSET, INSET)
    return shown


def main() -> None:
    stylizer = Stylizer.from_pretrained(device="cpu")
    rows: list[RGB] = []
    for name, styles in STYLES_OF.items():
        photo = square(read_image(ROOT / "src" / "muybridge" / "pictures" / f"{name}.jpg").rgb)
        photo = resize_image(photo, PAINTED, PAINTED)
        cells = [resize_image(photo, CELL, CELL)]
        for style in styles:
            painting = resize_image(stylizer(photo, style), CELL, CELL)
            cells.append(with_inset(painting, built_in_style(style, size=PAINTED)))
        gap = np.full((CELL, GAP, 3), 255, np.uint8)
        rows.append(np.concatenate([part for cell in cells for part in (cell, gap)][:-1], axis=1))
    gap = np.full((GAP, rows[0].shape[1], 3), 255, np.uint8)
    sheet = np.concatenate([part for row in rows for part in (row, gap)][:-1], axis=0)
    write_image(ROOT / "docs" / "pictures" / "stylize.jpg", sheet)


if __name__ == "__main__":
    main()
