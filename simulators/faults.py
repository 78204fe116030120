"""What goes wrong in the plant, on a timetable and on request; each beginning and end is a line in the log.

| fault | what the world sees |
|---|---|
| silence | no reply; over OPC UA a value with status BadNoCommunication (F20: accepted and silent) |
| checksum | a reply with a wrong check (Modbus TCP, which has none: a foreign transaction id); over OPC UA status BadCommunicationError (F23, F32) |
| late | the right reply, `delay` later than it should be, perhaps in the middle of another's; over OPC UA the value and source time of `delay` ago (F21, F22) |
| stuck | every point shows what it showed when it began |
| burst | `factor` times the consumption; bursts of one meter do not pile up, the next waits for the end of the last |
| reset | the counter starts again at zero |
| rollover | on a timetable: the counter rolls over at that time, as it would have by itself; on request: the register is set so that it rolls over about ten seconds later |
| refuse | the whole line: connections are closed and new ones refused (TCP; F20); an OPC UA server is restarted at its end (F29) |
| abort | half of a reply, then the connection is reset (TCP; F20) |
| stale | each request is answered by the reply to the one before it (F21, F22) |
| transaction | the reply has another transaction id (Modbus TCP; F21) |
| foreign | the reply says that it comes from the next unit or another meter number, all else being right (F22, F32) |
| noise | bytes of a disturbance before and after the reply (F23, F32) |
| truncated | the reply breaks off in its middle (F23, F32) |
| doubled | the reply comes twice without a pause (F23, F32) |
| echo | the request comes back before the reply, as from an adapter with local echo (F23) |
| exception | the request is refused with `code`; with `addresses` only where it touches these registers (Modbus, DL/T 645, CJ/T 188; F24) |
| swapped | the words of every value of more than one register are in the opposite order (Modbus; F25) |
| length | the reply states the largest length its length byte can (F26, F32) |
| endless | the reply does not end: it is followed by bytes for as long as the fault lasts, 64 KiB at most (F26, F32) |
| vanish | the whole line: the port is gone, and comes back as another device at the same path (serial; F27) |
| permission | the whole line: nobody but root may open the port, and those who have it open lose it (serial; F28) |
| nibble | a digit above 9 in every number of digits (BCD types; IEC 62056-21: a letter; F32) |
| uncertain | the values have the status UncertainLastUsableValue (OPC UA; F30) |
| future | the source time is an hour ahead (OPC UA; F30) |
| unstamped | there is no source time (OPC UA; F30) |

`settings/plant_faults.py` knows which of them a line can have; another is refused with those it can.
"""  # noqa: E501

import asyncio
import datetime as dt
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from metering.fields import FieldError
from settings.plant import NO_COUNTER, NO_SUCH_FAULT, PlantFault, PlantSettings, fault_values
from settings.plant_faults import AT_ONCE, LASTING, OF_THE_COUNTER, OF_THE_LINE, FaultKind
from simulators.effects import Burst, Effect, Memory, Set, Stuck
from simulators.meters import Meter

log = logging.getLogger(__name__)
DEFAULT_S = 60.0
ROLLOVER_AHEAD_S = 10.0
TICK_S = 0.2
DAY_MS = 86_400_000


def wall_ms() -> int:
    """Return the wall clock, Unix milliseconds UTC."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True)
class Wrong:
    """A fault under way."""

    kind: FaultKind
    meter: str
    from_ms: int
    to_ms: int
    delay_s: float
    code: int = 0
    addresses: tuple[int, int] | None = None


class Faults:
    """What is wrong at the moment. Meters keep what has happened to them; the memory keeps it over a restart."""

    def __init__(
        self, settings: PlantSettings, meters: dict[str, Meter], memory: Memory, now: Callable[[], int] = wall_ms
    ) -> None:
        self.now = now
        self.timezone = settings.timezone
        self._settings = settings
        self._meters = meters
        self._memory = memory
        self._under_way: list[Wrong] = []
        self._due = sorted(self._timetable(now()), key=lambda entry: entry[0])
        if memory.fresh:
            self._plan_rollovers()
        memory.save()

    def silent(self, meter: str) -> bool:
        return self.current("silence", meter) is not None

    def corrupt(self, meter: str) -> bool:
        """Whether the check of a reply is to be wrong."""
        return self.current("checksum", meter) is not None

    def delay_s(self, meter: str) -> float:
        """Return how much later than it should a reply comes, seconds."""
        late = self.current("late", meter)
        return late.delay_s if late else 0.0

    def current(self, kind: FaultKind, meter: str) -> Wrong | None:
        """Return the fault of this kind a meter has now."""
        if not self._under_way:
            return None
        return next((wrong for wrong in self.under_way(meter) if wrong.kind == kind), None)

    def of_line(self, line: str) -> FaultKind | None:
        """Return what is wrong with a whole line now."""
        if not self._under_way:
            return None
        on = {name for name, meter in self._meters.items() if meter.settings.line == line}
        return next((wrong.kind for wrong in self.under_way() if wrong.kind in OF_THE_LINE and wrong.meter in on), None)

    def mark(self, meter: str) -> str | None:
        """Return the fault by which a value served now may be refused; None when the reply is as it should be."""
        return next((wrong.kind for wrong in self.under_way(meter) if wrong.kind not in OF_THE_COUNTER), None)

    def under_way(self, meter: str | None = None) -> list[Wrong]:
        """Return the lasting faults of now, of one meter or of all."""
        now = self.now()
        return [w for w in self._under_way if w.from_ms <= now < w.to_ms and meter in (None, w.meter)]

    def begin(self, fault: PlantFault) -> None:
        """Let `fault` happen now, whatever its `at` says.

        Raises:
            FieldError: the line of the meter cannot have it.
        """
        line = self._settings.lines.get(self._settings.meters[fault.meter].line)
        if line is not None and not line.wire.can_have(fault.fault):
            raise FieldError(NO_SUCH_FAULT, **fault_values(fault, line))
        if fault.fault in AT_ONCE and not self._meters[fault.meter].counter:
            raise FieldError(NO_COUNTER, fault=fault.fault, meter=fault.meter)
        now = self.now()
        length_s = (fault.duration_s or DEFAULT_S) if fault.fault in LASTING else 0.0
        wrong = Wrong(
            fault.fault, fault.meter, now, now + round(length_s * 1000), fault.delay, fault.code, fault.addresses
        )
        effect = self._effect(fault, wrong)
        if effect is not None:
            self._meters[fault.meter].suffer(effect)
            self._memory.add([effect])
        if fault.fault in LASTING:
            self._under_way.append(wrong)
        log.info("fault: %s of %s begins%s", fault.fault, fault.meter, _words(fault, length_s))

    def clear(self, meter: str | None = None) -> int:
        """End the faults of replies and lines now, of one meter or of all; return how many ended."""
        ended = [w for w in self.under_way(meter) if w.kind not in OF_THE_COUNTER]
        self._under_way = [w for w in self._under_way if w not in ended]
        for wrong in ended:
            log.info("fault: %s of %s cleared", wrong.kind, wrong.meter)
        return len(ended)

    async def keep(self) -> None:
        """Follow the timetable until cancelled."""
        while True:
            self.step()
            await asyncio.sleep(TICK_S)

    def step(self) -> None:
        """Begin what is due, and tell what has ended."""
        now = self.now()
        while self._due and self._due[0][0] <= now:
            at, fault = self._due.pop(0)
            if isinstance(fault.at, dt.time):
                self._due.append((_next(fault.at, self._settings, at), fault))
                self._due.sort(key=lambda entry: entry[0])
            if fault.fault != "rollover":
                self.begin(fault)
        for wrong in [w for w in self._under_way if w.to_ms <= now]:
            self._under_way.remove(wrong)
            log.info("fault: %s of %s ends", wrong.kind, wrong.meter)

    def _effect(self, fault: PlantFault, wrong: Wrong) -> Effect | None:
        meter, at = fault.meter, wrong.from_ms
        if fault.fault == "burst":
            return self._burst(fault, at, wrong.to_ms)
        if fault.fault == "stuck":
            return Stuck(meter, at, wrong.to_ms)
        if fault.fault == "reset":
            return Set(meter, at, 0)
        if fault.fault == "rollover":
            return Set(meter, at, self._meters[meter].steps_before_rollover(at, ROLLOVER_AHEAD_S))
        return None

    def _burst(self, fault: PlantFault, from_ms: int, to_ms: int) -> Burst | None:
        """Return the burst, or what is left of it after those under way: they do not pile up, over a restart neither."""
        earlier = [e.to_ms for e in self._memory.state.effects if isinstance(e, Burst) and e.meter == fault.meter]
        begin = max([from_ms, *earlier])
        return Burst(fault.meter, begin, to_ms, fault.factor) if begin < to_ms else None

    def _timetable(self, start_ms: int) -> list[tuple[int, PlantFault]]:
        return [
            (_next(fault.at, self._settings, start_ms) if isinstance(fault.at, dt.time)
             else start_ms + round(fault.at * 1000), fault)
            for fault in self._settings.faults
        ]  # fmt: skip

    def _plan_rollovers(self) -> None:
        """Give the counters that are to roll over a past by which they do, before anyone has read them."""
        for at_ms, fault in self._due:
            if fault.fault == "rollover":
                effect = self._meters[fault.meter].past_for_rollover(at_ms)
                self._meters[fault.meter].suffer(effect)
                self._memory.add([effect])
                log.info("fault: rollover of %s planned for %s", fault.meter, _iso(at_ms))


def _next(at: dt.time, settings: PlantSettings, after_ms: int) -> int:
    """Return the next time after `after_ms` at which plant clocks show `at`, Unix ms."""
    local = dt.datetime.fromtimestamp(after_ms / 1000, settings.timezone)
    for days in range(3):
        date = local.date() + dt.timedelta(days=days)
        ms = int(dt.datetime.combine(date, at, settings.timezone).timestamp() * 1000)
        if ms > after_ms:
            return ms
    raise AssertionError("a time of day comes every day")  # pragma: no cover


def _words(fault: PlantFault, length_s: float) -> str:
    words = f" for {length_s:g} s" if length_s else ""
    if fault.fault == "burst":
        words += f", factor {fault.factor:g}"
    if fault.fault == "late":
        words += f", {fault.delay:g} s"
    if fault.fault == "exception":
        words += f", code {fault.code}"
    return words


def _iso(ms: int) -> str:
    return dt.datetime.fromtimestamp(ms / 1000, dt.UTC).isoformat(timespec="seconds")
