"""What faults did to the counters: bursts, set registers and stuck times, and how a restart remembers them.

An effect is a plain fact with its times, so a counter stays a function of the clock and of the effects until then.
"""

import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec

log = logging.getLogger(__name__)
FILE = "plant-state.json"


class Burst(msgspec.Struct, frozen=True, tag="burst"):
    """Between two times a meter's consumption is `factor` times what it would be."""

    meter: str
    from_ms: int
    to_ms: int
    factor: float


class Stuck(msgspec.Struct, frozen=True, tag="stuck"):
    """Between two times a meter shows what it showed at the first."""

    meter: str
    from_ms: int
    to_ms: int


class Set(msgspec.Struct, frozen=True, tag="set"):
    """At this time the register of a meter's counter was set to a value (steps of its resolution)."""

    meter: str
    at_ms: int
    steps: int


Effect = Burst | Stuck | Set


class State(msgspec.Struct):
    """What must outlive a restart of the simulators."""

    started_ms: int
    """The first start in this data folder."""
    effects: list[Effect] = []
    ports: dict[str, int] = {}
    """The free ports taken, by line."""


@dataclass
class Memory:
    """The state and the file it lives in."""

    path: Path
    state: State
    fresh: bool
    """Whether this is the first start in its folder."""

    @classmethod
    def open(cls, data: Path, now_ms: int) -> "Memory":
        """Return the memory kept in the folder `data`; one that cannot be read is set aside, and said."""
        path = data / FILE
        state = recall(data)
        if state is None and path.exists():
            log.warning("%s cannot be read; set aside as %s.bad, the counters start anew", path, path.name)
            path.replace(path.with_name(path.name + ".bad"))
        return cls(path, state or State(now_ms), fresh=state is None)

    def add(self, effects: Iterable[Effect]) -> None:
        """Remember effects, on disk before returning."""
        self.state.effects.extend(effects)
        self.save()

    def save(self) -> None:
        fresh = self.path.with_name(self.path.name + ".new")
        fresh.write_bytes(msgspec.json.encode(self.state))
        os.replace(fresh, self.path)


def recall(data: Path) -> State | None:
    """Return what the folder `data` remembers; None where there is nothing, or nothing readable."""
    try:
        return msgspec.json.decode((data / FILE).read_bytes(), type=State)
    except (OSError, msgspec.DecodeError):
        return None
