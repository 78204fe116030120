"""Whether a key stands twice in a JSON object. Decoders keep the last one and say nothing; two readers may then read two things.

A body as agents write it is recognised by its number of quotation marks, which costs next to nothing. Any other is read
again, key by key.
"""

import json
from typing import Any

import msgspec

from metering.errors import MalformedBatch
from metering.wire import Batch

_ALWAYS = 4 * 7 + 2 * 10
"""Quotation marks of a batch without points: seven texts with their keys, and ten other keys."""
_encoder = msgspec.json.Encoder()


def refuse_repeated_keys(body: bytes, batch: Batch) -> None:
    """Return if no object of the body has a key twice; `batch` is what the body was decoded to.

    Raises:
        MalformedBatch: with the key.
    """
    if body.startswith(b'{"v":') and b',"events":[' in body:
        more = body.count(b'"') - _marks(batch)
        if more == 0 or more == 2 * list(map(type, batch.x)).count(str):
            return
    json.loads(body, object_pairs_hook=_distinct)


def _marks(batch: Batch) -> int:
    """Return how many quotation marks there are, but for values, when no key stands twice and no text needs an escape."""
    marks = _ALWAYS + 4 * len(batch.points)
    if isinstance(batch.s, list):
        marks += 2
    if isinstance(batch.raw, dict):
        marks += 2 + 4 * len(batch.raw)
    return marks + (_encoder.encode(batch.events).count(b'"') if batch.events else 0)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise MalformedBatch(reason=f"the key {twice[:40]!r} stands twice")
    return found
