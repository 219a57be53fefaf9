"""What goes wrong in a round, and when: drawn from one seed, so that it can be drawn again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final, Literal

from headrace.runtime.bus.failpoints import Point
from tests.faults.slots import CONSUMERS, PRODUCERS, STANDING, Slot

Backend = Literal["kafka", "postgres"]
Disturbance = Literal["cut", "half-open", "slow", "cut after"]

TRAFFIC_SECONDS: Final = 2.5
_POINTS: Final[tuple[Point, ...]] = (
    "before_commit",
    "after_commit",
    "before_publish",
    "after_publish",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Kill:
    """SIGKILL of a worker; its successor starts after `away` seconds."""

    at: float
    slot: Slot
    away: float

    def __str__(self) -> str:
        return f"kill {self.slot}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Crash:
    """SIGKILL, and the successor kills itself at the named point."""

    at: float
    slot: Slot
    point: Point
    passage: int

    def __str__(self) -> str:
        return f"crash {self.slot} {self.point}:{self.passage}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Freeze:
    """SIGSTOP of a worker for some seconds."""

    at: float
    slot: Slot
    seconds: float

    def __str__(self) -> str:
        return f"freeze {self.slot} {self.seconds:.1f}s"


@dataclass(frozen=True, kw_only=True, slots=True)
class Zombie:
    """SIGSTOP, a successor under the same name, and then the frozen one wakes up beside it."""

    at: float
    slot: Slot
    seconds: float

    def __str__(self) -> str:
        return f"zombie {self.slot} {self.seconds:.1f}s"


@dataclass(frozen=True, kw_only=True, slots=True)
class KillServer:
    """SIGKILL of a server; its supervisor starts it again."""

    at: float
    backend: Backend

    def __str__(self) -> str:
        return f"kill {self.backend}"


@dataclass(frozen=True, kw_only=True, slots=True)
class FreezeServer:
    """SIGSTOP of a server and its children for some seconds."""

    at: float
    backend: Backend
    seconds: float

    def __str__(self) -> str:
        return f"freeze {self.backend} {self.seconds:.1f}s"


@dataclass(frozen=True, kw_only=True, slots=True)
class Disturb:
    """Trouble on the way between a worker and a server; `size` in bytes for "cut after"."""

    at: float
    slot: Slot
    backend: Backend
    how: Disturbance
    seconds: float
    size: int

    def __str__(self) -> str:
        return f"{self.how} {self.slot}~{self.backend}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Join:
    """A third member joins the first group and leaves it again: two rebalances."""

    at: float
    seconds: float

    def __str__(self) -> str:
        return f"join {self.seconds:.1f}s"


@dataclass(frozen=True, kw_only=True, slots=True)
class Resend:
    """Records of the log are published once more, late, as a zombie relay would."""

    at: float
    records: int

    def __str__(self) -> str:
        return f"resend {self.records}"


@dataclass(frozen=True, kw_only=True, slots=True)
class FullDisk:
    """No byte is left on a server's disk for some seconds; never drawn, since it needs one."""

    at: float
    backend: Backend
    seconds: float

    def __str__(self) -> str:
        return f"full disk {self.backend} {self.seconds:.1f}s"


Fault = (
    Kill | Crash | Freeze | Zombie | KillServer | FreezeServer | Disturb | Join | Resend | FullDisk
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """One round: faults in the order of their time, in seconds after the first event."""

    seed: int
    seconds: float
    faults: tuple[Fault, ...]

    def __str__(self) -> str:
        return ", ".join(f"{fault}@{fault.at:.1f}" for fault in self.faults)


def draw(seed: int) -> Plan:
    """The plan of a seed: one to four faults while events flow."""
    random = Random(seed)
    makers = random.choices([maker for maker, _ in _MAKERS], _WEIGHTS, k=random.randint(1, 4))
    faults = [fault for maker in makers for fault in maker(random)]
    faults.sort(key=lambda fault: fault.at)
    return Plan(seed=seed, seconds=TRAFFIC_SECONDS, faults=tuple(faults))


def _moment(random: Random) -> float:
    return round(random.uniform(0.2, TRAFFIC_SECONDS - 0.5), 2)


def _kill(random: Random) -> list[Fault]:
    away = random.choice([0.0, 0.3, 1.0])
    return [Kill(at=_moment(random), slot=random.choice(STANDING), away=away)]


def _crash(random: Random) -> list[Fault]:
    """Only the leader publishes, and who is killed leads no more: there both members crash."""
    at = round(random.uniform(0.2, 1.0), 2)
    point = random.choice(_POINTS)
    passage = random.choice([1, 1, 2, 3, 5, 8])
    pair = random.choice([PRODUCERS, CONSUMERS])
    slots = pair if point.endswith("publish") else [random.choice(pair)]
    return [Crash(at=at, slot=slot, point=point, passage=passage) for slot in slots]


def _freeze(random: Random) -> list[Fault]:
    seconds = round(random.uniform(0.5, 4.0), 1)
    return [Freeze(at=_moment(random), slot=random.choice(STANDING), seconds=seconds)]


def _zombie(random: Random) -> list[Fault]:
    seconds = round(random.uniform(0.5, 3.0), 1)
    return [Zombie(at=_moment(random), slot=random.choice(STANDING), seconds=seconds)]


def _two_zombies(random: Random) -> list[Fault]:
    """Both members of one service, so that nobody of it is left who was never frozen."""
    at = _moment(random)
    pair = random.choice([PRODUCERS, CONSUMERS])
    return [Zombie(at=at, slot=slot, seconds=round(random.uniform(0.5, 3.0), 1)) for slot in pair]


def _kill_server(random: Random) -> list[Fault]:
    return [KillServer(at=_moment(random), backend=_backend(random))]


def _freeze_server(random: Random) -> list[Fault]:
    seconds = round(random.uniform(0.5, 2.5), 1)
    return [FreezeServer(at=_moment(random), backend=_backend(random), seconds=seconds)]


def _disturb(random: Random) -> list[Fault]:
    how: Disturbance = random.choice(["cut", "half-open", "slow", "cut after", "cut after"])
    return [
        Disturb(
            at=_moment(random),
            slot=random.choice(STANDING),
            backend=_backend(random),
            how=how,
            seconds=round(random.uniform(0.5, 3.0), 1),
            size=random.choice([1, 10, 100, 1000, 10_000]),
        )
    ]


def _join(random: Random) -> list[Fault]:
    return [Join(at=_moment(random), seconds=round(random.uniform(0.3, 1.5), 1))]


def _resend(random: Random) -> list[Fault]:
    return [Resend(at=_moment(random), records=random.choice([1, 20, 200]))]


def _backend(random: Random) -> Backend:
    backend: Backend = random.choice(["kafka", "postgres"])
    return backend


_MAKERS: Final[tuple[tuple[Callable[[Random], list[Fault]], int], ...]] = (
    (_kill, 3),
    (_crash, 4),
    (_freeze, 3),
    (_zombie, 3),
    (_two_zombies, 1),
    (_kill_server, 2),
    (_freeze_server, 2),
    (_disturb, 5),
    (_join, 2),
    (_resend, 3),
)
_WEIGHTS: Final = [weight for _, weight in _MAKERS]
