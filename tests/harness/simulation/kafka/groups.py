"""The coordinator of one consumer group: static members, eager rebalances, sessions."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from aiokafka import TopicPartition
from aiokafka.errors import UnknownMemberIdError

from tests.harness.simulation.network import Network

SESSION_SECONDS: Final = 10.0
HEARTBEAT_SECONDS: Final = 1.0
_REBALANCE_SECONDS: Final = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Joined:
    """What a member gets: who it is, and its partitions."""

    member: int
    generation: int
    places: Sequence[TopicPartition]


@dataclass(kw_only=True, slots=True)
class _Member:
    member: int
    heard: float
    joining: asyncio.Future[Joined] | None = None
    places: list[TopicPartition] = field(default_factory=list)


class Group:
    """Members by instance id. A member that comes back under its instance id gets its place."""

    def __init__(self, name: str, network: Network, places: Sequence[TopicPartition]) -> None:
        self.name = name
        self.committed: dict[TopicPartition, int] = {}
        self._network = network
        self._places = places
        self._members: dict[str, _Member] = {}
        self._generation = 0
        self._last_member = 0
        self._rebalancing = False

    def join(self, instance: str, member: int | None, answer: asyncio.Future[Joined]) -> None:
        """Ask for a place; answered when the group is complete."""
        known = self._members.get(instance)
        if known is None:
            known = self._add(instance)
            self._rebalance()
        elif member is None:
            self._replace(known)
        elif member != known.member:
            answer.set_exception(UnknownMemberIdError(self.name))
            return
        known.heard = self._network.loop.time()
        if self._rebalancing:
            known.joining = answer
            self._complete_if_all_joined()
        else:
            answer.set_result(self._joined(known))

    def heartbeat(
        self, instance: str, member: int, generation: int
    ) -> Literal["known", "rebalancing", "unknown"]:
        """Whether the member is still one, and whether it has to join again."""
        known = self._members.get(instance)
        if known is None or known.member != member:
            return "unknown"
        known.heard = self._network.loop.time()
        if self._rebalancing or generation != self._generation:
            return "rebalancing"
        return "known"

    def rebalance(self) -> None:
        """Deal the partitions anew, as when a topic changes."""
        if self._members:
            self._rebalance()

    def expel(self) -> None:
        """Take some member for dead, which learns of it with its next heartbeat."""
        if self._members:
            instance = self._network.random.choice(list(self._members))
            self._network.trace(f"{self.name}: {instance} is taken for dead")
            self._dismiss(self._members.pop(instance))
            self._rebalance()

    def restart(self) -> None:
        """The coordinator comes back: sessions begin again."""
        for member in self._members.values():
            member.heard = self._network.loop.time()

    def _add(self, instance: str) -> _Member:
        self._last_member += 1
        added = _Member(member=self._last_member, heard=self._network.loop.time())
        self._members[instance] = added
        self._network.loop.call_outside(SESSION_SECONDS, self._expire, instance, added)
        return added

    def _replace(self, known: _Member) -> None:
        self._last_member += 1
        known.member = self._last_member
        self._dismiss(known)

    def _dismiss(self, known: _Member) -> None:
        if known.joining is not None and not known.joining.done():
            known.joining.set_exception(UnknownMemberIdError(self.name))
        known.joining = None

    def _expire(self, instance: str, member: _Member) -> None:
        if self._members.get(instance) is not member:
            return
        left = member.heard + SESSION_SECONDS - self._network.loop.time()
        if left > 0 or member.joining is not None:
            wait = max(left, HEARTBEAT_SECONDS)
            self._network.loop.call_outside(wait, self._expire, instance, member)
            return
        self._network.trace(f"{self.name}: session of {instance} expired")
        del self._members[instance]
        self._rebalance()

    def _rebalance(self) -> None:
        if not self._rebalancing:
            self._rebalancing = True
            self._network.trace(f"{self.name}: rebalancing")
            self._network.loop.call_outside(_REBALANCE_SECONDS, self._drop_late, self._generation)
        self._complete_if_all_joined()

    def _drop_late(self, generation: int) -> None:
        if not self._rebalancing or generation != self._generation:
            return
        self._members = {
            instance: member
            for instance, member in self._members.items()
            if member.joining is not None
        }
        self._complete_if_all_joined()

    def _complete_if_all_joined(self) -> None:
        members = list(self._members.values())
        if not self._rebalancing or any(member.joining is None for member in members):
            return
        self._rebalancing = False
        self._generation += 1
        self._deal(members)
        for member in members:
            if member.joining is not None and not member.joining.done():
                member.joining.set_result(self._joined(member))
            member.joining = None

    def _deal(self, members: Sequence[_Member]) -> None:
        for member in members:
            member.places = []
        places = list(self._places)
        self._network.random.shuffle(places)
        for number, place in enumerate(places):
            if members:
                members[number % len(members)].places.append(place)

    def _joined(self, member: _Member) -> Joined:
        return Joined(
            member=member.member, generation=self._generation, places=sorted(member.places)
        )
