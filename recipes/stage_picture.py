"""Makes `docs/pictures/stage.jpg`: frames of the stage with their boxes and actions, one scenario a row.

python recipes/stage_picture.py
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from muybridge.stage import Scene, SceneSpec

ROOT = Path(__file__).parents[1]
WIDTH, HEIGHT, GAP = 400, 225, 4
ROWS = (
    [(SceneSpec(seed=1, actors=5, width=WIDTH, height=HEIGHT, duration_seconds=3), second) for second in (0.2, 1.4)],
    [
        (SceneSpec(seed=0, scenario="relation", sibling=sibling, actors=4, width=WIDTH, height=HEIGHT), 1.0)
        for sibling in (0, 1)
    ],
)


def drawn(spec: SceneSpec, second: float) -> Image.Image:
    scene = Scene(spec)
    frame = scene[int(second * spec.rate)]
    picture = Image.fromarray(frame.pixels)
    draw = ImageDraw.Draw(picture)
    for box, actions in zip(frame.boxes_xyxy, frame.actions, strict=True):
        draw.rectangle(box.tolist(), outline=(255, 255, 255))
        text = "\n".join(scene.labels.names[column] for column in np.flatnonzero(actions))
        place = (float(box[0]) + 2, max(0.0, float(box[1]) - 11 * (1 + text.count("\n"))))
        draw.multiline_text(place, text, fill=(255, 255, 255), stroke_fill=(0, 0, 0), stroke_width=1, spacing=0)
    return picture


def main() -> None:
    sheet = Image.new("RGB", (2 * WIDTH + GAP, len(ROWS) * (HEIGHT + GAP) - GAP), "white")
    for y, row in enumerate(ROWS):
        for x, (spec, second) in enumerate(row):
            sheet.paste(drawn(spec, second), (x * (WIDTH + GAP), y * (HEIGHT + GAP)))
    sheet.save(ROOT / "docs" / "pictures" / "stage.jpg", quality=85)


if __name__ == "__main__":
    main()
