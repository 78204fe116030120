"""Modbus as a meter sees it: what lies in its registers, and the answer to a request. Own encoder, no library.

Only reads are answered (function codes 1 to 4, those the meter has, and 43/14, its identification); everything else is
exception 1.
"""

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from simulators.faults import Faults
from simulators.forms import Number
from simulators.meters import Meter
from simulators.modbus_types import ModbusType, arranged, function_of, modbus_type, order_of, register, type_of
from simulators.served import ServedLog
from simulators.spoil import Spoiler

ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE = 1, 2, 3
MOST_BITS = 2000
IDENTIFY = 43


@dataclass(frozen=True)
class Cell:
    """Where one raw number lies: `words` registers (or one bit) from `address` on."""

    fc: int
    address: int
    words: int
    encode: Callable[[Meter, int], bytes | None]
    """From the steps of its place to bytes; None: nothing there."""
    shared: bool = False
    """Whether other places lie in the same register: bits of it."""
    bcd: bool = False

    @property
    def end(self) -> int:
        return self.address + self.words


@dataclass(frozen=True)
class Entry:
    """One place and the cells its value is read from."""

    place: str
    cells: tuple[Cell, ...]


def _integer(form: str) -> Callable[[Meter, str, int], bytes]:
    """Return an encoder of the bare steps; what does not fit shows the largest number, as a meter's overflow does."""
    size = struct.calcsize(form) * 8
    low, high = (-(2 ** (size - 1)), 2 ** (size - 1) - 1) if form[-1].islower() else (0, 2**size - 1)
    return lambda _meter, _point, steps: struct.pack(form, min(max(steps, low), high))


def _float(meter: Meter, point: str, steps: int) -> bytes:
    return struct.pack(">f", meter.read(point, steps))


MAPS: dict[str, tuple[int, dict[str, tuple[int, int, Callable[[Meter, str, int], bytes]]]]] = {
    "power-meter": (
        3,
        {
            "energy_import": (0, 2, _integer(">I")),
            "power": (2, 2, _integer(">i")),
            "voltage": (4, 1, _integer(">H")),
            "frequency": (5, 1, _integer(">H")),
        },
    ),
    "gas-corrector": (
        4,
        {
            "volume": (0, 2, _integer(">I")),
            "temperature": (2, 2, _float),
            "pressure": (4, 2, _float),
            "flow": (6, 2, _float),
        },
    ),
}
"""Function code and registers (address, words, encoder) of each bundled model; the maps of `config/profiles/demo/`."""


def entries(meter: Meter) -> tuple[Entry, ...]:
    """Return what lies in the registers of a meter; where two lie in one place, the later is seen."""
    return tuple(_of_profile(meter)) if meter.shape else tuple(_of_model(str(meter.settings.model)))


def _of_model(model: str) -> Iterator[Entry]:
    fc, registers = MAPS[model]
    for point, (address, words, encode) in registers.items():
        yield Entry(point, (Cell(fc, address, words, lambda meter, steps, p=point, e=encode: e(meter, p, steps)),))  # type: ignore[misc]


def _of_profile(meter: Meter) -> Iterator[Entry]:
    """Identity first and points last: where a probe is a point's own register, the point is seen."""
    assert meter.shape is not None
    spots = meter.shape.spots
    for name in sorted(
        spots, key=lambda name: ("identity.", "probe.").index(name[: name.find(".") + 1]) if "." in name else 2
    ):
        if getattr(spots[name].place, "absent", False):
            continue
        yield Entry(name, tuple(_cells(name, meter)))


def _cells(name: str, meter: Meter) -> Iterator[Cell]:
    assert meter.shape is not None
    profile, spot = meter.shape.profile, meter.shape.spots[name]
    place = spot.place
    fc, order = function_of(place, profile), order_of(place, profile)
    for index, piece in enumerate(spot.pieces):
        of = modbus_type(piece.type or type_of(place, profile))
        encode = _encoder(name, index, of, piece.order or order, place.bits[0] if place.bits else 0)
        yield Cell(fc, register(piece.address), of.words, encode, place.bits is not None, of.name.startswith("bcd"))
    for scaler in spot.scalers:
        of = modbus_type(scaler.type)
        yield Cell(fc, register(scaler.address), of.words, _fixed(arranged(of.encode(scaler.raw), order)))


def _fixed(data: bytes) -> Callable[[Meter, int], bytes]:
    return lambda _meter, _steps: data


def _absent(meter: Meter) -> list[tuple[int, int]]:
    """Return the registers whose absence tells the model."""
    probes = [spot.place for spot in meter.shape.spots.values()] if meter.shape else []
    return [(register(place.address),) * 2 for place in probes if getattr(place, "absent", False)]


def _encoder(name: str, index: int, of: ModbusType, order: str, shift: int) -> Callable[[Meter, int], bytes | None]:
    def encode(meter: Meter, steps: int) -> bytes | None:
        if not meter.available(name):
            return _unavailable(meter, name, of, order)
        raw: Number | str = meter.text(name) if of.form.kind in ("text", "time") else meter.raws(name, steps)[index]
        return arranged(of.encode(int(raw) << shift if shift else raw), order)

    return encode


def _unavailable(meter: Meter, name: str, of: ModbusType, order: str) -> bytes:
    """Return what the meter shows for `not available`: the first sentinel, else NaN or all ones."""
    assert meter.shape is not None
    sentinels = meter.shape.spots[name].place.sentinels
    ones = b"\xff" * (2 * of.words)
    if not sentinels:
        return arranged(ones, order)
    first = sentinels[0]
    if isinstance(first, str) and first.lower().startswith("0x"):
        return arranged(int(first, 16).to_bytes(2 * of.words, "big"), order)
    if isinstance(first, str) or of.form.kind in ("f32", "f64"):
        return arranged(of.encode(float(first)), order)
    return arranged(int(first).to_bytes(2 * of.words, "big", signed=first < 0), order)


class ModbusUnit:
    """One meter answering PDUs."""

    def __init__(self, meter: Meter, faults: Faults, served: ServedLog) -> None:
        self.meter = meter
        self.number = meter.settings.unit
        self.spoiler = Spoiler(faults)
        self._faults = faults
        self._served = served
        self._entries = entries(meter)
        cells = [cell for entry in self._entries for cell in entry.cells]
        self._ends = {fc: max(cell.end for cell in cells if cell.fc == fc) for fc in {cell.fc for cell in cells}}
        self._cells = cells
        self._forbidden = [each if isinstance(each, tuple) else (each, each) for each in meter.settings.forbidden]
        self._forbidden += _absent(meter)

    def answer(self, pdu: bytes) -> bytes | None:
        """Return the reply to a PDU, or None when the meter is silent."""
        if not pdu or self._faults.silent(self.meter.name):
            return None
        if pdu[0] == IDENTIFY and self.meter.shape is not None:
            return self._identify(pdu)
        if pdu[0] not in self._ends:
            return bytes((pdu[0] | 0x80, ILLEGAL_FUNCTION))
        if len(pdu) != 5:
            return bytes((pdu[0] | 0x80, ILLEGAL_VALUE))
        address, count = struct.unpack(">HH", pdu[1:])
        refusal = self._refusal(pdu[0], address, count)
        if refusal:
            return bytes((pdu[0] | 0x80, refusal))
        data = self._bits(pdu[0], address, count) if pdu[0] <= 2 else self._image(pdu[0], address, count)
        return bytes((pdu[0], len(data))) + data

    def _refusal(self, fc: int, address: int, count: int) -> int:
        """Return the exception code of a request, or 0."""
        fault = self._faults.current("exception", self.meter.name)
        if fault is not None and (fault.addresses is None or _meet(fault.addresses, address, count)):
            return fault.code
        if not 1 <= count <= (MOST_BITS if fc <= 2 else self.meter.settings.max_registers):
            return ILLEGAL_VALUE
        if address + count > self._ends[fc] or any(_meet(span, address, count) for span in self._forbidden):
            return ILLEGAL_ADDRESS
        if self.meter.settings.whole_values and self._cuts_a_value(fc, address, count):
            return ILLEGAL_ADDRESS
        return 0

    def _cuts_a_value(self, fc: int, address: int, count: int) -> bool:
        edges = (address, address + count)
        return any(cell.fc == fc and cell.address < edge < cell.end for cell in self._cells for edge in edges)

    def _image(self, fc: int, address: int, count: int) -> bytes:
        image = bytearray(2 * count)
        for cell, data in self._read(fc, address, count):
            for at in range(2 * (cell.address - address), 2 * (cell.end - address)):
                if 0 <= at < len(image):
                    byte = data[at - 2 * (cell.address - address)]
                    image[at] = image[at] | byte if cell.shared else byte
        return bytes(image)

    def _bits(self, fc: int, address: int, count: int) -> bytes:
        image = bytearray(-(-count // 8))
        for cell, data in self._read(fc, address, count):
            at = cell.address - address
            image[at // 8] |= (data[-1] & 1) << at % 8
        return bytes(image)

    def _read(self, fc: int, address: int, count: int) -> Iterator[tuple[Cell, bytes]]:
        """Yield the cells a request touches, with their bytes; what it reads whole is noted."""
        now = self._faults.now()
        mark = self._faults.mark(self.meter.name)
        swapped = self._faults.current("swapped", self.meter.name) is not None
        nibble = self._faults.current("nibble", self.meter.name) is not None
        for entry in self._entries:
            touched = [
                cell for cell in entry.cells if cell.fc == fc and _meet((cell.address, cell.end - 1), address, count)
            ]
            if not touched:
                continue
            steps = self.meter.steps(entry.place, now) if entry.place in self.meter.dials else 0
            for cell in touched:
                data = cell.encode(self.meter, steps)
                if data is not None:
                    yield cell, _spoilt(data, swapped, nibble and cell.bcd)
            if self._served.kept:
                self._note(now, entry, touched, address, count, steps, mark)

    def _note(
        self, now: int, entry: Entry, touched: Sequence[Cell], address: int, count: int, steps: int, mark: str | None
    ) -> None:
        values = [cell for cell in touched if cell.address >= address and cell.end <= address + count]
        if (
            len(values) < len(entry.cells)
            or entry.place not in self.meter.dials
            or not self.meter.available(entry.place)
        ):
            return
        self._served.note(now, self.meter.name, entry.place, steps, self.meter.read(entry.place, steps), mark)

    def _identify(self, pdu: bytes) -> bytes:
        """Read device identification: function 43, MEI type 14 (Modbus application protocol V1.1b3, 6.21)."""
        if len(pdu) != 4 or pdu[1] != 14:
            return bytes((pdu[0] | 0x80, ILLEGAL_FUNCTION if pdu[1:2] != b"\x0e" else ILLEGAL_VALUE))
        code, first = pdu[2], pdu[3]
        if code not in (1, 2, 3, 4):
            return bytes((pdu[0] | 0x80, ILLEGAL_VALUE))
        objects = self._objects()
        if code == 4 and first not in objects:
            return bytes((pdu[0] | 0x80, ILLEGAL_ADDRESS))
        chosen = {first: objects[first]} if code == 4 else {i: text for i, text in objects.items() if i >= first}
        body = b"".join(bytes((number, len(text))) + text for number, text in chosen.items())
        return bytes((pdu[0], 14, code, 0x81, 0, 0, len(chosen))) + body

    def _objects(self) -> dict[int, bytes]:
        """Vendor name, product code and revision."""
        assert self.meter.shape is not None
        profile = self.meter.shape.profile
        vendor = profile.vendor if isinstance(profile.vendor, str) else profile.vendor.en
        return {i: text.encode("ascii", "replace") for i, text in enumerate((vendor, profile.model, "1.02"))}


def _meet(span: tuple[int, int], address: int, count: int) -> bool:
    return span[0] < address + count and span[1] >= address


def _spoilt(data: bytes, swapped: bool, nibble: bool) -> bytes:
    if swapped and len(data) > 2:
        data = arranged(data, "CDAB")
    return bytes((data[0] | 0xF0,)) + data[1:] if nibble else data
