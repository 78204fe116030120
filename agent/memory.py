"""What is remembered of the meters over a restart, in a small file beside the outbox: the places each refuses, and what
it said of itself. It is no record: a damaged file is begun anew, and what it held is found out again."""

import hashlib
import json
import logging
import os
from pathlib import Path
from typing import Any

import msgspec

from agent.wiring import Meter

log = logging.getLogger(__name__)


class Forbidden(msgspec.Struct):
    """A request that cannot be divided and that the meter refuses."""

    points: tuple[str, ...]
    label: str
    code: int
    why: str
    at: int
    """When it last refused, Unix ms."""
    tries: int = 0
    """How often it refused since it is forbidden."""


class Remembered(msgspec.Struct):
    """Of one meter. What it refuses holds for these points of this profile at this address of this line only."""

    asked: str = ""
    forbidden: dict[str, Forbidden] = {}
    """By the names of their points."""
    identity: dict[str, str] = {}
    unanswered: int = 0
    """Contacts in a row at which it did not answer to the protocol's own question who it is."""


class Memory:
    """Of all meters. Without a path nothing is kept over a restart."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._meters: dict[str, Remembered] = _read(path) if path is not None else {}

    def of(self, meter: Meter) -> Remembered:
        """Return what is known of a meter as it is asked now."""
        known = self._meters.setdefault(meter.id, Remembered())
        asked = fingerprint(meter)
        if known.asked != asked:
            known.asked, known.forbidden, known.unanswered = asked, {}, 0
        return known

    def save(self) -> None:
        """Keep it. A disk that refuses costs nothing but finding it out again."""
        if self._path is None:
            return
        beside = self._path.with_suffix(".new")
        try:
            beside.write_bytes(msgspec.json.format(msgspec.json.encode(self._meters)))
            os.replace(beside, self._path)
        except OSError as error:
            log.warning("%s cannot be written: %s", self._path, error)


def fingerprint(meter: Meter) -> str:
    """Return what changes when the meter's line, address, profile or points do."""
    points: dict[str, Any] = {name: place.model_dump(mode="json") for name, place in meter.plan.points.items()}
    profile = meter.plan.profile
    told = [meter.line, meter.plan.address, profile.vendor, profile.model, profile.limits, profile.defaults, points]
    return hashlib.sha256(json.dumps(told, default=str, sort_keys=True).encode()).hexdigest()[:16]


def _read(path: Path) -> dict[str, Remembered]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Remembered])
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        log.warning("%s is begun anew: %s", path, error)
        return {}
