"""The codebook of how things move in films: for each histogram principal components, and a mixture of Gaussians.

    pip install scikit-learn
    python recipes/builtin_motion_codebook.py --artifact src/muybridge/weights/motion.safetensors

Learned without labels, from sports clips of UCF101, scenes with people, and the training part of the dark clips. Of
these only the dark ones are in the sets that recognition is measured on, and none of their test part across scenes. A
few minutes of one core.
"""

import argparse
from contextlib import closing
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from sklearn.mixture import GaussianMixture  # pyright: ignore[reportMissingImports]
from torch import Tensor

from muybridge.data.clips.dataset import open_clip
from muybridge.data.clips.motion import MotionReader
from muybridge.models.dense_motion.codebook import Codebook, Mixture
from muybridge.models.dense_motion.descriptors import SIZES, MotionConfig

# Of --data; what is licensed for non-commercial use is left out.
FILMS = (
    "boxes/ucf24/*.mp4",
    "people/*.mp4",
    "people/*.avi",
    "misc/*.mp4",
    "misc/*.avi",
    "clips/dark_actions/train/*/*.mp4",
)
LEFT_OUT = ("schoolgirls.mp4",)
STRETCH = 2.0  # seconds
MOST_STRETCHES = 8  # of a film, so that no long one speaks for all
OF_A_STRETCH = 250
COMPONENTS, GAUSSIANS, ITERATIONS = 48, 64, 40


def descriptors_of(path: Path, random: np.random.Generator) -> list[Tensor]:
    """Some (n, D) of each stretch of a film."""
    with closing(open_clip(path)) as source:
        duration = float(source.info.duration_seconds or STRETCH)
        starts = np.arange(0, max(duration - STRETCH / 2, 0.1), STRETCH)
        starts = sorted(random.choice(starts, min(len(starts), MOST_STRETCHES), replace=False).tolist())
        reader, found = MotionReader(MotionConfig()), []
        for frame in source:
            while starts and frame.pts_seconds > starts[0] + STRETCH:
                found.append(reader.between(starts[0], starts[0] + STRETCH))
                reader.forget(starts.pop(0) + STRETCH)
            if not starts:
                break
            if frame.pts_seconds >= starts[0] - 0.1:
                reader.see(frame)
        found += [reader.between(start, start + STRETCH) for start in starts]
    return [each[random.permutation(len(each))[:OF_A_STRETCH].tolist()] for each in found if len(each)]


def mixture_of(points: Tensor) -> Mixture:
    """Principal components, whitened, and a mixture fitted to them, of (n, D)."""
    center = points.mean(dim=0)
    values, vectors = torch.linalg.eigh(torch.cov((points - center).double().mT))
    components = (vectors[:, -COMPONENTS:] / (values[-COMPONENTS:] + 1e-6).sqrt()).flip(1).float()
    fitted = GaussianMixture(
        GAUSSIANS,
        covariance_type="diag",
        max_iter=ITERATIONS,
        reg_covar=1e-3,
        init_params="k-means++",
        random_state=0,
    ).fit(((points - center) @ components).numpy())
    learned = (torch.from_numpy(x).float() for x in (fitted.weights_, fitted.means_, fitted.covariances_))
    return Mixture(center, components, *learned)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--artifact", type=Path, required=True)
    args = parser.parse_args()
    random = np.random.default_rng(0)
    found: list[Tensor] = []
    for path in sorted(path for pattern in FILMS for path in args.data.glob(pattern) if path.name not in LEFT_OUT):
        parts = descriptors_of(path, random)
        found += parts
        print(f"{path.name}: {sum(map(len, parts))} descriptors of {len(parts)} stretches", flush=True)
    every = torch.cat(found)
    print(f"{len(every)} descriptors in all")
    parts = every.split(list(SIZES.values()), dim=1)
    mixtures = {name: mixture_of(part) for name, part in zip(SIZES, parts, strict=True)}
    codebook = Codebook(mixtures, MotionConfig())
    save_file({name: tensor.contiguous() for name, tensor in codebook.tensors().items()}, args.artifact)
    print(f"{args.artifact}: vectors of {codebook.length}, hash {codebook.hash[:12]}")


if __name__ == "__main__":
    main()
