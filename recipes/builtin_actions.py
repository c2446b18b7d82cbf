"""The built-in recognizer of people's actions: a head on frozen EfficientNet-Lite0 that reads change over time.

Five sets of clips, their classes merged by meaning (action_labels.tsv), one head for all. Five folds by group (film,
person, sequence) give every clip an answer of a head that has not seen its group. By these answers the head is
calibrated: a temperature that makes its probabilities right on average, and the least probability at which it speaks,
so that it is right in at least four of five of what it says, also of the hardest set, and also where it looks in one
way alone, as it does at films. Then the head is fitted to all clips. A whole run takes minutes where the frozen
model's part is there, else about half an hour of one core.

    python recipes/builtin_actions.py --drawn 0 --artifact src/muybridge/weights/actions.safetensors

Reads what the frozen model makes of each clip from --out, where recipes/action_sets.py has kept it, or works it out.
"""

import argparse
import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from action_sets import part_of, prefixes_of, read_set
from torch import Tensor

from muybridge.data.clips.lists import ClipEntry, ClipList
from muybridge.data.clips.splits import k_folds
from muybridge.data.label_maps import LabelMap
from muybridge.models.st_adapter.video_vit import VideoViT
from muybridge.pretrained import BUILT_IN_BACKBONE, load_backbone
from muybridge.recognize.evaluate import indicator
from muybridge.recognize.objective import RecognizerObjective, balance_classes, sampling_for, views_for
from muybridge.recognize.options import SamplingOptions
from muybridge.recognize.prefixes import KeptPrefixes, fit_head
from muybridge.recognize.recognizer import Recognizer

FOLDS = 5
VIEWS = views_for(SamplingOptions())
RIGHT = 0.81  # a little more than is promised, since the threshold is chosen by the same answers
MANY = 50  # clips of a set that the promise must hold for by itself


def merged(args: argparse.Namespace) -> tuple[ClipList, KeptPrefixes]:
    """All clips whose class has a label, with merged labels, and what is kept of them, in the same order."""
    with Path(__file__).with_name("action_labels.tsv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    names = sorted({row["label"] for row in rows})
    label_of = {(row["set"], row["class"]): names.index(row["label"]) for row in rows}
    entries: list[ClipEntry] = []
    prefixes: list[Tensor] = []
    for name in dict.fromkeys(row["set"] for row in rows):
        clips = read_set(name, args.data)
        kept = prefixes_of(name, clips, "head", args)
        known = [i for i, e in enumerate(clips.entries) if (name, clips.classes.names[e.labels[0]]) in label_of]
        for index in known:
            entry = clips.entries[index]
            label = label_of[name, clips.classes.names[entry.labels[0]]]
            entries.append(replace(entry, labels=(label,), group=f"{name} {entry.group}"))
        prefixes.append(part_of(kept, known).prefixes)
    labels = [torch.tensor(entry.labels[0]) for entry in entries]
    classes = LabelMap(tuple(names), tuple(range(len(names))))
    # Of small sets more views are kept; those of a test come first in all.
    common = min(len(each) for each in prefixes)
    everything = torch.cat([each[:common] for each in prefixes], dim=1)
    return ClipList(tuple(entries), classes), KeptPrefixes(everything, [labels] * len(everything))


def fitted(clips: ClipList, kept: KeptPrefixes) -> VideoViT:
    """A head on the built-in backbone."""
    backbone, _ = load_backbone()
    sampling = sampling_for(backbone, SamplingOptions())
    model = VideoViT(backbone, len(clips.classes), over_time="change")
    weights = balance_classes(indicator(clips), multi_label=False).sqrt()
    objective = RecognizerObjective(model, sampling, class_weights=weights)
    fit_head(model, kept, sampling, objective.loss)
    model.fold_standardization()
    return model.eval()


@torch.no_grad()
def answers(model: VideoViT, kept: KeptPrefixes) -> Tensor:
    """Logits (V, N, K) of the views of a test."""
    return torch.stack([model.forward_from_prefix(view.float(), (224, 224)) for view in kept.prefixes[: VIEWS.count]])


def answers_to_unseen_groups(clips: ClipList, kept: KeptPrefixes) -> Tensor:
    """Logits (V, N, K), each by a head that has seen no clip of the group."""
    place = {entry: index for index, entry in enumerate(clips.entries)}
    logits = torch.zeros(VIEWS.count, len(clips), len(clips.classes))
    for train, test in k_folds(clips, folds=FOLDS, seed=0):
        seen, unseen = ([place[entry] for entry in half.entries] for half in (train, test))
        logits[:, unseen] = answers(fitted(train, part_of(kept, seen)), part_of(kept, unseen))
    return logits


def probabilities_of(logits: Tensor, temperature: float) -> Tensor:
    """(N, K): the mean over views, as the recognizer takes it."""
    return (logits / temperature).softmax(dim=-1).mean(dim=0)


def temperature_of(logits: Tensor, labels: Tensor) -> float:
    """By which logits are divided so that the right answers are likeliest."""
    tried = torch.logspace(-1.5, 1.5, 301)
    losses = [float(F.nll_loss(probabilities_of(logits, float(t)).clamp_min(1e-12).log(), labels)) for t in tried]
    return float(tried[losses.index(min(losses))])


def threshold_of(clips: ClipList, looks: Sequence[Tensor], labels: Tensor) -> float:
    """The least probability from which on answers are right in a share of RIGHT, in every set of many clips.

    Args:
        looks: probabilities (N, K) of each way in which clips and films are looked at.
    """
    for threshold in torch.arange(0.1, 1, 0.01):
        found = [figures(clips, probabilities, labels, float(threshold)) for probabilities in looks]
        rows = [row for sets in found for row in sets.values() if row["clips"] >= MANY]
        if all(row["right of what it says"] >= RIGHT for row in rows):
            return round(float(threshold), 2)
    raise SystemExit("no threshold makes it right that often")


def figures(clips: ClipList, probabilities: Tensor, labels: Tensor, threshold: float) -> dict[str, Any]:
    """Of all and of each set: clips, share right, share of clips said something of, share right of that."""
    score, answer = probabilities.max(dim=1)
    right, said = (answer == labels), score >= threshold
    sets = [entry.group.split()[0] for entry in clips.entries]
    found: dict[str, Any] = {}
    for name in ("all", *dict.fromkeys(sets)):
        chosen = torch.tensor([name in ("all", own) for own in sets])
        spoken = chosen & said
        found[name] = {
            "clips": int(chosen.sum()),
            "right": round(float(right[chosen].float().mean()), 3),
            "said": round(float(said[chosen].float().mean()), 3),
            "right of what it says": round(float(right[spoken].float().mean()), 3),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/clips"))
    parser.add_argument("--out", type=Path, default=Path("runs/action_sets"))
    parser.add_argument("--drawn", type=int)
    parser.add_argument("--artifact", type=Path)
    parser.set_defaults(backbone=BUILT_IN_BACKBONE, backbone_weights=None)
    args = parser.parse_args()
    torch.manual_seed(0)
    clips, kept = merged(args)
    labels = torch.tensor([entry.labels[0] for entry in clips.entries])
    logits = answers_to_unseen_groups(clips, kept)
    temperature = temperature_of(logits, labels)
    probabilities = probabilities_of(logits, temperature)
    whole = probabilities_of(logits[:1], temperature)
    threshold = threshold_of(clips, (probabilities, whole), labels)
    scores = figures(clips, probabilities, labels, threshold)
    print(f"temperature {temperature:.3f}, threshold {threshold}")
    for name, row in scores.items():
        print(name, row)
    print("the whole picture alone, as in films:", figures(clips, whole, labels, threshold))
    if args.artifact is None:
        return
    model = fitted(clips, kept)
    with torch.no_grad():
        model.head.weight /= temperature
        model.head.bias /= temperature
    backbone, identity = load_backbone()
    provenance = {"recipe": "recipes/builtin_actions.py", "clips": len(clips), "temperature": temperature}
    Recognizer(
        model,
        clips.classes,
        sampling_for(backbone, SamplingOptions()),
        backbone=identity,
        views=VIEWS,
        threshold=threshold,
        device="cpu",
        provenance=provenance,
        scores={"on groups never seen": scores},
    ).save(args.artifact)


if __name__ == "__main__":
    main()
