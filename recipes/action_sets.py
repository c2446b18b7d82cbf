"""How well the built-in way to train recognizes the actions of clips it has not seen: one plan for all sets.

Sets with groups are split by group: no film, person or sequence is on both sides. Every clip is tested once. Within
a fold, what is right is not looked at before the end: the number of epochs is fixed and the last weights count. But
what is read over time, and in which ways a clip is looked at, were chosen by figures on these same sets and folds,
over all sets together, so that the table flatters them a little; only clips that are not here can say how much.

    python recipes/action_sets.py --method head
    python recipes/action_sets.py --method adapters --seed 0 1 2
    python recipes/action_sets.py --method full --learning-rate 1e-4
    python recipes/action_sets.py --table

What the frozen blocks make of each clip is worked out once a set, and kept in --out for later runs; a fold then takes
minutes. Results go, a line a fold, into --out/results.jsonl, and folds found there are not run again.
"""

import argparse
import json
import re
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from muybridge.data.clips.dataset import ClipDataset
from muybridge.data.clips.lists import ClipEntry, ClipList, read_clip_list
from muybridge.data.clips.sampling import normalize
from muybridge.data.clips.splits import k_folds
from muybridge.data.sampling import Draw
from muybridge.evaluation.classification import frame_orders
from muybridge.models.st_adapter.video_vit import AdapterConfig, VideoViT
from muybridge.pretrained import BUILT_IN_BACKBONE, built_in_codebook, load_backbone
from muybridge.progress import progress_line
from muybridge.recognize.evaluate import indicator
from muybridge.recognize.motion import fit_motion, motion_left_out, motion_of_clips
from muybridge.recognize.objective import RecognizerObjective, balance_classes, sampling_for, views_for
from muybridge.recognize.options import Method, RecognizerFitConfig, SamplingOptions
from muybridge.recognize.prefixes import KeptPrefixes, ViewsOfClips, drawn_views, fit_head, keep_prefixes
from muybridge.recognize.stacking import Weights, network_left_out, weighed
from muybridge.training.fit import fit

Kept = TypeVar("Kept", bound=KeptPrefixes)
FOLDS = 5
METHODS: tuple[Method, ...] = ("head", "adapters", "full")
ORDERS = ("own", "shuffled", "reversed", "single_frame")
# Counted of each fold: the network and motion together, as clips left out of the training say and one as much as the
# other, motion alone, the network alone and with frames in disorder.
COUNTED = ("together", "alike", "motion", *ORDERS)


@dataclass(frozen=True)
class ActionSet:
    """Where a set lies, and which clips belong together.

    Attributes:
        source: under --data, as `read_clip_list` takes it.
        group: of a clip's path; None for what the list says.
        leave_one_out: a fold for each group, in place of five.
        tested: the one group that is tested, in place of folds.
        reversals: two classes that are each other's reversal, told apart in the table.
        trained_group: of a training clip's path, where `group` does not tell these apart.
    """

    source: str
    group: Callable[[Path], str] | None = None
    leave_one_out: bool = False
    tested: str | None = None
    reversals: tuple[str, str] | None = None
    trained_group: Callable[[Path], str] | None = None

    @property
    def folder(self) -> str:
        """Where its clips lie; sets of one folder share what is kept of the clips."""
        return Path(self.source).parts[0]


def _person(path: Path) -> str:
    return path.stem.split("_")[0]


SETS = {
    "jhmdb": ActionSet("jhmdb/train.tsv"),
    "weizmann": ActionSet("weizmann", _person, leave_one_out=True),
    "ut_interaction": ActionSet("ut_interaction", lambda path: path.stem[:5], leave_one_out=True),
    "dark_actions": ActionSet("dark_actions", str, reversals=("Sit", "Stand")),
    "dark_scenes": ActionSet(
        "dark_actions",
        lambda path: path.parent.parent.name,
        tested="val",
        reversals=("Sit", "Stand"),
        trained_group=lambda path: path.stem.split("_")[1],  # of CLASS_SCENE_NUMBER
    ),
    "falls": ActionSet("falls", lambda path: path.parent.parent.name, leave_one_out=True),
}


def read_set(name: str, data: Path) -> ClipList:
    """All clips of a set with their groups; UT-Interaction without the crops in which nothing happens."""
    chosen = SETS[name]
    source = data / chosen.source
    if name == "falls":
        clips = _falls(source)
    elif name == "jhmdb":
        with tempfile.TemporaryDirectory() as folder:
            listing = Path(folder, "train.tsv")
            text = source.read_text(encoding="utf-8")
            listing.write_text(text.replace("clip\tclass\tgroup", "path\tlabel\tgroup", 1), encoding="utf-8")
            clips = read_clip_list(listing, root=source.with_suffix(""))["all"]
    else:
        parts = read_clip_list(source)
        entries = tuple(entry for part in parts.values() for entry in part.entries)
        clips = replace(next(iter(parts.values())), entries=entries)
    if name == "ut_interaction":
        idle = clips.classes.names.index("nothing")
        kept = [entry for entry in clips.entries if idle not in entry.labels]
        names = tuple(n for n in clips.classes.names if n != "nothing")
        columns = {clips.classes.names.index(n): column for column, n in enumerate(names)}
        clips = replace(
            clips,
            classes=type(clips.classes)(names, tuple(range(len(names)))),
            entries=tuple(replace(entry, labels=(columns[entry.labels[0]],)) for entry in kept),
        )
    if chosen.group is None:
        return clips
    return replace(clips, entries=tuple(replace(e, group=chosen.group(e.path)) for e in clips.entries))


def _falls(source: Path) -> ClipList:
    paths = sorted(path for path in source.glob("*/*/*") if path.is_file())
    names = sorted({path.parent.name for path in paths})
    first = read_clip_list(source.parent / "weizmann")["all"]
    entries = tuple(ClipEntry(path, (names.index(path.parent.name),), str(path)) for path in paths)
    return replace(first, entries=entries, classes=type(first.classes)(tuple(names), tuple(range(len(names)))))


def training_part(name: str, clips: ClipList, train: list[int]) -> ClipList:
    """The clips that are trained on, with the groups that a training would be told of."""
    part, group = clips.select(train), SETS[name].trained_group
    return (
        part if group is None else replace(part, entries=tuple(replace(e, group=group(e.path)) for e in part.entries))
    )


def folds_of(name: str, clips: ClipList) -> list[tuple[list[int], list[int]]]:
    """Places of training and test clips, for each fold."""
    place = {entry: index for index, entry in enumerate(clips.entries)}
    if not SETS[name].leave_one_out and SETS[name].tested is None:
        halves = k_folds(clips, folds=FOLDS, seed=0)
        return [([place[e] for e in a.entries], [place[e] for e in b.entries]) for a, b in halves]
    groups = sorted({entry.group for entry in clips.entries}) if SETS[name].tested is None else [SETS[name].tested]
    everything = range(len(clips))
    return [
        (
            [i for i in everything if clips.entries[i].group != group],
            [i for i in everything if clips.entries[i].group == group],
        )
        for group in groups
    ]


def build(backbone: torch.nn.Module, method: Method, classes: int, over_time: Any) -> VideoViT:
    return VideoViT(
        backbone,
        classes,
        adapters=AdapterConfig() if method == "adapters" else None,
        over_time=over_time,
        train_backbone=method == "full",
    )


class KeptFrames(KeptPrefixes):
    """Views of clips where nothing is frozen: frames (V, N, T, 3, height, width) uint8 in place of prefixes."""

    def __getitem__(self, draw: Draw) -> dict[str, Tensor]:
        item = super().__getitem__(draw)
        return {"frames": item.pop("prefix").byte(), **item}


def kept_name(name: str, args: argparse.Namespace) -> str:
    return SETS[name].folder + ("" if args.backbone == BUILT_IN_BACKBONE else f"-{args.backbone}")


def frames_of(name: str, clips: ClipList, args: argparse.Namespace) -> KeptFrames:
    """The frames of which `prefixes_of` has the features, from --out or read."""
    drawn = drawn_views(args.drawn, len(clips))
    path = args.out / f"{kept_name(name, args)}-frames-{drawn}.safetensors"
    if not path.is_file():
        backbone, _ = load_backbone(args.backbone, weights=args.backbone_weights)
        sampling = sampling_for(backbone, SamplingOptions())
        views = ViewsOfClips(ClipDataset(clips, sampling, views=views_for(SamplingOptions())), drawn, seed=0)
        first = views[0]["frames"]
        frames = torch.empty(len(first), len(clips), *first.shape[1:], dtype=torch.uint8)
        labels: list[Tensor] = []
        with progress_line(f"{name}: reading frames", total=len(clips), unit="clips") as line:
            for index in range(len(views)):
                item = views[index]
                frames[:, index] = item["frames"]
                labels.append(item["labels"])
                line.advance()
        args.out.mkdir(parents=True, exist_ok=True)
        save_file({"frames": frames, "labels": torch.stack(labels, dim=1)}, path)
    stored = load_file(path)
    return KeptFrames(stored["frames"], [list(view.unbind()) for view in stored["labels"]])


def prefixes_of(name: str, clips: ClipList, method: Method, args: argparse.Namespace) -> KeptPrefixes:
    """From --out, or worked out: the maps that adapters start from, or the features that a head reads."""
    drawn = drawn_views(args.drawn, len(clips))
    path = args.out / f"{kept_name(name, args)}-{method}-{drawn}.safetensors"
    if path.is_file():
        stored = load_file(path)
        return KeptPrefixes(stored["prefixes"], [list(view.unbind()) for view in stored["labels"]])
    backbone, _ = load_backbone(args.backbone, weights=args.backbone_weights)
    model = build(backbone, method, 2, "mean").eval()
    sampling = sampling_for(backbone, SamplingOptions())
    maps = args.out / f"{kept_name(name, args)}-adapters-{drawn}.safetensors"
    if method == "head" and maps.is_file():
        kept = _features(
            build(backbone, "adapters", 2, "mean").eval(), prefixes_of(name, clips, "adapters", args), sampling.size
        )
    else:
        dataset = ClipDataset(clips, sampling, views=views_for(SamplingOptions()))
        with progress_line(f"{name}: reading clips", total=len(clips), unit="clips") as line:
            kept = keep_prefixes(model, dataset, drawn=drawn, seed=0, device=torch.device("cpu"), line=line)
    args.out.mkdir(parents=True, exist_ok=True)
    save_file({"prefixes": kept.prefixes, "labels": torch.stack([torch.stack(v) for v in kept.labels])}, path)
    return kept


@torch.inference_mode()
def _features(adapted: VideoViT, maps: KeptPrefixes, size: tuple[int, int]) -> KeptPrefixes:
    """What a head reads, from the maps that adapters start from; adapters do nothing yet."""
    features = torch.empty(*maps.prefixes.shape[:3], 1, adapted.dim, dtype=torch.float16)
    for view, of_view in enumerate(maps.prefixes):
        for index, prefix in enumerate(of_view):
            features[view, index, :, 0] = adapted.features_from_prefix(prefix[None].float(), size)[0]
    return KeptPrefixes(features, maps.labels)


def motion_of(name: str, clips: ClipList, args: argparse.Namespace) -> tuple[Tensor, Tensor]:
    """How the clips move, (N, M) float16, and how they do in a mirror, from --out or read."""
    path = args.out / f"{SETS[name].folder}-motion.safetensors"
    if not path.is_file():
        args.out.mkdir(parents=True, exist_ok=True)
        own, in_mirror = motion_of_clips(clips, built_in_codebook(), in_mirror=True, workers=args.workers)
        save_file({"own": own, "in_mirror": in_mirror}, path)
    stored = load_file(path)
    return stored["own"], stored["in_mirror"]


def part_of(kept: Kept, indices: list[int]) -> Kept:
    return type(kept)(kept.prefixes[:, indices], [[view[i] for i in indices] for view in kept.labels])


def run_fold(
    name: str,
    clips: ClipList,
    kept: KeptPrefixes,
    frames: KeptFrames | None,
    motion: tuple[Tensor, Tensor],
    train: list[int],
    test: list[int],
    method: Method,
    seed: int,
    args: Any,
) -> dict[str, Any]:
    """Train and measure: counts of right answers by order of frames.

    Args:
        frames: where the whole network is trained.
        motion: how each clip moves, as `motion_of` has it.
    """
    torch.manual_seed(seed)
    backbone, _ = load_backbone(args.backbone, weights=args.backbone_weights)
    sampling = sampling_for(backbone, SamplingOptions())
    model = build(backbone, method, len(clips.classes), args.over_time)
    labels = indicator(clips.select(train))
    class_weights = balance_classes(labels, multi_label=False)
    objective = RecognizerObjective(
        model,
        sampling,
        class_weights=class_weights,
        label_smoothing=RecognizerFitConfig.label_smoothing,
    )
    training = part_of(kept, train)
    seen = fit_head(model, training, sampling, objective.loss)
    if method != "head":
        if method == "adapters":
            model.head.requires_grad_(False)
        config = RecognizerFitConfig(
            epochs=args.epochs, learning_rate=args.learning_rate, seed=seed, workers=0, validations=0, patience=0
        )
        moving = training if frames is None else part_of(frames, train)
        with tempfile.TemporaryDirectory() as folder:
            fit(objective, moving, config.for_method(method).of(len(train)), folder=Path(folder), title="fold")
    model.eval()

    def logits_of(index: int, order: Tensor) -> Tensor:
        ways = views_for(SamplingOptions()).count
        if frames is None:
            return model.forward_from_prefix(kept.prefixes[:ways, index][:, order].float(), sampling.size)
        return model(normalize(frames.prefixes[:ways, index][:, order], sampling))

    truth = torch.tensor([clips.entries[i].labels[0] for i in test])
    right = dict.fromkeys(COUNTED, 0)
    answers: list[Tensor] = []
    with torch.no_grad():
        for index, label in zip(test, truth.tolist(), strict=True):
            orders = {"own": torch.arange(sampling.frames), **frame_orders(sampling.frames, seed=index)}
            for order in ORDERS:
                mean = logits_of(index, orders[order]).softmax(dim=-1).mean(dim=0)
                right[order] += int(mean.argmax() == label)
                if order == "own":
                    answers.append(mean)
    of_train = training_part(name, clips, train)
    own, in_mirror = (each[train] for each in motion)
    left_out = motion_left_out(of_train, own, in_mirror, labels, class_weights=class_weights)
    with_mirror = left_out is not None and left_out.in_mirror
    alike = readout = fit_motion(
        built_in_codebook(),
        torch.cat([own, in_mirror]) if with_mirror else own,
        labels.repeat(1 + with_mirror, 1),
        multi_label=False,
        class_weights=class_weights,
    )
    weights = Weights()
    if left_out is not None and method != "full":
        looks, classes = views_for(SamplingOptions()).count, len(clips.classes)
        network = network_left_out(seen, left_out, objective.loss, classes=classes, looks=looks, multi_label=False)
        readout, weights = weighed(alike, left_out, network, labels, multi_label=False, class_weights=class_weights)
    of_test = motion[0][test].float()
    together = readout.joined(torch.stack(answers), of_test, multi_label=False)
    alone = alike.joined(torch.full_like(together, 1 / len(clips.classes)), of_test, multi_label=False)
    as_much = alike.joined(torch.stack(answers), of_test, multi_label=False)
    right["together"] = int((together.argmax(dim=1) == truth).sum())
    right["alike"] = int((as_much.argmax(dim=1) == truth).sum())
    right["motion"] = int((alone.argmax(dim=1) == truth).sum())
    return {
        "clips": len(test),
        "right": right,
        "answers": together.tolist(),
        "with_mirror": with_mirror,
        "weights": [weights.network, weights.motion],
        "truth": truth.tolist(),
        "classes": clips.classes.names,
    }


def known(args: argparse.Namespace) -> list[dict[str, Any]]:
    path = args.out / "results.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def settings_of(args: argparse.Namespace, method: Method, clips: ClipList) -> str:
    about = f"{args.over_time}, {drawn_views(args.drawn, len(clips))} further views"
    about = about if args.backbone == BUILT_IN_BACKBONE else f"{args.backbone}, {about}"
    return about if method == "head" else f"{about}, {args.epochs:g} epochs at {args.learning_rate:g}"


def run_all(args: argparse.Namespace) -> None:
    done = {(r["set"], r["method"], r["settings"], r["seed"], r["fold"]) for r in known(args)}
    for name in args.set:
        clips = read_set(name, args.data)
        for method in args.method:
            kept = prefixes_of(name, clips, "adapters" if method == "adapters" else "head", args)
            frames = frames_of(name, clips, args) if method == "full" else None
            motion = motion_of(name, clips, args)
            for seed in args.seed:
                for fold, (train, test) in enumerate(folds_of(name, clips)):
                    key = {"set": name, "method": method, "settings": settings_of(args, method, clips), "seed": seed}
                    if (*key.values(), fold) in done or (args.fold and fold not in args.fold):
                        continue
                    row = {
                        **key,
                        "fold": fold,
                        **run_fold(name, clips, kept, frames, motion, train, test, method, seed, args),
                    }
                    with (args.out / "results.jsonl").open("a", encoding="utf-8") as file:
                        file.write(json.dumps(row) + "\n")
                    print(name, method, f"seed {seed} fold {fold}:", row["right"], "of", row["clips"], flush=True)


def table(args: argparse.Namespace) -> str:
    """Folds taken together, seeds as mean and deviation."""
    groups: dict[tuple[str, str, str], dict[int, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for row in known(args):
        groups[row["set"], row["method"], row["settings"]][row["seed"]].append(row)
    lines = [
        "| set | method | folds | seeds | accuracy | counted alike | motion alone | network alone | shuffled "
        "| reversed | single frame | order gap | reversals |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for (name, method, settings), seeds in sorted(groups.items()):
        shares = {
            order: [
                100 * sum(r["right"][order] for r in rows) / sum(r["clips"] for r in rows) for rows in seeds.values()
            ]
            for order in COUNTED
        }
        gap = [own - shuffled for own, shuffled in zip(shares["own"], shares["shuffled"], strict=True)]
        numbers = " | ".join(_spread(values) for values in (*shares.values(), gap))
        pair = SETS[name].reversals
        told = "" if pair is None else _spread([reversals_told(rows, pair) for rows in seeds.values()])
        folds = max(len(rows) for rows in seeds.values())
        lines.append(
            f"| {re.sub('_', ' ', name)} | {method}, {settings} | {folds} | {len(seeds)} | {numbers} | {told} |"
        )
    return "\n".join(lines)


def reversals_told(rows: list[dict[str, Any]], pair: tuple[str, str]) -> float:
    """Of the clips of two classes, the percentage for which the right one of the two is the likelier."""
    right = count = 0
    for row in rows:
        columns = [row["classes"].index(name) for name in pair]
        for answer, label in zip(row["answers"], row["truth"], strict=True):
            if label in columns:
                other = columns[1 - columns.index(label)]
                right += answer[label] > answer[other]
                count += 1
    return 100 * right / count


def _spread(values: list[float]) -> str:
    return f"{statistics.mean(values):.1f}" + (f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/clips"))
    parser.add_argument("--out", type=Path, default=Path("runs/action_sets"))
    parser.add_argument("--set", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--method", nargs="+", choices=METHODS, default=["head", "adapters"])
    parser.add_argument("--seed", nargs="+", type=int, default=[0])
    parser.add_argument("--fold", nargs="+", type=int, default=[])
    parser.add_argument("--backbone", default=BUILT_IN_BACKBONE)
    parser.add_argument("--backbone-weights", type=Path)
    parser.add_argument("--over-time", choices=("mean", "change"), default="change")
    parser.add_argument("--drawn", type=int)
    parser.add_argument("--epochs", type=float, default=RecognizerFitConfig.epochs)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--table", action="store_true", help="print what is known and run nothing")
    args = parser.parse_args()
    if not args.table:
        run_all(args)
    print(table(args))


if __name__ == "__main__":
    main()
