"""Parts for figures that do whatever they like: walking about, sitting, carrying, playing catch."""

from collections.abc import Callable
from typing import Literal

import numpy as np

from muybridge.stage.actions import ACTIONS, GET_UP_FROM_FALL
from muybridge.stage.figures import Figure, random_appearance
from muybridge.stage.props import Motion, Prop, at_rest, in_hands, pushed, thrown
from muybridge.stage.skeleton import JOINT
from muybridge.stage.timeline import Actor, Span, hold, span

_Random = np.random.Generator
FREE_GESTURES = ("wave", "point", "clap", "phone")
KITS = {"ball": "toss ball", "flag": "wave flag", "lantern": "swing lantern"}
BRIGHT = ((226, 72, 62), (246, 176, 60), (72, 148, 214), (96, 180, 104), (196, 92, 168), (240, 214, 84))
BALL_SIZE = 0.24  # metres
WOOD = ((190, 140, 92), (206, 164, 112), (160, 108, 74), (178, 150, 124))


def ball_in_hand(actor: Actor, hand: Literal["l", "r"]) -> Motion:
    return in_hands(actor, hand, beyond=0.3 * BALL_SIZE)


def hand_prop(kind: str, actor: Actor, random: _Random, *, left_handed: bool = False) -> Prop:
    """A ball, flag, lantern or box that an actor holds all the time."""
    hand = "l" if left_handed else "r"
    bright = BRIGHT[random.integers(len(BRIGHT))]
    if kind == "ball":
        return Prop("ball", bright, BALL_SIZE, [(0.0, ball_in_hand(actor, hand))])
    if kind == "flag":
        return Prop("flag", bright, 0.9, [(0.0, in_hands(actor, hand))])
    if kind == "lantern":
        return Prop("lantern", (250, 206, 110), 0.4, [(0.0, in_hands(actor, hand))])
    return Prop("box", WOOD[random.integers(len(WOOD))], 0.42, [(0.0, in_hands(actor, "both", ahead=0.05))])


def toss_motions(actor: Actor, gesture: Span, until: float) -> list[tuple[float, Motion]]:
    """A ball that leaves the hand at the top of each swing of "toss ball" and is caught on the way down."""
    hand = "l" if gesture.left_handed else "r"
    holding = ball_in_hand(actor, hand)
    motions: list[tuple[float, Motion]] = [(0.0, holding)]
    first = int(np.ceil(gesture.offset))
    for cycle in range(first, first + int((until - gesture.start) / gesture.period) + 1):
        release = gesture.start + (cycle - gesture.offset + 0.2) * gesture.period
        catch = release + 0.62 * gesture.period
        if catch > min(until, gesture.end - 0.3) or release < gesture.start + 0.3:
            continue
        start, end = (holding(np.array([moment])).place[0] for moment in (release, catch))
        motions += [(release, thrown(start, end, release, catch)), (catch, holding)]
    return motions


class Improviser:
    """Fills one actor's timeline with actions that follow from each other.

    Args:
        actor: placed and facing somewhere; its spans are added here.
        until: seconds to fill.
        reach: metres to either side of the picture's middle that it may walk to.
        random: decides everything.
        roams: walks about; otherwise it stays and gestures.
    """

    def __init__(self, actor: Actor, until: float, reach: float, random: _Random, *, roams: bool) -> None:
        self.actor, self.until, self.reach, self.random, self.roams = actor, until, reach, random, roams
        self.props: list[Prop] = []
        self.now = -random.uniform(0, 3)
        self.kit = str(random.choice(["", "", "", *KITS]))

    def fill(self) -> list[Prop]:
        """Adds spans up to `until` and returns the things they need."""
        if self.kit:
            self.props.append(hand_prop(self.kit, self.actor, self.random))
        self._do("stand", self.random.uniform(0.4, 1.5))
        seat_free = True
        while self.now < self.until:
            ideas: list[tuple[Callable[[], None], float]] = [
                (self._stand, 3.2), (self._jump, 0.7), (self._bow, 0.5), (self._crouch, 0.6), (self._lie, 0.25),
                (self._fall, 0.15), (self._arm, 0.6), (self._sit, 0.8 * seat_free), (self._box, 0.5 * (not self.kit)),
                (self._walk, 6.0 * self.roams), (self._run, 1.3 * self.roams), (self._turn, 0.4 * self.roams),
            ]  # fmt: skip
            weights = np.array([weight for _, weight in ideas])
            choice = ideas[int(self.random.choice(len(ideas), p=weights / weights.sum()))][0]
            seat_free = seat_free and choice != self._sit
            choice()
        return self.props

    def _do(self, name: str, seconds: float | None = None, label: str | None = None) -> Span:
        duration = self.random.uniform(*ACTIONS[name].seconds) if seconds is None else seconds
        part = span(name, self.now, self.now + duration, self.random, label=label)
        self.actor.base.append(part)
        self.now += duration
        return part

    def _gesture(self, part: Span, share: float) -> None:
        """With this probability a gesture somewhere in a span of the base."""
        room = part.end - part.start
        if room < 1.2 or self.random.random() > share:
            return
        name = KITS.get(self.kit) or str(self.random.choice(FREE_GESTURES))
        length = min(room, self.random.uniform(1.2, 3.0))
        start = part.start + self.random.random() * max(0.0, room - length)
        gesture = span(name, start, start + length, self.random)
        self.actor.gestures.append(gesture)
        if self.kit == "ball":
            ball = self.props[0]
            flights = toss_motions(self.actor, gesture, gesture.end)
            self.props[0] = Prop("ball", ball.colour, ball.size, ball.motions + flights[1:])

    def _stand(self) -> None:
        self._gesture(self._do("stand", self.random.uniform(1.2, 4)), 0.75)

    def _ahead(self) -> float:
        """Metres until the actor would leave its reach, walking on."""
        place, heading = self.actor.whereabouts(np.array([self.now]))
        direction = np.cos(np.deg2rad(heading[0]))
        return (self.reach - np.sign(direction) * place[0, 0]) / max(0.2, abs(direction))

    def _travel(self, name: str, seconds: float) -> None:
        if self._ahead() < 1.2:
            self._turn()
        action = ACTIONS[name]
        period = self.random.uniform(*action.seconds)
        speed = action.speed * self.actor.figure.look.body.height / period
        seconds = min(seconds, max(0.8, self._ahead() / speed))
        self.actor.base.append(Span(action, self.now, self.now + seconds, period))
        self.now += seconds
        if name == "walk":
            self._gesture(self.actor.base[-1], 0.3)

    def _walk(self) -> None:
        self._travel("walk", self.random.uniform(1.8, 5))

    def _run(self) -> None:
        self._travel("run", self.random.uniform(1.2, 2.5))

    def _turn(self) -> None:
        self._do(str(self.random.choice(["turn left", "turn right"])))

    def _jump(self) -> None:
        for _ in range(int(self.random.integers(1, 3))):
            self._do("jump")

    def _bow(self) -> None:
        self._do("bow")

    def _fall(self) -> None:
        fallen = self._do("fall")
        rest, rise = self.random.uniform(1, 2.5), self.random.uniform(1.6, 2.4)
        self.actor.base.append(hold(fallen, self.now, self.now + rest, "lie"))
        self.now += rest
        self.actor.base.append(Span(GET_UP_FROM_FALL, self.now, self.now + rise, rise))
        self.now += rise

    def _lie(self) -> None:
        self._do("lie down")
        self._do("lie", self.random.uniform(1.5, 3))
        self._do("get up")

    def _crouch(self) -> None:
        self._do("crouch down")
        self._do("crouch", self.random.uniform(0.8, 2))
        self._do("rise")

    def _arm(self) -> None:
        self._do("raise arm")
        self._do("lower arm")

    def _sit(self) -> None:
        """On a seat that stands there from the beginning."""
        down = self._do("sit down")
        self.props.append(seat_for(self.actor, down, self.random))
        self._gesture(self._do("sit", self.random.uniform(2, 4.5)), 0.6)
        self._do("stand up")

    def _box(self) -> None:
        """Picks a box up, holds or carries it, puts it down."""
        up = self._do("pick up")
        if self.roams and self._ahead() > 1.5:
            start = self.now
            self._do("walk", min(self.random.uniform(1.5, 3), self._ahead() / 1.2))
            self.actor.gestures.append(span("carry", start - 0.3, self.now + 0.3, self.random))
        else:
            self.actor.gestures.append(span("carry", self.now - 0.3, self.now + 1.8, self.random))
            self._do("stand", 1.5)
        down = self._do("put down")
        self.props.append(carried_box(self.actor, up, down, self.random))


def seat_for(actor: Actor, sitting: Span, random: _Random) -> Prop:
    """A stool where an actor is once it has sat down, as high as its thighs are then."""
    moment = np.array([sitting.end - 1e-6 if sitting.name != "stand up" else sitting.start])
    joints, (place, _) = actor.joints(moment)[0], actor.whereabouts(moment)
    hips = joints[[JOINT["hip_l"], JOINT["hip_r"]]].mean(axis=0)
    body = actor.figure.look.body
    height = hips[1] - 0.05 * body.height * body.girth
    rest = at_rest(place[0, 0] + hips[0], height, place[0, 1] - hips[2], nearer=-0.12)
    return Prop("seat", BRIGHT[random.integers(len(BRIGHT))], height, [(0.0, rest)])


def carried_box(actor: Actor, up: Span | None, down: Span | None, random: _Random) -> Prop:
    """A box that is on the floor until half of `up`, in both hands, and on the floor again from half of `down`."""
    held = in_hands(actor, "both", ahead=0.05)
    motions: list[tuple[float, Motion]] = [(0.0, held)]
    for part, at_floor_first in ((up, True), (down, False)):
        if part is None:
            continue
        moment = (part.start + part.end) / 2
        where = held(np.array([moment]))
        floor = at_rest(*where.place[0], nearer=float(where.nearer[0]))
        motions = [(-1e6, floor), (moment, held)] if at_floor_first else [*motions, (moment, floor)]
    return Prop("box", WOOD[random.integers(len(WOOD))], 0.42, motions)


def pushed_box(actor: Actor, random: _Random) -> Prop:
    """A large box that slides before an actor's hands."""
    body = actor.figure.look.body
    size = 0.52 * body.height
    return Prop(
        "box",
        WOOD[random.integers(len(WOOD))],
        size,
        [(0.0, pushed(actor, 0.33 * body.height + 0.5 * size, 0.42 * size))],
    )


def play_catch(first: Actor, second: Actor, until: float, random: _Random) -> Prop:
    """Two actors that face each other throw a ball to and fro; returns the ball."""
    for actor in (first, second):
        actor.base.append(span("stand", -3.0, until + 3, random))
    now = random.uniform(0.1, 0.8)
    motions: list[tuple[float, Motion]] = [(-1e6, ball_in_hand(first, "r"))]
    thrower, catcher = first, second
    while now < until:
        seconds, flight = random.uniform(1.2, 1.5), random.uniform(0.65, 0.9)
        release = now + 0.56 * seconds
        arrival = release + flight
        catch_start = arrival - 0.42 * seconds
        # The throw ends and the catch begins before the next movement of either.
        thrower.gestures.append(Span(ACTIONS["throw"], now, now + seconds, seconds))
        catcher.gestures.append(Span(ACTIONS["catch"], catch_start, catch_start + seconds, seconds))
        start = ball_in_hand(thrower, "r")(np.array([release])).place[0]
        end = ball_in_hand(catcher, "r")(np.array([arrival])).place[0]
        motions += [(release, thrown(start, end, release, arrival)), (arrival, ball_in_hand(catcher, "r"))]
        now = catch_start + seconds + random.uniform(0.2, 0.9)
        thrower, catcher = catcher, thrower
    return Prop("ball", BRIGHT[random.integers(len(BRIGHT))], BALL_SIZE, motions)


def new_actor(track_id: int, random: _Random, place: tuple[float, float], heading: float, **looks: float) -> Actor:
    """A figure with looks of its own and nothing to do yet."""
    return Actor(track_id, Figure(random_appearance(random, **looks)), place, heading)
