"""Does the ACAR head read what a person does off the other? UT-Interaction's roles, one sequence left out at a time.

    python recipes/localizer_relations.py --seeds 0 1 2

Kicks or is kicked, punches or is punched, pushes or is pushed, hugs, shakes hands, points: per person, on 60 clips in
ten sequences, moments while it happens. Two heads on the same frozen maps, boxes, draws and steps: the baseline reads
a person's box alone, ACAR relates it to places and to the other. "Painted" asks the same heads about frames in which
everything on the other's side of the line midway between the two was painted over. "Linear" is the baseline head
on all of the trunk's channels, after 80 steps of LBFGS and at the minimum of its loss.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from builtin_localizer import People, average_precision, build, fit, fit_to_minimum, probabilities, vectors_of
from localizer_acar import Head, Item, Projection, fit_head, item_of, logits_of, new_head, projection_of
from localizer_labels import NAMES, Moment, moments
from localizer_moments import Frames, Kept, Video, kept_file, load, maps_of, videos
from torch import Tensor

from muybridge.models.acar.image_trunk import ImageTrunk

ROLES = ("kick", "be kicked", "punch", "be punched", "push", "be pushed", "hug", "shake hands", "point")
ON_THE_OTHER = ROLES[:6]
HEADS = ("baseline", "acar")


def roles(args: argparse.Namespace) -> list[tuple[Video, Moment]]:
    """Moments of the 60 clips."""
    found: list[tuple[Video, Moment]] = []
    for video in videos(args.data):
        path = kept_file(args.out, video)
        if video.set == "ut_interaction" and path.exists():
            found += [(video, moment) for moment in moments(video, load(path, maps=False))]
    return found


def painted(video: Video, moment: Moment, kept: Kept, args: argparse.Namespace, projection: Projection) -> list[Item]:
    """For each of two people, the moment without the other; only that person is asked about."""
    asked = torch.nonzero(moment.known.any(1))[:, 0].tolist()
    if len(asked) != 2:
        return []
    built = args.built
    assert isinstance(built.network.trunk, ImageTrunk)
    clip = Frames(args.data / video.name, built.sampling).clip(float(kept.seconds[moment.place]))
    width = clip.shape[-1]
    centres = [(moment.boxes[i][0] + moment.boxes[i][2]) / 2 * width for i in asked]
    middle = round(sum(centres) / 2)
    items: list[Item] = []
    for row, centre in zip(asked, centres, strict=True):
        hidden = clip.clone()
        colour = clip.float().mean((0, 2, 3)).to(torch.uint8)[None, :, None, None]
        if centre < middle:
            hidden[..., middle:] = colour
        else:
            hidden[..., :middle] = colour
        fine, coarse = maps_of(hidden, built.network.trunk, built.sampling)
        box = torch.from_numpy(moment.boxes[row : row + 1])
        known, targets = moment.known[row : row + 1], moment.targets[row : row + 1]
        items.append(Item(projection(fine, coarse), box, targets, known, moment.group))
    return items


def mean_ap(answers: Sequence[tuple[Tensor, Tensor]], names: Sequence[str]) -> tuple[float, dict[str, float]]:
    """Of (scores, targets) of people, over classes."""
    scores, targets = (torch.cat(parts) for parts in zip(*answers, strict=True))
    each = {name: average_precision(scores[:, NAMES.index(name)], targets[:, NAMES.index(name)]) for name in names}
    return float(np.mean(list(each.values()))), each


def linear(
    found: Sequence[tuple[Video, Moment]],
    sequences: Sequence[str],
    args: argparse.Namespace,
    fitted: Callable[[People], tuple[Tensor, Tensor]],
) -> list[tuple[Tensor, Tensor]]:
    """Probabilities and targets of everybody, by linear heads that have not seen their sequence."""
    rows = [(moment, vectors_of(kept_file(args.out, video), moment, margin=args.margin)) for video, moment in found]
    parts = [(vectors[m.known.any(1)], m.targets[m.known.any(1)], m.known[m.known.any(1)]) for m, vectors in rows]
    groups = [moment.group for moment, _ in rows for _ in range(int(moment.known.any(1).sum()))]
    vectors, targets, known = (torch.cat(part) for part in zip(*parts, strict=True))
    everybody = People(vectors, targets, known, groups, groups)
    answers: list[tuple[Tensor, Tensor]] = []
    for left_out in sequences:
        unseen = torch.tensor([group == left_out for group in groups])
        weight, bias = fitted(everybody.part(torch.nonzero(~unseen)[:, 0]))
        answers.append((probabilities(vectors[unseen] @ weight.T + bias), targets[unseen]))
    return answers


@torch.no_grad()
def asked(head: Head, items: Sequence[Item]) -> list[tuple[Tensor, Tensor]]:
    """Probabilities and targets of those of whom something is known."""
    found: list[tuple[Tensor, Tensor]] = []
    for item in items:
        rows = item.known.any(1)
        found.append((probabilities(logits_of(head, item))[rows], item.targets[rows]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("runs/localizer_moments"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--margin", type=float, default=0.0)
    args = parser.parse_args()
    args.built = build("acar")
    every = [kept_file(args.out, video) for video in videos(args.data) if video.set == "jhmdb"]
    projection = projection_of([path for path in every if path.exists()][::8])
    found = roles(args)
    items = [item_of(kept_file(args.out, video), moment, projection) for video, moment in found]
    hidden: dict[int, list[Item]] = {}
    for index, (video, moment) in enumerate(found):
        kept = load(kept_file(args.out, video), maps=False)
        hidden[index] = painted(video, moment, kept, args, projection)
    sequences = sorted({item.group for item in items})
    print(f"{len(items)} moments, {sum(map(len, hidden.values()))} people painted around, {len(sequences)} sequences")
    for name, fitted in (("80 steps", fit), ("at the minimum", fit_to_minimum)):
        answers = linear(found, sequences, args, fitted)
        (value, by_class), (on_the_other, _) = mean_ap(answers, ROLES), mean_ap(answers, ON_THE_OTHER)
        print(f"linear, {name}: all roles {100 * value:.1f}, on the other {100 * on_the_other:.1f}")
        print("  ", {role: round(100 * each) for role, each in by_class.items()}, flush=True)
    results: dict[str, list[float]] = defaultdict(list)
    for seed in args.seeds:
        for kind in HEADS:
            seen: list[tuple[Tensor, Tensor]] = []
            unseen: list[tuple[Tensor, Tensor]] = []
            for left_out in sequences:
                torch.manual_seed(seed)
                head = new_head(kind, projection.width, margin=args.margin)
                fit_head(head, [item for item in items if item.group != left_out], epochs=args.epochs, seed=seed)
                test = [index for index, item in enumerate(items) if item.group == left_out]
                seen += asked(head, [items[index] for index in test])
                unseen += asked(head, [item for index in test for item in hidden[index]])
            for name, answers in (("both seen", seen), ("other painted out", unseen)):
                for which, classes in (("all roles", ROLES), ("on the other", ON_THE_OTHER)):
                    if name == "other painted out":
                        classes = [each for each in classes if each != "point"]
                    value, by_class = mean_ap(answers, classes)
                    results[f"{kind}, {name}, {which}"].append(value)
                print(f"seed {seed} {kind} {name}", {n: round(100 * v) for n, v in by_class.items()}, flush=True)
    for name, values in results.items():
        print(f"{name:45} {100 * np.mean(values):.1f}  ({', '.join(f'{100 * v:.1f}' for v in values)})")
    print(json.dumps(dict(results.items())))


if __name__ == "__main__":
    main()
