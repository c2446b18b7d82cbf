"""What can be said of a figure in each scenario, and which of it excludes what."""

from typing import Literal, get_args

from muybridge.data.label_maps import LabelMap
from muybridge.stage.actions import ACTIONS, REVERSAL_PAIRS

Scenario = Literal["general", "action", "reversal", "relation", "memory"]
SCENARIOS: tuple[Scenario, ...] = get_args(Scenario)

PERFORMANCES = ("toss ball", "lift box", "wave flag", "swing lantern")
SIGNAL_COLOURS = {"red": (255, 60, 48), "green": (64, 236, 96), "blue": (72, 128, 255)}
UNAWARE = "unaware"
WAIT = "wait"


def watching(performance: str) -> str:
    """The label of someone who watches a performance."""
    return f"watch {performance}"


def answering(colour: str) -> str:
    """The label of someone who answers a signal of that colour."""
    return f"answer {colour}"


def seeing(colour: str) -> str:
    """The label of someone in the light of a signal of that colour, while it is lit."""
    return f"see {colour}"


def stage_labels(scenario: Scenario) -> LabelMap:
    """All labels of a scenario, numbered from 1.

    General, action and reversal scenes share one list: actions of the whole body exclude each other, gestures go
    with any of them. In relation and memory scenes all labels exclude each other.
    """
    if scenario == "relation":
        names = (*PERFORMANCES, *(watching(name) for name in PERFORMANCES), UNAWARE)
        group = tuple(range(len(names)))
    elif scenario == "memory":
        names = (WAIT, *map(answering, SIGNAL_COLOURS), *map(seeing, SIGNAL_COLOURS))
        group = tuple(range(len(names)))
    else:
        names = tuple(ACTIONS)
        group = tuple(column for column, name in enumerate(names) if not ACTIONS[name].gesture)
    return LabelMap(names, tuple(range(1, len(names) + 1)), (group,))


def clip_labels(scenario: Scenario) -> tuple[str, ...]:
    """The classes of whole clips in a scenario, in order; a general scene has none."""
    return {
        "general": (),
        "action": tuple(ACTIONS),
        "reversal": tuple(name for pair in REVERSAL_PAIRS for name in pair),
        "relation": PERFORMANCES,
        "memory": tuple(SIGNAL_COLOURS),
    }[scenario]


def num_siblings(scenario: Scenario) -> int:
    """How many scenes there are that differ in nothing but the hidden cause of their labels."""
    return {"general": 1, "action": 1, "reversal": 2, "relation": len(PERFORMANCES), "memory": len(SIGNAL_COLOURS)}[
        scenario
    ]


def blind_ceiling(scenario: Scenario) -> float:
    """The best accuracy of any predictor that does not see the cause, on scenes together with all their siblings.

    reversal: siblings hold the same frames in opposite order, so whatever ignores order gives both the same answer
        and is right for one of the two.
    relation: siblings agree in every pixel of a watching figure's box, so whatever sees that box alone gives all of
        them the same answer and is right for one of them. (Figures that watch; others are told by their looks.)
    memory: siblings agree in every frame in which the signal is dark, so whatever sees only the time of the answer
        gives all of them the same answer and is right for one of them. (Figures that answer.)
    Ranking by such a predictor has, for each of these classes, the class's share of the boxes as its expected
    average precision, which is the same number.
    """
    return 1 / num_siblings(scenario)
