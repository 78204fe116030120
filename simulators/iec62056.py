"""IEC 62056-21 meters on one line: sign-on, modes A, B and C with their change of speed, data readout. Own messages.

In mode C the data come after the acknowledgement, at the speed it asks for; whoever does not change his own then reads
only garbage. Programming mode is refused with NAK.
"""

import re
from collections.abc import Iterable
from functools import reduce
from operator import xor

from simulators.dlt645 import collided
from simulators.faults import Faults
from simulators.iec62056_types import HEADER, set_of, written
from simulators.meters import Meter
from simulators.served import ServedLog
from simulators.spoil import Draft, Reply, Spoiler

STX, ETX, ACK, NAK = 0x02, 0x03, 0x06, 0x15
SIGN_ON = re.compile(rb"/\?([0-9A-Za-z ]{0,32})!\r\n")
OPTION = re.compile(rb"\x06([0-9])([0-9A-Za-z])([0-9])\r\n")
C_CODES = {300: "0", 600: "1", 1200: "2", 2400: "3", 4800: "4", 9600: "5", 19200: "6"}
B_CODES = {600: "A", 1200: "B", 2400: "C", 4800: "D", 9600: "E", 19200: "F"}
FIRST = 0
"""The speed of the sign-on."""
MOST_WAITING = 256


class Iec62056Meter:
    """One meter."""

    def __init__(self, meter: Meter, faults: Faults, served: ServedLog) -> None:
        self.meter = meter
        self.number = meter.settings.digits
        self.spoiler = Spoiler(faults)
        self._faults = faults
        self._served = served

    @property
    def identification(self) -> bytes:
        settings = self.meter.settings
        codes = {"A": {}, "B": B_CODES, "C": C_CODES}[settings.mode]
        code = codes.get(settings.fast, "9" if settings.mode == "A" else "0")
        return f"/{self._header('maker', 'TAN')}{code}{self._header('ident', 'SIMULATED')}\r\n".encode("ascii")

    def _header(self, field: str, default: str) -> str:
        """Return what a probe wants to see, else what suits."""
        assert self.meter.shape is not None
        spots = self.meter.shape.spots
        wanted = [self.meter.text(name) for name, spot in spots.items()
                  if spot.place.address == field and name.startswith("probe.")]  # fmt: skip
        return next(iter(wanted), default)

    def data(self) -> bytes:
        """Return the data message up to ETX."""
        assert self.meter.shape is not None
        now, sets = self._faults.now(), dict[str, dict[int, str]]()
        for name, spot in self.meter.shape.spots.items():
            if spot.place.address not in HEADER:
                address, which = set_of(spot.place)
                sets.setdefault(address, {}).setdefault(which, self._value(name, now))
        lines = [address + "".join(f"({values.get(at + 1, '0')})" for at in range(max(values)))
                 for address, values in sets.items()]  # fmt: skip
        return bytes((STX,)) + "".join(f"{line}\r\n" for line in [*lines, "!"]).encode("ascii") + bytes((ETX,))

    def _value(self, name: str, now: int) -> str:
        assert self.meter.shape is not None
        if not self.meter.available(name):
            return ""
        if name not in self.meter.dials:
            return self.meter.text(name)
        steps, mark = self.meter.steps(name, now), self._faults.mark(self.meter.name)
        self._served.note(now, self.meter.name, name, steps, self.meter.read(name, steps), mark)
        text = written(self.meter.shape.spots[name].place, self.meter.raws(name, steps)[0])
        nibble = self._faults.current("nibble", self.meter.name) is not None
        return text.replace("0", "A", 1) if nibble else text


class Iec62056Bus:
    """The meters of one line."""

    def __init__(self, meters: Iterable[Meter], faults: Faults, served: ServedLog) -> None:
        self._meters = [Iec62056Meter(meter, faults, served) for meter in meters]
        self._signed_on: Iec62056Meter | None = None

    def cut(self, received: bytearray) -> bytes | None:
        """Take the next sign-on or acknowledgement; NULs that wake and what begins neither are noise."""
        found = [match for form in (SIGN_ON, OPTION) if (match := form.search(received))]
        if not found:
            del received[:-MOST_WAITING]
            return None
        first = min(found, key=lambda match: match.start())
        frame = first.group()
        del received[: first.end()]
        return frame

    def answer(self, request: bytes) -> Reply | None:
        if match := OPTION.fullmatch(request):
            return self._option(request, match)
        match = SIGN_ON.fullmatch(request)
        address = match[1].decode().lstrip("0") if match else ""
        meant = [one for one in self._meters if address in ("", one.number.lstrip("0"))]
        self._signed_on = meant[0] if len(meant) == 1 else None
        return collided([reply for one in meant if (reply := self._greeting(request, one)) is not None])

    def _greeting(self, request: bytes, one: Iec62056Meter) -> Reply | None:
        """Answer a sign-on; in modes A and B the data follow by themselves."""
        settings = one.meter.settings
        if settings.mode == "C":
            draft = Draft(one.meter.name, one.identification, lambda body, _wrong: body)
            return one.spoiler.reply(request, draft)
        data = one.spoiler.reply(b"", Draft(one.meter.name, one.data(), _closed, baud=FIRST))
        fast = settings.fast if settings.mode == "B" else None
        return Reply(one.identification, baud=fast, then=data) if data is not None else None

    def _option(self, request: bytes, match: "re.Match[bytes]") -> Reply | None:
        """Answer an acknowledgement: `0Z0` asks for the data at the speed Z, where that is the proposed one; else at 300."""
        one, self._signed_on = self._signed_on, None
        if one is None or one.meter.settings.mode != "C":
            return None
        if match[3] != b"0":
            return one.spoiler.reply(request, Draft(one.meter.name, bytes((NAK,)), lambda body, _wrong: body))
        agreed = match[2].decode() == C_CODES[one.meter.settings.fast]
        data = one.spoiler.reply(request, Draft(one.meter.name, one.data(), _closed, baud=FIRST))
        if data is None:
            return None
        return Reply(b"", baud=one.meter.settings.fast if agreed else FIRST, then=data)


def _closed(body: bytes, wrong: bool) -> bytes:
    """Add the block check: all characters after STX up to ETX (IEC 62056-21, 6.4.1; ISO 1155)."""
    return body + bytes((reduce(xor, body[1:]) ^ wrong,))
