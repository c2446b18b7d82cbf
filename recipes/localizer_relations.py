"""Does the ACAR head read what a person does off the other? UT-Interaction's roles, one sequence left out at a time.

    python recipes/localizer_relations.py --seeds 0 1 2

Kicks or is kicked, punches or is punched, pushes or is pushed, hugs, shakes hands, points: per person, on 60 clips in
ten sequences, moments while it happens. Two heads on the same frozen maps, boxes, draws and steps: the baseline reads
a person's box alone, ACAR relates it to places and to the other. "Painted" asks the same heads about frames in which
everything on the other's side of the line midway between the two was painted over. "Linear" is the baseline head
on all of the trunk's channels, after 80 steps of LBFGS and at the minimum of its loss; "with linear" is the mean of a
head's answers and of its, after 80 steps. "With motion" adds the log-odds of a linear classifier on how each person
moves (`localizer_motion.py`), fitted to the same sequences. With --attention, what the first seed's ACAR head looks
at in a moment of each clip of the sequence that it has not seen is drawn into a folder.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from builtin_localizer import (
    People,
    average_precision,
    build,
    fit,
    fit_motion,
    fit_to_minimum,
    probabilities,
    vectors_of,
)
from localizer_acar import Head, Item, Projection, fit_head, item_of, logits_of, new_head, projection_of
from localizer_labels import NAMES, POSES, Moment, moments
from localizer_moments import Frames, Kept, Video, kept_file, load, maps_of, videos
from localizer_motion import motion_of_moments
from PIL import Image
from torch import Tensor

from muybridge.localize.attention import draw_attention
from muybridge.localize.results import People as PeopleInFrame
from muybridge.models.acar.actors import Actors, ContextMap
from muybridge.models.acar.head import ACARHead
from muybridge.models.acar.image_trunk import ImageTrunk

ROLES = ("kick", "be kicked", "punch", "be punched", "push", "be pushed", "hug", "shake hands", "point")
ON_THE_OTHER = ROLES[:6]
HEADS = ("baseline", "acar")
Answers = list[tuple[Tensor, Tensor]]  # probabilities of some people, and what is true


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
) -> Answers:
    """Probabilities and targets of everybody, by linear heads that have not seen their sequence."""
    everybody = people_of(found, args)
    answers: Answers = []
    for left_out in sequences:
        unseen = torch.tensor([group == left_out for group in everybody.groups])
        weight, bias = fitted(everybody.part(torch.nonzero(~unseen)[:, 0]))
        logits = everybody.vectors[unseen] @ weight.T + bias
        answers.append((probabilities(logits), everybody.targets[unseen]))
    return answers


def people_of(found: Sequence[tuple[Video, Moment]], args: argparse.Namespace) -> People:
    """Those of whom something is known, in order."""
    parts: list[tuple[Tensor, ...]] = []
    groups: list[str] = []
    for video, moment in found:
        path, rows = kept_file(args.out, video), moment.known.any(1)
        moving = motion_of_moments(video, load(path, maps=False), [moment], args.data, args.out)[moment.place]
        vectors = vectors_of(path, moment, margin=args.margin)
        parts.append((vectors[rows], moving[rows], moment.targets[rows], moment.known[rows]))
        groups += [moment.group] * int(rows.sum())
    return People(*(torch.cat(part) for part in zip(*parts, strict=True)), groups, groups)


def motion_odds(found: Sequence[tuple[Video, Moment]], args: argparse.Namespace) -> dict[str, Tensor]:
    """Of each sequence log-odds (n, K) of its people, by a classifier that has not seen it."""
    everybody = people_of(found, args)
    odds: dict[str, Tensor] = {}
    for left_out in sorted(set(everybody.groups)):
        unseen = torch.tensor([group == left_out for group in everybody.groups])
        readout = fit_motion(everybody.part(torch.nonzero(~unseen)[:, 0]))
        odds[left_out] = readout.log_odds(everybody.motion[unseen, 0].float())
    return odds


def with_motion(answers: Answers, odds: Tensor) -> Answers:
    """Probabilities of heads and of motion multiplied.

    Args:
        odds: (N, K) of the same people in the same order.
    """
    scores, targets = (torch.cat(part) for part in zip(*answers, strict=True))
    known, poses = scores.clamp(1e-6, 1 - 1e-6), len(POSES)
    together = torch.cat([known[:, :poses].log(), known[:, poses:].logit()], dim=1) + odds
    return [(probabilities(together), targets)]


@torch.no_grad()
def asked(head: Head, items: Sequence[Item]) -> Answers:
    """Probabilities and targets of those of whom something is known."""
    found: Answers = []
    for item in items:
        rows = item.known.any(1)
        found.append((probabilities(logits_of(head, item))[rows], item.targets[rows]))
    return found


@torch.no_grad()
def draw(head: Head, item: Item, video: Video, moment: Moment, args: argparse.Namespace) -> None:
    """A picture of everybody who is asked about, what the head says of them beside what is true."""
    assert isinstance(head, ACARHead)
    context, actors = ContextMap(item.maps.float()[None]), Actors.from_clips([item.boxes])
    shares = head.attention(context, actors)[-1].numpy()
    chances = probabilities(logits_of(head, item)).numpy()
    seconds = float(load(kept_file(args.out, video), maps=False).seconds[moment.place])
    (frame,) = Frames(args.data / video.name, args.built.sampling).originals([seconds])
    count = len(moment.boxes)
    people = PeopleInFrame(moment.boxes, np.arange(count), np.ones(count, np.float32), chances)
    columns = [NAMES.index(role) for role in ROLES]
    grid = item.maps.shape[-2], item.maps.shape[-1]
    for row in torch.nonzero(item.known.any(1))[:, 0].tolist():
        said = NAMES[columns[int(chances[row, columns].argmax())]]
        true = ", ".join(NAMES[column] for column in torch.nonzero(item.targets[row])[:, 0].tolist())
        title = f"person {row}: {said}; true: {true}"
        picture = draw_attention(frame, people, row, shares[row], grid, title=title)
        args.attention.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(args.attention / f"{Path(video.name).stem}-{row}.png")


def averaged(answers: Answers, others: Answers) -> Answers:
    """Two heads' answers about the same people, taken together."""
    scores, targets = (torch.cat(part) for part in zip(*answers, strict=True))
    more, same = (torch.cat(part) for part in zip(*others, strict=True))
    assert torch.equal(targets, same), "the two heads were not asked about the same people"
    return [((scores + more) / 2, targets)]


@dataclass(frozen=True)
class Sequences:
    """All moments with their items, those of two people painted around, and the sequences to leave out."""

    found: list[tuple[Video, Moment]]
    items: list[Item]
    hidden: list[list[Item]]

    @property
    def names(self) -> list[str]:
        return sorted({item.group for item in self.items})


def tell(title: str, answers: Answers) -> None:
    (value, by_class), (on_the_other, _) = mean_ap(answers, ROLES), mean_ap(answers, ON_THE_OTHER)
    print(f"{title}: all roles {100 * value:.1f}, on the other {100 * on_the_other:.1f}")
    print("  ", {role: round(100 * each) for role, each in by_class.items()}, flush=True)


def leave_out(kind: str, seed: int, width: int, of: Sequences, args: argparse.Namespace) -> tuple[Answers, Answers]:
    """Of heads of a kind about sequences that they have not seen: both people seen, the other painted out."""
    seen: Answers = []
    unseen: Answers = []
    for left_out in of.names:
        torch.manual_seed(seed)
        head = new_head(kind, width, margin=args.margin)
        fit_head(head, [item for item in of.items if item.group != left_out], epochs=args.epochs, seed=seed)
        test = [index for index, item in enumerate(of.items) if item.group == left_out]
        seen += asked(head, [of.items[index] for index in test])
        unseen += asked(head, [item for index in test for item in of.hidden[index]])
        if args.attention is not None and kind == "acar" and seed == args.seeds[0]:
            for index in {of.found[index][0].name: index for index in test}.values():
                draw(head, of.items[index], *of.found[index], args)
    return seen, unseen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("runs/localizer_moments"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--margin", type=float, default=0.0)
    parser.add_argument("--attention", type=Path, help="a folder to draw into what the ACAR head looks at")
    args = parser.parse_args()
    args.built = build("acar")
    every = [kept_file(args.out, video) for video in videos(args.data) if video.set == "jhmdb"]
    projection = projection_of([path for path in every if path.exists()][::8])
    found = roles(args)
    items = [item_of(kept_file(args.out, video), moment, projection) for video, moment in found]
    hidden = [
        painted(video, moment, load(kept_file(args.out, video), maps=False), args, projection)
        for video, moment in found
    ]
    of = Sequences(found, items, hidden)
    print(f"{len(items)} moments, {sum(map(len, hidden))} people painted around, {len(of.names)} sequences")
    early: Answers = []
    of_sequences = motion_odds(found, args)
    odds = torch.cat([of_sequences[name] for name in of.names])
    for name, fitted in (("80 steps", fit), ("at the minimum", fit_to_minimum)):
        answers = linear(found, of.names, args, fitted)
        early = early or answers
        tell(f"linear, {name}", answers)
        tell(f"linear, {name}, with motion", with_motion(answers, odds))
    tell("motion alone", with_motion([(torch.full_like(odds, 0.5), torch.cat([t for _, t in early]))], odds))
    results: dict[str, list[float]] = defaultdict(list)
    for seed in args.seeds:
        for kind in HEADS:
            seen, unseen = leave_out(kind, seed, projection.width, of, args)
            together = averaged(seen, early)
            kinds = (
                ("both seen", seen),
                ("other painted out", unseen),
                ("with linear", together),
                ("with motion", with_motion(seen, odds)),
                ("with linear and motion", with_motion(together, odds)),
            )
            for name, answers in kinds:
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
