"""A line whose replies name nothing, where everything goes wrong at once, from a seed: no wrong value ever comes out of it."""

import asyncio
import random
import struct
from collections.abc import Callable
from typing import Any

import pytest

from agent.gaps import GapBook
from agent.line import LineOwner
from agent.wiring import Wiring

Wired = Callable[..., Wiring]
HOLDS = {0: 100_000.0, 500: 7.0, 900: -3.25}
"""Three registers too far apart for one request, whose replies look alike; the second unit holds ten times as much."""
HOURS = 1


class Storm:
    """Two units behind a gateway that answers in order, late, spoilt, doubled, torn, for another unit, or not at all, and that
    hangs up with a request under way. What comes from the bus goes to whoever is connected then."""

    def __init__(self, seed: int, fakes: Any) -> None:
        self.dice = random.Random(seed)
        self.fakes = fakes
        self.free_at = {1: 0.0, 2: 0.0}
        self.spoilt = 0
        self.hung_up = 0
        self._wire = fakes.Wire(self.asked)
        self._end: Any = None

    async def open(self) -> Any:
        self._end = await self._wire.open()
        return self._end

    def asked(self, frame: bytes) -> list[tuple[float, bytes]]:
        loop = asyncio.get_running_loop()
        replies = self.replies(frame)
        if self.dice.random() < 0.02:
            self.hung_up += 1
            loop.call_later(0.005, self._end._arrived.put_nowait, self.fakes.LOST)
            replies = [(after_s, reply) for after_s, reply in replies if reply[0] == frame[0]]
        for after_s, reply in replies:
            loop.call_later(after_s, lambda reply=reply: self._end._arrived.put_nowait(reply))
        return []

    def reply(self, unit: int, address: int) -> bytes:
        data = bytes([unit, 3, 4]) + struct.pack(">f", HOLDS[address] * (10 if unit == 2 else 1))
        return data + self.fakes.checksum(data)

    def replies(self, frame: bytes) -> list[tuple[float, bytes]]:
        now = asyncio.get_running_loop().time()
        unit, address = frame[0], int.from_bytes(frame[2:4], "big")
        right = self.reply(unit, address)
        dice = self.dice.random()
        delay = 0.02 if dice > 0.06 else self.dice.choice([0.31, 0.45, 0.7, 1.1, 1.9, 2.2])
        self.free_at[unit] = max(self.free_at[unit], now) + delay
        after_s = self.free_at[unit] - now
        self.spoilt += dice < 0.3
        if dice < 0.06 or dice >= 0.3:
            return [(after_s, right)]
        noise = self.dice.randbytes(self.dice.randint(1, 12))
        if dice < 0.10:
            return []
        if dice < 0.14:
            return [(after_s, right[: self.dice.randint(1, len(right) - 1)])]
        if dice < 0.18:
            return [(after_s, right[:4] + bytes([right[4] ^ 1 << self.dice.randint(0, 7)]) + right[5:])]
        if dice < 0.22:
            return [(after_s, right + right)]
        if dice < 0.26:
            return [(after_s, noise + right)]
        return [(after_s, self.reply(3 - unit, address)), (after_s + 0.01, noise)]


LINES = {"/dev/x": "serial: /dev/x", "meter:502": 'framer: rtu, tcp: "meter:502"'}


@pytest.mark.parametrize("where", LINES)
@pytest.mark.parametrize("seed", range(3))
def test_f22_f23_of_an_hour_of_late_foreign_and_spoilt_replies_no_wrong_value_is_delivered(
    wired: Wired, world: Any, fakes: Any, in_virtual_time: Any, tmp_path: Any, seed: int, where: str
) -> None:
    (tmp_path / "three.yaml").write_text(
        "vendor: x\nmodel: y\nkind: electricity\nprotocol: modbus\ndefaults: {fc: 3, type: f32}\npoints:\n"
        + "".join(f"  p{at}: {{address: {at}, unit: kWh, role: gauge}}\n" for at in HOLDS)
        + "source: {title: made up}\nstatus: unverified\n"
    )
    storm = Storm(seed, fakes)
    world.lines[where] = storm
    delivered: list[tuple[str, str, float]] = []

    class Sink:
        def take(self, meter: Any, answers: Any) -> bool:
            delivered.extend(
                (meter.id, v.point, v.value) for answer in answers for v in answer.values if v.value is not None
            )
            return True

    wiring = wired(
        f"a: {{driver: modbus, {LINES[where]}, timeout: 300 ms}}",
        "m1: {line: a, profile: three.yaml, interval: 2 s, unit: 1}\nm2: {line: a, profile: three.yaml, interval: 2 s, unit: 2}",
    )
    owner = LineOwner(wiring.lines[0], world, Sink(), GapBook())

    async def story() -> None:
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(owner.run(stop))
            await asyncio.sleep(HOURS * 3600.0)
            stop.set()

    in_virtual_time(story())
    right = {(f"m{unit}", f"p{at}", held * (10 if unit == 2 else 1)) for at, held in HOLDS.items() for unit in (1, 2)}
    assert set(delivered) == right
    assert storm.spoilt > 500
    assert storm.hung_up > 30
    for counters in owner.meters.values():
        assert counters.expected == counters.read + counters.missed.total()
        assert counters.read > 0.3 * counters.expected
        assert counters.retries > (100 if where == "/dev/x" else -1)
