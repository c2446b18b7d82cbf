"""Gives the built-in `camera` a look at the picture's own motion: a linear classifier on `CameraMotion`'s numbers.

    python recipes/builtin_camera_motion.py --seeds 0 1 2
    python recipes/builtin_camera_motion.py --network src/muybridge/weights/camera.safetensors --artifact FILE

The network is the one that `recipes/builtin_recognizer.py` made, and stays as it is. The classifier is fitted to
clips made as that recipe makes its last part's, but longer and wider, of the same photographs: a hand's unrest and
things that move in front are in all of them, also in those of a still camera. Of each clip's numbers those of the
same mirrored, upside down and backwards follow without another look. No real video is seen.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from builtin_backbone import larger_photos
from builtin_recognizer import FILM_CLIPS, RGB, held_out_clips, read_photo
from torch import Tensor

from muybridge.data.clips.motion import motion_vector
from muybridge.models.dense_motion.camera import MOVES, CameraMotion
from muybridge.recognize.motion import MotionReadout, fit_motion
from muybridge.recognize.recognizer import Recognizer
from muybridge.stage.camera import CAMERA_MOVES, OPPOSITE_MOVES, camera_clip

CLIPS_A_MOVE = 48
# Frames of a clip, each as often: few are far apart, as clips given as arrays are; many are near, as in film.
LENGTHS = (8, 16, 32)
SIZE = (120, 160)
# Which of pan, tilt, zoom and roll turn round in a clip that is mirrored, upside down, backwards.
_TURNED = torch.tensor([[-1.0, 1, 1, -1], [1, -1, 1, -1], [-1, -1, -1, -1]])


def made_clips(photos: list[Path], seed: int, a_move: int) -> tuple[Tensor, Tensor]:
    """Vectors (N, M) of as many clips of each move, and which move it is, (N,) int64."""
    vectors, labels = [], []
    for number in range(a_move):
        random = np.random.default_rng([seed, number])
        config = replace(FILM_CLIPS, frames=LENGTHS[number % len(LENGTHS)], height=SIZE[0], width=SIZE[1])
        chosen = [read_photo(photos[int(i)]) for i in random.integers(0, len(photos), len(CAMERA_MOVES))]
        for label, move in enumerate(CAMERA_MOVES):
            others = [chosen[label - 1], chosen[label - 2]]
            clip = camera_clip(
                chosen[label], move=move, seed=int(random.integers(1 << 40)), config=config, foregrounds=others
            )
            vectors.append(motion_vector(clip, CameraMotion()))
            labels.append(label)
    return torch.stack(vectors), torch.tensor(labels)


def turned(vectors_NM: Tensor, labels_N: Tensor) -> tuple[Tensor, Tensor]:
    """Beside each clip the same mirrored, upside down, backwards, and all of these together: (8 N, ...)."""
    for turns in _TURNED:
        signs = torch.cat([torch.ones(1), turns, torch.ones(len(MOVES))])
        renamed = []
        for move in CAMERA_MOVES:
            kind = move.split()[0]
            turns_round = kind in MOVES and turns[MOVES.index(kind)] < 0
            renamed.append(CAMERA_MOVES.index(OPPOSITE_MOVES[move] if turns_round else move))
        vectors_NM = torch.cat([vectors_NM, vectors_NM * signs])
        labels_N = torch.cat([labels_N, torch.tensor(renamed)[labels_N]])
    return vectors_NM, labels_N


def fitted(photos: list[Path], seed: int) -> MotionReadout:
    vectors, labels = turned(*made_clips(photos, seed, CLIPS_A_MOVE))
    truth = F.one_hot(labels, len(CAMERA_MOVES)).float()
    return fit_motion(CameraMotion(), vectors, truth, multi_label=False)


def right(probabilities_NK: Tensor, labels_N: Tensor) -> float:
    return float((probabilities_NK.argmax(dim=1) == labels_N).float().mean())


def alone(readout: MotionReadout, vectors_NM: Tensor) -> Tensor:
    knows_nothing = torch.full((len(vectors_NM), len(CAMERA_MOVES)), 1 / len(CAMERA_MOVES))
    return readout.joined(knows_nothing, vectors_NM, multi_label=False)


def run(args: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    train, test = larger_photos(args.data)
    long_vectors, long_labels = made_clips(test, 1_000, args.tested)
    tested: list[RGB] = [read_photo(path) for path in test[: args.tested]]
    clips, labels = held_out_clips(tested, args.tested)
    films = [clip.permute(0, 2, 3, 1).numpy() for clip in clips]
    vectors = torch.stack([motion_vector(film, CameraMotion()) for film in films])
    recognizer = Recognizer.from_pretrained(args.network, device="cpu")
    recognizer.motion = None
    network = torch.stack([answer.probabilities for film in films for answer in recognizer.batch([film])])
    print(f"network alone: {right(network, labels):.1%} of {len(labels)} clips of 8 frames of 112x112")
    for seed in args.seeds:
        readout = fitted(train, seed)
        both = right(readout.joined(network, vectors, multi_label=False), labels)
        print(
            f"seed {seed}: numbers alone {right(alone(readout, vectors), labels):.1%} of these, with the network "
            f"{both:.1%}; alone {right(alone(readout, long_vectors), long_labels):.1%} of {len(long_labels)} clips "
            f"of {', '.join(map(str, LENGTHS))} frames",
            flush=True,
        )
        if args.artifact and seed == args.seeds[0]:
            recognizer.motion = readout
            recognizer.provenance["motion"] = "recipes/builtin_camera_motion.py, seed " + str(seed)
            recognizer.save(args.artifact)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--network", default="camera", help="whose network is taken")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the made clips; the first is kept")
    parser.add_argument("--tested", type=int, default=30, help="held-out clips of each move")
    parser.add_argument("--artifact", type=Path, help="model file to write")
    run(parser.parse_args())


if __name__ == "__main__":
    main()
