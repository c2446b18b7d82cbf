"""Makes `docs/pictures/stylize.jpg`: the photographs that ship, painted in styles that ship.

python recipes/readme_picture.py
"""

from pathlib import Path

import numpy as np

from muybridge import Stylizer
from muybridge.media.images import read_image, resize_image, write_image
from muybridge.stylize.styles import built_in_style

ROOT = Path(__file__).parents[1]
STYLES = ("ember", "glass", "marble", "woodcut", "tesserae", "comic")
CELL, GAP = 160, 4


def square(rgb: np.ndarray) -> np.ndarray:
    side = min(rgb.shape[:2])
    y, x = (rgb.shape[0] - side) // 2, (rgb.shape[1] - side) // 2
    return rgb[y : y + side, x : x + side]


def main() -> None:
    stylizer = Stylizer.from_pretrained(device="cpu")
    styles = {name: built_in_style(name, size=2 * CELL) for name in STYLES}
    rows = [[np.full((CELL, CELL, 3), 255, np.uint8), *styles.values()]]
    for path in sorted((ROOT / "src" / "muybridge" / "pictures").glob("*.jpg")):
        photo = resize_image(square(read_image(path).rgb), 2 * CELL, 2 * CELL)
        rows.append([photo, *(stylizer(photo, style, style_size=2 * CELL) for style in styles.values())])
    sheet = np.full((len(rows) * (CELL + GAP) - GAP, len(rows[0]) * (CELL + GAP) - GAP, 3), 255, np.uint8)
    for y, row in enumerate(rows):
        for x, cell in enumerate(row):
            top, left = y * (CELL + GAP), x * (CELL + GAP)
            sheet[top : top + CELL, left : left + CELL] = resize_image(cell, CELL, CELL)
    write_image(ROOT / "docs" / "pictures" / "stylize.jpg", sheet)


if __name__ == "__main__":
    main()
