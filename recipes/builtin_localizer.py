"""Makes the built-in localizer, `weights/localizer.safetensors`: a head on frozen EfficientNet-Lite0.

    python recipes/builtin_localizer.py --artifact src/muybridge/weights/localizer.safetensors \\
        --plot docs/pictures/localizer_precision_recall.svg

Finds the people of all clips and films of `localizer_moments.py` with FastestDet, keeps what the frozen image model
makes of them in --out (a quarter of an hour of one core, once), and fits a head on that to what `localizer_labels.py`
says of them, and beside it a linear classifier on how they move (`localizer_motion.py`). Five folds by group (film,
person, sequence, subject; dark clips by clip) give everybody an answer of a head and of a classifier that have not
seen their group. By these answers both are calibrated: at 0.5, what they say together is right four times of five.
Then they are fitted to all but TESTED, films that are never trained on.

With --sports, which the model that ships is made without, people of UCF101-24 and volleyball are added, found by the
built-in detector, most of them as those of whom no pose is right, and the head is fitted to the minimum of its loss.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from localizer_labels import LABELS, NAMES, OTHERS, POSES, Moment, moments
from localizer_moments import SPORTS, kept_file, load, save, videos, watched
from localizer_motion import motion_of_moments
from torch import Tensor

from muybridge.localize.localizer import Localizer
from muybridge.localize.motion import PersonMotionReadout, fit_person_motion
from muybridge.localize.objective import BuiltLocalizer, build_localizer
from muybridge.localize.options import LocalizerConfig
from muybridge.models.acar.actors import Actors
from muybridge.models.acar.head import BaselineHead, actor_vectors
from muybridge.models.acar.image_trunk import ImageTrunk, joined
from muybridge.models.acar.loss import log_probabilities
from muybridge.people.detector import Detector
from muybridge.people.detectors import load_detector
from muybridge.pretrained import built_in_codebook

FOLDS = 5
MARGIN = 0.3
RIDGE = 3e-3
RIDGE_AT_MINIMUM = 1e-2
MOTION_PENALTY = 0.003
RESTING = ("stand", "sit", "lie")  # which of them it is, motion does not tell
CURVATURE = 0.3  # about p (1 - p); the minimum does not depend on it
# Of poses: mean and deviation of the logarithm of a tenth plus the speed in heights a second; rounded, between those
# of 103 people of one training film (stand -2.2, walk -0.7) and of 80 training clips (-1.8, -1.0; run -0.9).
USUAL_SPEEDS = {
    "stand": (-1.9, 0.4),
    "sit": (-1.9, 0.4),
    "lie": (-1.9, 0.4),
    "walk": (-1.0, 0.75),
    "run": (-0.7, 0.7),
}
RIGHT = 0.83  # a little more than is promised, since it is chosen by the same answers
RIGHT_WITH_SPORTS = 0.79  # of poses; with RIGHT_OTHERS four fifths together
RIGHT_OTHERS = 0.88
TESTED = (
    "people/walking.mp4",
    "people/test_video_structuralize.mp4",
    "people/test2.mp4",
    "people/schoolgirls.mp4",  # licensed for non-commercial use
)


@dataclass(frozen=True, eq=False)
class People:
    """All of whom something is known.

    Attributes:
        vectors: (N, C) of the boxes, with their margin.
        motion: (N, 2, M) float16 how they move, and how in a mirror.
        targets, known: (N, K).
        groups, sets: of each.
    """

    vectors: Tensor
    motion: Tensor
    targets: Tensor
    known: Tensor
    groups: list[str]
    sets: list[str]

    def part(self, rows: Tensor) -> "People":
        """Those of some rows."""
        places = rows.tolist()
        return People(
            self.vectors[rows],
            self.motion[rows],
            self.targets[rows],
            self.known[rows],
            [self.groups[i] for i in places],
            [self.sets[i] for i in places],
        )


def build(head: str) -> BuiltLocalizer:
    """The network with the head at random."""
    config = LocalizerConfig("efficientnet_lite0", context="change", head=head, roi_margin=MARGIN, head_bias=True)
    return build_localizer(config, len(NAMES))


def read_people(args: argparse.Namespace) -> People:
    """Vectors of everybody of whom something is known; what is not kept yet is worked out."""
    built = None
    detectors: dict[bool, Detector] = {}
    rows: dict[str, list[Any]] = defaultdict(list)
    for video in videos(args.data):
        path = kept_file(args.out, video)
        if video.name in TESTED or (video.set in SPORTS and not args.sports):
            continue
        if not path.exists():
            built = built or build("baseline")
            sports = video.set in SPORTS
            if sports not in detectors:
                name = "person" if sports else args.data / "weights/fastestdet/FastestDet.onnx"
                detectors[sports] = load_detector(name)
            assert isinstance(built.network.trunk, ImageTrunk)
            save(path, watched(video, args.data, built.network.trunk, built.sampling, detectors[sports]))
        kept = load(path, maps=False)
        asked = list(moments(video, kept, sports=args.sports))
        moving = motion_of_moments(video, kept, asked, args.data, args.out) if asked else {}
        for moment in asked:
            for row, (targets, known) in enumerate(zip(moment.targets, moment.known, strict=True)):
                if known.any():
                    rows["targets"].append(targets)
                    rows["known"].append(known)
                    rows["groups"].append(moment.group)
                    rows["sets"].append(video.set)
                    rows["vectors"].append(vectors_of(path, moment)[row])
                    rows["motion"].append(moving[moment.place][row])
    stacked = {name: torch.stack(rows[name]) for name in ("vectors", "motion", "targets", "known")}
    return People(**stacked, groups=rows["groups"], sets=rows["sets"])


def vectors_of(path: Path, moment: Moment, *, margin: float = MARGIN) -> Tensor:
    """(n, C) of a moment's people."""
    with np.load(path) as file:
        fine, coarse = (torch.from_numpy(file[f"{name}.{moment.place}"]).float() for name in ("fine", "coarse"))
    actors = Actors.from_clips([torch.from_numpy(moment.boxes)])
    return actor_vectors(joined(fine[None], coarse[None]), actors, 7, margin=margin)


# --- fitting ---


def loss_of(logits: Tensor, people: People, weights: Tensor) -> Tensor:
    """Binary cross-entropy of what is known, poses by a softmax; rarer classes' positives count more."""
    return masked_loss(logits, people.targets, people.known, weights)


def masked_loss(logits: Tensor, targets: Tensor, known: Tensor, weights: Tensor) -> Tensor:
    """The same of targets and what of them is known."""
    log_p, log_not_p = log_probabilities(logits, LABELS.exclusive)
    each = targets * log_p * weights + (1 - targets) * log_not_p
    return -(each * known).sum() / len(logits)


def rarity(people: People) -> Tensor:
    """(K,) the square root of how much rarer than the median a class is, 1/2 to 2."""
    counts = (people.targets * people.known).sum(0).clamp_min(1)
    return (counts.median() / counts).sqrt().clamp(0.5, 2)


def fit(people: People, *, ridge: float = RIDGE) -> tuple[Tensor, Tensor]:
    """Weights (K, C) and bias (K,) of a linear head, after 80 steps of LBFGS; its loss would fall further."""
    mean, deviation = people.vectors.mean(0), people.vectors.std(0) + 1e-3
    standardized = (people.vectors - mean) / deviation
    weight = torch.zeros(len(NAMES), standardized.shape[1], requires_grad=True)
    bias = torch.zeros(len(NAMES), requires_grad=True)
    balance = rarity(people)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=80, history_size=10, line_search_fn="strong_wolfe")

    def step() -> Tensor:
        optimizer.zero_grad()
        loss = loss_of(standardized @ weight.T + bias, people, balance) + ridge * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(step)
    with torch.no_grad():
        folded = weight / deviation
        return folded, bias - folded @ mean


@dataclass(frozen=True, eq=False)
class Principal:
    """Vectors of people along the principal directions of all of them, which a linear fit goes along more quickly.

    Attributes:
        inputs: (N, R).
        scale: (R,) by which a weight there is larger than it will be.
        back: (R, C) from weights, divided by the scale, to those of the vectors.
    """

    inputs: Tensor
    scale: Tensor
    back: Tensor


def principal_directions(standardized: Tensor, ridge: float) -> Principal:
    """Of vectors (N, C), each direction in about the scale of the loss's curvature there, so that LBFGS converges.

    The minimum of a loss with a ridge is a combination of the vectors, so that nothing is lost.
    """
    squares, directions = torch.linalg.eigh((standardized @ standardized.T).double())
    real = squares > 1e-5 * squares[-1]
    singular, directions = squares[real].sqrt().float(), directions[:, real].float()
    scale = (CURVATURE * singular.square() / len(standardized) + 2 * ridge).sqrt()
    return Principal(directions * (singular / scale), scale, (directions / singular).T @ standardized)


def linear_at_minimum(
    vectors: Tensor,
    count: int,
    loss: Callable[[Tensor], Tensor],
    *,
    ridge: float,
    iterations: int = 150,
    tolerance: float = 1e-8,
) -> tuple[Tensor, Tensor]:
    """Weights (K, C) and bias (K,) of a linear layer, at the minimum of a loss with a ridge.

    Args:
        vectors: (N, C), which are standardized for the fit.
        count: K.
        loss: of logits (N, K).
        iterations, tolerance: of LBFGS, which ends where the loss changes by less.
    """
    mean, deviation = vectors.mean(0), vectors.std(0) + 1e-3
    principal = principal_directions((vectors - mean) / deviation, ridge)
    weight = torch.zeros(count, len(principal.scale), requires_grad=True)
    bias = torch.zeros(count, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias],
        max_iter=iterations,
        history_size=20,
        line_search_fn="strong_wolfe",
        tolerance_change=tolerance,
    )

    def step() -> Tensor:
        optimizer.zero_grad()
        total = loss(principal.inputs @ weight.T + bias) + ridge * (weight / principal.scale).square().sum()
        total.backward()
        return total

    optimizer.step(step)
    with torch.no_grad():
        folded = (weight / principal.scale) @ principal.back / deviation
        return folded, bias - folded @ mean


def fit_to_minimum(people: People, *, ridge: float = RIDGE_AT_MINIMUM) -> tuple[Tensor, Tensor]:
    """Weights (K, C) and bias (K,) of a linear head, at the minimum of its loss."""
    balance = rarity(people)
    return linear_at_minimum(people.vectors, len(NAMES), lambda logits: loss_of(logits, people, balance), ridge=ridge)


def fit_motion(people: People) -> PersonMotionReadout:
    """What motion says, fitted to those whose motion is known, and to their mirror images."""
    told = people.part(torch.nonzero(people.motion[:, 0].any(dim=1))[:, 0])
    balance, targets, known = rarity(told), told.targets.repeat(2, 1), told.known.repeat(2, 1)
    both = torch.cat([told.motion[:, 0], told.motion[:, 1]])

    def loss(logits: Tensor) -> Tensor:
        return masked_loss(logits, targets, known, balance)

    return fit_person_motion(
        built_in_codebook(),
        both,
        targets,
        loss,
        exclusive=LABELS.exclusive,
        alike=[[NAMES.index(name) for name in RESTING]],
        penalty=MOTION_PENALTY,
    )


def folds_of(people: People) -> Tensor:
    """(N,) the fold of each, groups of a set spread evenly."""
    names = sorted(set(people.groups))
    order = np.random.default_rng(0).permutation(len(names))
    by_set: dict[str, int] = defaultdict(int)
    fold: dict[str, int] = {}
    for index in order.tolist():
        name = names[index]
        fold[name] = by_set[name.split()[0]] % FOLDS
        by_set[name.split()[0]] += 1
    return torch.tensor([fold[group] for group in people.groups])


def answers_to_unseen_groups(
    people: People, fitted: Callable[[People], tuple[Tensor, Tensor]] = fit
) -> tuple[Tensor, Tensor]:
    """Logits and log-odds by motion (N, K), each by who has seen nobody of the group."""
    fold = folds_of(people)
    logits, odds = torch.zeros(2, len(fold), len(NAMES)).unbind()
    for number in range(FOLDS):
        seen, unseen = people.part(torch.nonzero(fold != number)[:, 0]), fold == number
        weight, bias = fitted(seen)
        logits[unseen] = people.vectors[unseen] @ weight.T + bias
        odds[unseen] = fit_motion(seen).log_odds(people.motion[unseen, 0].float())
    return logits, odds


# --- calibrating and measuring ---


@dataclass(frozen=True)
class Calibration:
    """What logits are multiplied by, of poses and of others, and what the others' are shifted by.

    Attributes:
        head, motion: factors of the head's and of motion's, for poses and for others.
    """

    head: tuple[float, float]
    motion: tuple[float, float]
    shift: float = 0.0

    def factors(self, of: tuple[float, float]) -> Tensor:
        """(K,)."""
        return torch.tensor([of[0]] * len(POSES) + [of[1]] * len(OTHERS))

    @property
    def shifts(self) -> Tensor:
        """(K,)."""
        return torch.tensor([0.0] * len(POSES) + [self.shift] * len(OTHERS))

    def __call__(self, logits: Tensor, odds: Tensor) -> Tensor:
        """(N, K) of both together."""
        return logits * self.factors(self.head) + odds * self.factors(self.motion) + self.shifts


def calibration(
    logits: Tensor, odds: Tensor, people: People, *, right: float = RIGHT, with_motion: bool = True
) -> Calibration:
    """What makes probabilities likeliest, and from one half on right in a share of `right`, of others RIGHT_OTHERS.

    Factors are found by likelihood; then those of poses are made smaller until it holds, and others are shifted.
    """
    even = torch.ones(len(NAMES))
    found: list[tuple[float, float]] = []
    poses, others = slice(0, len(POSES)), slice(len(POSES), None)
    for columns in (poses, others):
        known = torch.zeros_like(people.known)
        known[:, columns] = people.known[:, columns]
        tried = [
            (head, motion)
            for head in torch.logspace(-0.7, 0.7, 29).tolist()
            for motion in (torch.logspace(-1.3, 0.5, 19).tolist() if with_motion else [0.0])
        ]
        losses = [float(masked_loss(logits * a + odds * b, people.targets, known, even)) for a, b in tried]
        found.append(tried[losses.index(min(losses))])

    def of(share: float, shift: float) -> Calibration:
        (head, motion), other = found[0], found[1]
        return Calibration((head * share, other[0]), (motion * share, other[1]), shift)

    share, shift = 1.0, 0.0
    while share > 0.1 and precision(of(share, shift)(logits, odds), people, poses) < right:
        share *= 0.97
    step = 0.05 if precision(of(share, shift)(logits, odds), people, others) > RIGHT_OTHERS else -0.05
    while (precision(of(share, shift)(logits, odds), people, others) > RIGHT_OTHERS) == (step > 0):
        shift += step
    return of(share, shift)


def probabilities(logits: Tensor) -> Tensor:
    return log_probabilities(logits, LABELS.exclusive)[0].exp()


def precision(logits: Tensor, people: People, columns: slice, threshold: float = 0.5) -> float:
    """Share of what is said that is right, of that of which it is known."""
    said = (probabilities(logits) >= threshold) & (people.known > 0)
    said, true = said[:, columns], people.targets[:, columns]
    return float((said * true).sum() / said.sum().clamp_min(1))


def average_precision(scores: Tensor, truth: Tensor) -> float:
    """Area under the precision envelope."""
    hits = truth[scores.argsort(descending=True)]
    found = hits.cumsum(0)
    at = found / torch.arange(1, len(hits) + 1)
    envelope = at.flip(0).cummax(0).values.flip(0)
    return float((envelope * hits).sum() / hits.sum().clamp_min(1))


def figures(logits: Tensor, people: People) -> dict[str, Any]:
    """Of each class, and of poses, others and sets together."""
    chances = probabilities(logits)
    said = (chances >= 0.5) & (people.known > 0)
    classes: dict[str, Any] = {}
    for column, name in enumerate(NAMES):
        asked = people.known[:, column] > 0
        truth = people.targets[asked, column]
        mine = said[asked, column]
        classes[name] = {
            "people": int(truth.sum()),
            "AP": round(average_precision(chances[asked, column], truth), 3),
            "said": int(mine.sum()),
            "right": int((mine * truth).sum()),
        }
    sets: dict[str, Any] = {}
    for name in ("all", *sorted(set(people.sets))):
        rows = torch.tensor([name in ("all", each) for each in people.sets])
        right = int((said[rows] * people.targets[rows]).sum())
        sets[name] = {
            "people": int(rows.sum()),
            "said": int(said[rows].sum()),
            "right": right,
            "named": int(((said[rows] * people.targets[rows]).sum(1) > 0).sum()),
        }
    mean = float(np.mean([row["AP"] for row in classes.values() if row["people"]]))
    return {"mAP": round(mean, 3), "classes": classes, "sets": sets}


def curve(logits: Tensor, people: People, columns: slice) -> list[tuple[float, float, float]]:
    """Threshold, precision and recall."""
    chances, known = probabilities(logits)[:, columns], people.known[:, columns] > 0
    truth = people.targets[:, columns]
    found: list[tuple[float, float, float]] = []
    for threshold in np.arange(0.1, 0.96, 0.05).round(2).tolist():
        said = (chances >= threshold) & known
        right = float((said * truth).sum())
        found.append((threshold, right / max(1.0, float(said.sum())), right / float((truth * known).sum())))
    return found


def plot(curves: dict[str, list[tuple[float, float, float]]], path: Path) -> None:
    """Precision over recall as SVG, a dot a threshold, that of 0.5 large."""
    width, height, left, top = 480, 360, 50, 16
    across, along = 400, 290

    def place(precision: float, recall: float) -> tuple[float, float]:
        return round(left + across * recall, 1), round(top + along * (1 - precision), 1)

    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">']
    lines.append(f'<rect width="{width}" height="{height}" fill="#fbfaf7"/>')
    for tick in (0, 0.25, 0.5, 0.75, 1):
        x, y = place(tick, tick)
        lines.append(f'<path d="M{left} {y}H{left + across}M{x} {top}V{top + along}" stroke="#dcd8cf" fill="none"/>')
        lines.append(f'<text x="{left - 6}" y="{y + 4}" font-size="11" text-anchor="end">{tick:g}</text>')
        lines.append(f'<text x="{x}" y="{top + along + 16}" font-size="11" text-anchor="middle">{tick:g}</text>')
    lines.append(f'<text x="{left + across}" y="{height - 8}" font-size="12" text-anchor="end">recall</text>')
    lines.append(f'<text x="6" y="{top + 4}" font-size="12">precision</text>')
    for (name, points), colour in zip(curves.items(), ("#2a6f97", "#c2571a"), strict=True):
        places = [(threshold, *place(precision, recall)) for threshold, precision, recall in points]
        path_of = " ".join(f"{x},{y}" for _, x, y in places)
        lines.append(f'<polyline points="{path_of}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for threshold, x, y in places:
            lines.append(f'<circle cx="{x}" cy="{y}" r="{6 if threshold == 0.5 else 2.5}" fill="{colour}"/>')
        lines.append(
            f'<text x="{places[0][1] + 8}" y="{places[0][2] + 4}" font-size="12" fill="{colour}">{name}</text>'
        )
    path.write_text("\n".join([*lines, "</svg>", ""]), encoding="utf-8")


def report(scores: dict[str, Any]) -> None:
    print("mAP", scores["mAP"])
    for kind in ("sets", "classes"):
        for name, row in scores[kind].items():
            print(f"  {name:20}", "  ".join(f"{key} {value}" for key, value in row.items()))


def report_shipped(people: People) -> None:
    """What the model that ships, which has seen none of them, says of people of sports."""
    head = Localizer.from_pretrained("people_actions", device="cpu").network.head
    assert isinstance(head, BaselineHead)
    rows = torch.tensor([place for place, name in enumerate(people.sets) if name in SPORTS])
    of_sports = people.part(rows)
    with torch.no_grad():
        scores = figures(head.fc(of_sports.vectors), of_sports)
    print("of people of sports, the model that ships:", scores["sets"]["all"])


def localizer_of(
    weight: Tensor,
    bias: Tensor,
    motion: PersonMotionReadout,
    alone: Calibration,
    both: Calibration,
    provenance: dict[str, Any],
    scores: dict[str, Any],
) -> Localizer:
    """The file to be, of what was fitted, which is calibrated here: the head alone, and both together."""
    factors, with_motion = alone.factors(alone.head), both.factors(both.motion)
    share = both.factors(both.head) / factors
    built = build("baseline")
    head = built.network.head
    assert isinstance(head, BaselineHead)
    with torch.no_grad():
        head.fc.weight.copy_(weight * factors[:, None])
        head.fc.bias.copy_(bias * factors + alone.shifts)
    motion = replace(
        motion,
        weight=(motion.weight * with_motion[:, None]).half().float(),
        bias=motion.bias * with_motion + both.shifts - alone.shifts * share,
        share=share,
    )
    return Localizer(
        built.network,
        built.config,
        LABELS,
        built.sampling,
        backbone=built.backbone,
        device="cpu",
        usual_speeds=USUAL_SPEEDS,
        motion=motion,
        provenance=provenance,
        scores=scores,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("runs/localizer_moments"))
    parser.add_argument("--artifact", type=Path)
    parser.add_argument("--plot", type=Path, help="an SVG of precision over recall to write")
    parser.add_argument("--sports", action="store_true")
    args = parser.parse_args(arguments)
    torch.manual_seed(0)
    fitted = fit_to_minimum if args.sports else fit
    people = read_people(args)
    print(f"{len(people.groups)} people; {len(OTHERS)} actions and {len(POSES)} poses")
    logits, odds = answers_to_unseen_groups(people, fitted)
    right = RIGHT_WITH_SPORTS if args.sports else RIGHT
    alone = calibration(logits, odds, people, right=right, with_motion=False)
    print(f"the head alone: {alone}")
    report(figures(alone(logits, odds), people))
    both = calibration(logits, odds, people, right=right)
    print(f"with motion: {both}")
    logits = both(logits, odds)
    scores = figures(logits, people)
    report(scores)
    curves = {
        name: curve(logits, people, part)
        for name, part in (("poses", slice(0, len(POSES))), ("others", slice(len(POSES), None)))
    }
    for name, points in curves.items():
        print(name, "  ".join(f"{t:g}: {p:.2f}/{r:.2f}" for t, p, r in points))
    if args.sports:
        report_shipped(people)
    if args.plot is not None:
        plot(curves, args.plot)
    if args.artifact is None:
        return
    provenance = {
        "recipe": "recipes/builtin_localizer.py",
        "people": len(people.groups),
        "never trained on": list(TESTED),
    }
    measured = {"on groups never seen": scores, "curves": json.loads(json.dumps(curves))}
    localizer_of(*fitted(people), fit_motion(people), alone, both, provenance, measured).save(args.artifact)


if __name__ == "__main__":
    main()
