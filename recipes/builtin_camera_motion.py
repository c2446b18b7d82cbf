"""Gives the built-in `camera` a look at the picture's own motion: a linear classifier on `CameraMotion`'s numbers.

    python recipes/builtin_camera_motion.py --seeds 0 1 2
    python recipes/builtin_camera_motion.py --network src/muybridge/weights/camera.safetensors --artifact FILE

The network is the one that `recipes/builtin_recognizer.py` made, and stays as it is. A move's log-odds are the
logarithm of its way, those of a static camera a constant: the longest way wins. Two numbers are fitted, how sure that
makes, and below which way a camera is static, to clips made as that recipe makes its last part's, but longer and
wider, of the same photographs: a hand's unrest and things that move in front are in all of them, also in those of a
still camera. No real video is seen.

A classifier of free numbers (`--free`) learns that moves are pure, which those of made clips are: whatever turns a
little then is a roll. Of each clip's numbers those of the same mirrored, upside down and backwards follow for it
without another look.
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
from muybridge.models.dense_motion.camera import LITTLE, MOVES, CameraMotion
from muybridge.recognize.motion import MotionReadout, fit_motion
from muybridge.recognize.recognizer import Recognizer
from muybridge.stage.camera import CAMERA_MOVES, OPPOSITE_MOVES, camera_clip

CLIPS_A_MOVE = 24
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


def longest_way(sure: Tensor, still: Tensor) -> Tensor:
    """(K, M) of a classifier whose log-odds of a move are `sure` times its way's logarithm, as vectors have it, where
    it goes that way, and of a static camera `sure` times `still`."""
    numbers = CameraMotion().length
    weight = torch.zeros(len(CAMERA_MOVES), numbers)
    for row, move in enumerate(CAMERA_MOVES[1:], 1):
        column = 1 + MOVES.index(move.split()[0])
        # The half of what has a sign and the half of what has none cancel out in the opposite way.
        weight[row, column] = 0.5 if row % 2 else -0.5
        weight[row, column + len(MOVES)] = 0.5
    static = F.one_hot(torch.tensor(0), weight.numel()).float().view_as(weight)
    return sure * (weight + still * static)


def fitted(photos: list[Path], seed: int, *, free: bool) -> MotionReadout:
    vectors, labels = made_clips(photos, seed, CLIPS_A_MOVE)
    if free:
        vectors, labels = turned(vectors, labels)
        truth = F.one_hot(labels, len(CAMERA_MOVES)).float()
        return fit_motion(CameraMotion(), vectors, truth, multi_label=False)
    logarithms = torch.zeros(2, requires_grad=True)
    optimizer = torch.optim.LBFGS([logarithms], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(vectors @ longest_way(*logarithms.exp()).mT, labels)
        value.backward()
        return value

    optimizer.step(loss)  # pyright: ignore[reportArgumentType]
    sure, still = logarithms.detach().exp()
    print(f"{sure:.2f} times the logarithm; static below {LITTLE * float(still.expm1()):.4f} of the width")
    # As a model file keeps it.
    return MotionReadout(CameraMotion(), longest_way(sure, still).half().float(), torch.zeros(len(CAMERA_MOVES)))


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
        readout = fitted(train, seed, free=args.free)
        both = right(readout.joined(network, vectors, multi_label=False), labels)
        print(
            f"seed {seed}: numbers alone {right(alone(readout, vectors), labels):.1%} of these, with the network "
            f"{both:.1%}; alone {right(alone(readout, long_vectors), long_labels):.1%} of {len(long_labels)} clips "
            f"of {', '.join(map(str, LENGTHS))} frames",
            flush=True,
        )
        if args.artifact and seed == args.seeds[0]:
            recognizer.motion = readout
            recognizer.scores |= {f"with motion, {len(labels)} clips": both}
            recognizer.provenance["motion"] = "recipes/builtin_camera_motion.py, seed " + str(seed)
            recognizer.save(args.artifact)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--network", default="camera", help="whose network is taken")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the made clips; the first is kept")
    parser.add_argument("--tested", type=int, default=30, help="held-out clips of each move")
    parser.add_argument("--free", action="store_true", help="fit all numbers of the classifier, to compare")
    parser.add_argument("--artifact", type=Path, help="model file to write")
    run(parser.parse_args())


if __name__ == "__main__":
    main()
