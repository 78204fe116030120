"""What a reading costs on its way into a payload and out of it, and how long it is there.

Ours encodes and packs a batch of 1,000 readings, unpacks and checks it. The limit is msgspec on the same four lists, without
compression, hash, names or checks. Python's json on these lists stands beside it, for comparison.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import zstandard

from bench.alternate import Row, Size, alternate, seconds
from bench.batches import batch
from metering.wire import decode_batch, encode, pack, unpack

READINGS = 1000
TIMES = 150

Lists = tuple[list[int], list[int], list[float], list[int]]


def measure(size: Size, folder: Path) -> Iterator[Row]:
    one = batch(READINGS, stream="6f9619ff-8b86-4d01-b42d-00cf4fc964ff", seq=1)
    lists = (one.t, one.p, one.x, one.q)
    payload, plain = pack(encode(one)), msgspec.json.encode(lists)
    encoder, decoder = msgspec.json.Encoder(), msgspec.json.Decoder(Lists)
    text = json.dumps(lists, separators=(",", ":"))
    yield from _rows("Encode and pack", size, {
        "ours": lambda: pack(encode(one)), "bare": lambda: encoder.encode(lists),
        "json": lambda: json.dumps(lists, separators=(",", ":")).encode(),
    })  # fmt: skip
    yield from _rows("Unpack, decode, check", size, {
        "ours": lambda: decode_batch(unpack(payload)), "bare": lambda: decoder.decode(plain),
        "json": lambda: json.loads(text),
    })  # fmt: skip
    bare_bytes = [len(zstandard.ZstdCompressor(level=1).compress(plain)) / READINGS]
    yield Row("As sent", "bytes/reading", [len(payload) / READINGS], bare_bytes, "the bare lists, zstd-1", True)
    yield Row(
        "… the same", "bytes/reading", [len(payload) / READINGS], [len(text) / READINGS], "the lists as JSON", True
    )


def _rows(name: str, size: Size, calls: dict[str, Callable[[], object]]) -> Iterator[Row]:
    count = size.of(TIMES)

    def timed(call: Callable[[], object]) -> Callable[[], float]:
        return lambda: 1e9 * seconds(lambda: [call() for _ in range(count)]) / count / READINGS

    found = alternate({contender: timed(call) for contender, call in calls.items()}, size.rounds)
    yield Row(name, "ns/reading", found["ours"], found["bare"], "msgspec, the bare lists", less_is_better=True)
    yield Row("… the same", "ns/reading", found["ours"], found["json"], "json of the same lists", less_is_better=True)
