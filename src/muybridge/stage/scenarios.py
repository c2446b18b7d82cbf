"""Who does what in each kind of scene, and why its labels cannot be guessed without seeing the cause.

A plan has two sources of chance that never meet: the layout (looks, places, gestures, timing) and the cause, which
alone decides the labels in question. Scenes that differ in the cause only are siblings.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from muybridge.errors import OptionError
from muybridge.stage.actions import ACTIONS, REVERSAL_PAIRS
from muybridge.stage.improvise import (
    BALL_SIZE,
    FREE_GESTURES,
    WOOD,
    Improviser,
    ball_in_hand,
    carried_box,
    hand_prop,
    new_actor,
    play_catch,
    pushed_box,
    seat_for,
    toss_motions,
)
from muybridge.stage.labels import (
    PERFORMANCES,
    SIGNAL_COLOURS,
    UNAWARE,
    WAIT,
    Scenario,
    answering,
    clip_labels,
    num_siblings,
    seeing,
    watching,
)
from muybridge.stage.props import Prop, at_rest, thrown
from muybridge.stage.skeleton import Floats
from muybridge.stage.timeline import Actor, Span, hold, span

_Random = np.random.Generator
NEAR, FAR = 4.6, 7.6  # metres from the camera between which figures stand
PERFORMER_REACH = 1.15  # metres to either side that a performer and its object stay within
BODY_REACH = 0.6  # metres to either side that a standing, gesturing figure stays within
FLASH_SECONDS = 1.0
ANSWER_SECONDS = 2.0
_NARROW = (
    "a relation scene does not fit: performer and watchers must keep clear of each other. Choose a wider picture "
    "(at least 16:9), a smaller figure_share or a smaller separation"
)


@dataclass(frozen=True)
class Layout:
    """What a plan needs to know of the scene.

    Attributes:
        actors: how many figures.
        duration: seconds.
        half_width: half of the visible width in metres for each metre of distance from the camera.
        separation: share of the picture's width that a relation scene keeps between cause and watchers.
        delay: seconds from a signal to its answer in a memory scene.
        period: seconds from one signal to the next.
    """

    actors: int
    duration: float
    half_width: float
    separation: float
    delay: float
    period: float


@dataclass
class Plan:
    """Everybody's part.

    Attributes:
        actors, props: what is on the stage.
        label: the class of the whole clip, if it has one.
        backwards: time runs from the end to the start.
        light: colour (T, 3) RGB and strength (T,) in [0, 1] of a light on the whole scene at T times, if any.
    """

    actors: list[Actor] = field(default_factory=list)
    props: list[Prop] = field(default_factory=list)
    label: str | None = None
    backwards: bool = False
    light: Callable[[Floats], tuple[Floats, Floats]] | None = None


def make_plan(scenario: Scenario, layout: Layout, random: _Random, cause: _Random, sibling: int) -> Plan:
    """The plan of a scene; `cause` draws the hidden cause and `sibling` steps from it to the next one."""
    if scenario == "general":
        return _general(layout, random)
    if scenario == "action":
        names = clip_labels("action")
        return _solo(layout, random, names[cause.integers(len(names))])
    if scenario == "reversal":
        pair = REVERSAL_PAIRS[random.integers(len(REVERSAL_PAIRS))]
        chosen = (int(cause.integers(2)) + sibling) % 2
        plan = _solo(layout, random, pair[0])
        _rename(plan, pair, backwards=chosen == 1)
        return plan
    shift = [
        (int(draw) + sibling) % num_siblings(scenario) for draw in cause.integers(num_siblings(scenario), size=999)
    ]
    return _relation(layout, random, shift[0]) if scenario == "relation" else _memory(layout, random, shift)


def _rename(plan: Plan, pair: tuple[str, str], *, backwards: bool) -> None:
    """Makes a plan run backwards and calls its actions by what they then are."""
    plan.backwards, plan.label = backwards, pair[1] if backwards else pair[0]
    if not backwards:
        return
    for actor in plan.actors:
        for spans in (actor.base, actor.gestures):
            spans[:] = [
                Span(part.action, part.start, part.end, part.period, part.left_handed,
                     part.label if part.label is not None else part.action.reversal or part.action.name, part.offset)
                for part in spans
            ]  # fmt: skip


def _spread(random: _Random, count: int, layout: Layout, margin: float = BODY_REACH) -> list[tuple[float, float]]:
    """Places for figures, far apart from each other across the picture, at various distances."""
    distances = random.uniform(NEAR, FAR, count)
    slots = (np.arange(count) + random.uniform(0.2, 0.8, count)) / max(1, count) * 2 - 1
    order = random.permutation(count)
    return [
        (float(slots[i] * max(0.1, layout.half_width * distances[i] - margin)), float(distances[i])) for i in order
    ]


def _general(layout: Layout, random: _Random) -> Plan:
    """Everyone improvises; in company, two may play catch."""
    plan = Plan()
    rest = layout.actors
    if layout.actors >= 3 and random.random() < 0.5:
        distance = random.uniform(NEAR, NEAR + 1.5)
        gap = min(random.uniform(2.0, 3.2), 1.7 * layout.half_width * distance)
        middle = random.uniform(-0.5, 0.5) * max(0.0, layout.half_width * distance - gap / 2 - 0.3)
        pair = [
            new_actor(index, random, (middle + (index - 0.5) * gap, distance), (0.0, 180.0)[index], child_share=0.0)
            for index in range(2)
        ]
        plan.actors += pair
        plan.props.append(play_catch(pair[0], pair[1], layout.duration, random))
        rest -= 2
    for place in _spread(random, rest, layout):
        roams = bool(random.random() < 0.6)
        heading = random.choice([0.0, 180.0]) + random.uniform(-12, 12) if roams else random.uniform(20, 160)
        actor = new_actor(len(plan.actors), random, place, float(heading))
        reach = max(0.5, layout.half_width * place[1] - 0.4)
        plan.props += Improviser(actor, layout.duration, reach, random, roams=roams).fill()
        plan.actors.append(actor)
    return plan


def _solo(layout: Layout, random: _Random, name: str) -> Plan:
    """One figure does one thing; the others stand about and gesture."""
    action = ACTIONS[name]
    plan = Plan(label=name)
    distance = random.uniform(NEAR, NEAR + 1.2)
    heading = float(random.choice([0.0, 180.0]) + random.uniform(-28, 28))
    if action.gesture and action.prop is None:
        heading = random.uniform(40, 140)
    actor = new_actor(0, random, (0.0, distance), heading)
    if action.cyclic:
        actor.base.append(span("stand" if action.gesture else name, 0, layout.duration, random))
        if action.gesture:
            actor.gestures.append(span(name, -1, layout.duration + 1, random))
        _centre(actor, layout, random)
    else:
        _movement(actor, name, layout, random)
        actor.place = (random.uniform(-0.3, 0.3) * layout.half_width * distance, distance)
    plan.actors.append(actor)
    prop = _solo_prop(actor, name, layout, random)
    plan.props += [prop] if prop else []
    for place in _spread(random, layout.actors - 1, layout):
        other = new_actor(len(plan.actors), random, (place[0], max(place[1], distance + 0.6)), random.uniform(0, 180))
        other.base.append(span("stand", -3, layout.duration + 3, random))
        if random.random() < 0.6:
            other.gestures.append(span(str(random.choice(FREE_GESTURES[2:])), -1, layout.duration + 1, random))
        plan.actors.append(other)
    return plan


def _centre(actor: Actor, layout: Layout, random: _Random) -> None:
    """Moves a walker's start so that its way lies around the middle of the picture."""
    places, _ = actor.whereabouts(np.array([0.0, layout.duration]))
    middle = places.mean(axis=0)
    slack = max(0.0, layout.half_width * actor.place[1] - abs(places[1, 0] - places[0, 0]) / 2 - BODY_REACH)
    actor.place = (actor.place[0] - middle[0] + random.uniform(-1, 1) * slack * 0.6, 2 * actor.place[1] - middle[1])


def _movement(actor: Actor, name: str, layout: Layout, random: _Random) -> None:
    """The movement somewhere in the clip, with its first posture held before and its last one after."""
    action = ACTIONS[name]
    seconds = min(random.uniform(*action.seconds), 0.9 * layout.duration)
    start = random.uniform(0, layout.duration - seconds)
    movement = Span(action, start, start + seconds, seconds, left_handed=False)
    actor.base += [hold_first(movement), movement, hold(movement, start + seconds, layout.duration + 3, action.after)]


def hold_first(movement: Span) -> Span:
    """A span before a movement that keeps its first pose."""
    return Span(
        movement.action, movement.start - 60, movement.start, 1e9, movement.left_handed, movement.action.before
    )


def _solo_prop(actor: Actor, name: str, layout: Layout, random: _Random) -> Prop | None:
    """The thing that goes with an action."""
    action = ACTIONS[name]
    movement = actor.base[1] if len(actor.base) > 1 else actor.base[0]
    if action.prop is None:
        return None
    if action.prop == "seat":
        return seat_for(actor, movement, random)
    if name in ("push", "pull"):
        return pushed_box(actor, random)
    if name in ("pick up", "put down"):
        return carried_box(
            actor, movement if name == "pick up" else None, movement if name == "put down" else None, random
        )
    if action.prop == "door":
        return _cupboard(actor, movement, random, opens=name == "open door")
    if name in ("throw", "catch"):
        return _passed_ball(actor, movement, random, leaves=name == "throw")
    prop = hand_prop(action.prop, actor, random)
    if name == "toss ball":
        prop = Prop("ball", prop.colour, prop.size, toss_motions(actor, actor.gestures[0], layout.duration + 1))
    return prop


def _cupboard(actor: Actor, movement: Span, random: _Random, *, opens: bool) -> Prop:
    """A cupboard within reach of a hand, whose door follows the movement."""
    place, heading = actor.whereabouts(np.array([movement.start]))
    height = actor.figure.look.body.height
    x = place[0, 0] + np.sign(np.cos(np.deg2rad(heading[0]))) * 0.55 * height

    def openness(seconds: Floats) -> Floats:
        u = movement.phase(np.clip(seconds, movement.start, movement.end))
        u = np.clip(((u if opens else 1 - u) - 0.28) / 0.55, 0, 1)
        return u * u * (3 - 2 * u)

    rest = at_rest(x, 0.62 * height, place[0, 1] + 0.25)
    return Prop("door", WOOD[random.integers(len(WOOD))], 0.75 * height, [(0.0, rest)], openness=openness)


def _passed_ball(actor: Actor, movement: Span, random: _Random, *, leaves: bool) -> Prop:
    """A ball that flies off from a throwing hand, or in from beyond the picture to a catching one."""
    moment = movement.start + (0.56 if leaves else 0.44) * (movement.end - movement.start)
    held = ball_in_hand(actor, "r")
    hand = held(np.array([moment])).place[0]
    heading = np.deg2rad(actor.whereabouts(np.array([moment]))[1][0])
    away = hand + np.array([5.0 * np.sign(np.cos(heading)), -0.3, 0])
    colour = (226, 72, 62) if random.random() < 0.5 else (246, 176, 60)
    if leaves:
        return Prop("ball", colour, BALL_SIZE, [(0.0, held), (moment, thrown(hand, away, moment, moment + 0.9))])
    return Prop("ball", colour, BALL_SIZE, [(-1e6, thrown(away, hand, moment - 0.9, moment)), (moment, held)])


def _relation(layout: Layout, random: _Random, cause: int) -> Plan:
    """One figure performs with an object; the others watch it or, with their backs turned, do not.

    Those who watch are labelled by what they watch. Their looks, places and gestures are drawn before the
    performance is known and keep clear of it by `layout.separation`, so the pixels in and around their boxes say
    nothing about it.
    """
    plan = Plan(label=PERFORMANCES[cause])
    side = float(random.choice([-1.0, 1.0]))
    distance = random.uniform(NEAR, NEAR + 0.8)
    x = side * max(0.0, layout.half_width * distance - PERFORMER_REACH)
    performer = new_actor(0, random, (x, distance), 90 + random.uniform(-15, 15), child_share=0.0)
    gesture_random = np.random.default_rng(random.integers(2**32))
    audience: list[Actor] = []
    for number in range(layout.actors - 1):
        depth = random.uniform(NEAR, FAR)
        # Where the performer's reach ends in the picture, in half widths from the middle, and the gap beyond it.
        border = (x - side * PERFORMER_REACH) / (layout.half_width * distance) - side * 2 * layout.separation
        inner = border * layout.half_width * depth - side * BODY_REACH
        outer = -side * (layout.half_width * depth - BODY_REACH)
        if side * inner < side * outer:
            raise OptionError(_NARROW)
        spot = inner + (outer - inner) * (number + random.random()) / (layout.actors - 1)
        watches = number == 0 or random.random() < 0.75
        heading = (0.0 if side > 0 else 180.0) + (0 if watches else 180) + random.uniform(-25, 25)
        watcher = new_actor(number + 1, random, (float(spot), depth), heading)
        label = watching(PERFORMANCES[cause]) if watches else UNAWARE
        watcher.base.append(span("stand", -3, layout.duration + 3, random, label=label))
        if random.random() < 0.4:
            start = random.uniform(0, 0.6) * layout.duration
            gesture = str(random.choice(("clap", "phone")))
            watcher.gestures.append(span(gesture, start, start + random.uniform(1.2, 2.5), random, label=""))
        audience.append(watcher)
    performer.base.append(span("stand", -3, layout.duration + 3, gesture_random, label=""))
    gesture = span(PERFORMANCES[cause], -1, layout.duration + 1, gesture_random)
    performer.gestures.append(gesture)
    kind = ACTIONS[gesture.action.name].prop
    assert kind is not None
    prop = hand_prop(kind, performer, gesture_random)
    if kind == "ball":
        prop = Prop("ball", prop.colour, prop.size, toss_motions(performer, gesture, layout.duration + 1))
    plan.props.append(prop)
    plan.actors = [performer, *audience]
    return plan


def _memory(layout: Layout, random: _Random, causes: list[int]) -> Plan:
    """A signal flashes in one colour, and `layout.delay` seconds later figures raise their arms in answer.

    While it is lit, everybody is labelled as seeing its colour. The answer looks the same whatever the colour; its
    label is the colour of the last flash. Between flash and answer nothing tells of it. Flashes are `layout.period`
    apart: a window of w seconds to either side of an answer holds its own flash alone while
    delay <= w < period - delay.
    """
    plan = Plan()
    for place in _spread(random, layout.actors, layout):
        heading = random.uniform(50, 130)
        actor = new_actor(len(plan.actors), random, (place[0], min(place[1], 6.6)), heading)
        actor.base.append(span("stand", -3, layout.duration + 3, random, label=WAIT))
        plan.actors.append(actor)
    flashes: list[tuple[float, int]] = []
    names, colours = list(SIGNAL_COLOURS), np.array(list(SIGNAL_COLOURS.values()), np.float64)
    moment = random.uniform(0.5, 2.0)
    while moment < layout.duration:
        colour = causes[len(flashes)]
        flashes.append((moment, colour))
        answer = moment + layout.delay
        for actor in plan.actors:
            if random.random() < 0.8 or actor is plan.actors[0]:
                delay = random.uniform(0, 0.3)
                part = span(
                    "wave",
                    answer + delay,
                    answer + ANSWER_SECONDS,
                    random,
                    left_handed=random.random() < 0.5,
                    label=answering(names[colour]),
                )
                actor.gestures.append(part)
        moment += layout.period + random.uniform(0, 1)
    plan.label = names[flashes[0][1]]
    for actor in plan.actors:
        for start, colour in flashes:
            _relabel(actor, start, start + FLASH_SECONDS, seeing(names[colour]))

    def glow(seconds: Floats) -> tuple[Floats, Floats]:
        light, strength = np.zeros((len(seconds), 3)), np.zeros(len(seconds))
        for start, colour in flashes:
            u = (seconds - start) / FLASH_SECONDS
            lit = (u >= 0) & (u < 1)
            light[lit] = colours[colour]
            strength[lit] = np.clip(np.minimum(u, 1 - u)[lit] * 8, 0, 1)
        return light, strength

    def light(seconds: Floats) -> tuple[Floats, Floats]:
        colour, strength = glow(seconds)
        return colour, 0.25 * strength

    x = random.uniform(-0.5, 0.5) * layout.half_width * 8
    post = at_rest(float(x), 2.35, 8.0)
    plan.props.append(Prop("signal", (90, 90, 96), 0.34, [(0.0, post)], glow=glow))
    plan.light = light
    return plan


def _relabel(actor: Actor, start: float, end: float, label: str) -> None:
    """Calls the last span of a figure's base by another label from start to end; its pose goes on as it was."""
    part = actor.base.pop()
    for first, last, name in ((part.start, start, part.label), (start, end, label), (end, part.end, part.label)):
        offset = part.offset + (first - part.start) / part.period
        actor.base.append(replace(part, start=first, end=last, offset=offset, label=name))
