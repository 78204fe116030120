"""Which registers are read together.

Promises
    * A read starts where a wanted value starts and ends where one ends, never inside (some meters refuse that).
    * It spans at most `limits.max_registers`, and at most `limits.gap` registers nobody asked for in a row.
    * All parts of a value are in one read. Its scale registers are in that read too, or in another of the same block:
      what belongs together is asked for in one go, so that no value is scaled by an old register.
    * Each wanted point is in exactly one block.
"""

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from drivers.contract import Value
from drivers.measure import LARGEST_EXACT
from drivers.modbus.codec import LITTLE_ENDIAN, has_words, swap_bytes, words
from drivers.modbus.field import Field, Piece, field_of
from metering.profile import Limits, Place, Profile
from metering.reading import Quality

_Quick = tuple[str, Callable[[Any], float], float, float, int, int, Field]
Span = tuple[int, int]
"""An address and how many registers (bits with function codes 1 and 2) from it."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One place with the profile's defaults filled in."""

    name: str
    place: Place
    fc: int
    pieces: tuple[Piece, ...]
    """Itself and what is added to it."""
    scales: tuple[Piece, ...]
    """The registers that say how it is scaled."""

    @property
    def address(self) -> int:
        return min(piece.address for piece in self.pieces)

    @property
    def end(self) -> int:
        return max(piece.end for piece in self.pieces)

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """Where it begins and ends, and so for its scale registers: each is in one read."""
        return [(self.address, self.end), *((scale.address, scale.end) for scale in self.scales)]


@dataclass(frozen=True, slots=True)
class Block:
    """What is read in one go, mostly in one read: the places in it and where their bytes lie in the data of its reads."""

    fc: int
    spans: tuple[Span, ...]
    wanted: tuple[Wanted, ...]
    limits: Limits
    _layers: list["_Layer"] = field(init=False, repr=False, compare=False)
    _others: list[Field] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        fields = [] if self.bits else [self._field(wanted) for wanted in self.wanted]
        object.__setattr__(self, "_layers", _layers([each for each in fields if each.quick is not None]))
        object.__setattr__(self, "_others", [each for each in fields if each.quick is None])

    def _field(self, wanted: Wanted) -> Field:
        return field_of(wanted.name, wanted.place, wanted.pieces, wanted.scales, self._offset)

    def _offset(self, piece: Piece) -> int:
        """Return where the bytes of a piece begin in the data of all reads, one after another."""
        before = 0
        for address, count in self.spans:
            if address <= piece.address and piece.end <= address + count:
                return before + 2 * (piece.address - address)
            before += 2 * count
        raise ValueError(piece)

    @property
    def bits(self) -> bool:
        return self.fc <= 2

    @property
    def label(self) -> str:
        noun = "bits" if self.bits else "registers"
        reads = (f"{count} {noun} at 0x{address:04X}" for address, count in self.spans)
        return f"fc {self.fc}, {' + '.join(reads)}"

    def data_bytes(self, span: Span) -> int:
        return -(-span[1] // 8) if self.bits else 2 * span[1]

    def values(self, data: bytes) -> list[Value]:
        """Return the value of each place in the `data` of its reads, one after another."""
        if self.bits:
            return [self._bit(wanted, data) for wanted in self.wanted]
        found: list[Value] = []
        for layer in self._layers:
            layer.add_values(data, found)
        for place in self._others:
            found.append(place.value(data))
        return found

    def _bit(self, wanted: Wanted, data: bytes) -> Value:
        index = wanted.address - self.spans[0][0]
        octet = data[index // 8]
        return Value(wanted.name, float(octet >> index % 8 & 1), raw=bytes([octet]))

    def halves(self) -> list["Block"]:
        """Return blocks of the same places in two parts; none where there is but one place."""
        if len(self.wanted) < 2:
            return []
        middle = len(self.wanted) // 2
        return [block for part in (self.wanted[:middle], self.wanted[middle:]) for block in blocks(part, self.limits)]


class _Layer:
    """Numbers of one byte order that do not overlap: one struct takes them all out at once. This is the hot path."""

    def __init__(self, fields: Sequence[Field]) -> None:
        little, self._swapped = LITTLE_ENDIAN[fields[0].parts[0].order]
        text, at = "<" if little else ">", 0
        for place in fields:
            text += f"{place.start - at}x{place.code}"
            at = place.end
        self._unpack = struct.Struct(text).unpack_from
        self._places = [_quick(place) for place in fields]

    def add_values(self, data: bytes, found: list[Value]) -> None:
        good, add = Quality.GOOD, found.append
        numbers = self._unpack(swap_bytes(data) if self._swapped else data)
        for (name, quick, low, high, start, end, place), number in zip(self._places, numbers, strict=True):
            value = quick(number)
            if low <= value <= high:
                add(Value(name, value, good, data[start:end]))
            else:
                add(place.value(data))


def _quick(place: Field) -> _Quick:
    measure = place.measure
    assert place.quick is not None
    low, high = max(measure.low, -LARGEST_EXACT), min(measure.high, LARGEST_EXACT)
    return measure.point, place.quick, low, high, place.start, place.end, place


def _layers(fields: Sequence[Field]) -> list[_Layer]:
    """A place that overlaps another (two readings of one register), or has another order, needs a layer of its own."""
    layers: list[list[Field]] = []
    for place in sorted(fields, key=lambda each: each.start):
        order = place.parts[0].order
        free = (layer for layer in layers if layer[-1].end <= place.start and layer[0].parts[0].order == order)
        layer = next(free, None)
        if layer is None:
            layers.append([place])
        else:
            layer.append(place)
    return [_Layer(layer) for layer in layers]


def blocks(wanted: Sequence[Wanted], limits: Limits) -> list[Block]:
    """Return what is read of one meter, by function code and address. Its places have no `fault`."""
    found: list[Block] = []
    for fc in (1, 2, 3, 4):
        found += _linked(fc, [each for each in wanted if each.fc == fc], limits)
    return found


def _linked(fc: int, wanted: Sequence[Wanted], limits: Limits) -> Iterator[Block]:
    """Join the reads that a value and its scale registers lie in to one block."""
    read_of = _reads({each for place in wanted for each in place.ranges}, limits)
    together: dict[Span, set[Span]] = {read: {read} for read in read_of.values()}
    for place in wanted:
        all_of = set[Span]().union(*(together[read_of[each]] for each in place.ranges))
        together |= dict.fromkeys(all_of, all_of)
    for spans in dict.fromkeys(tuple(sorted(reads)) for reads in together.values()):
        inside = [place for place in wanted if read_of[place.address, place.end] in spans]
        yield Block(fc, spans, tuple(sorted(inside, key=lambda place: (place.address, place.end))), limits)


def _reads(ranges: set[tuple[int, int]], limits: Limits) -> dict[tuple[int, int], Span]:
    """Return the read each range is in."""
    groups: list[list[tuple[int, int]]] = []
    for start, end in sorted(ranges):
        if groups and _fits(groups[-1], start, end, limits):
            groups[-1].append((start, end))
        else:
            groups.append([(start, end)])
    return {each: _span(group) for group in groups for each in group}


def _fits(group: Sequence[tuple[int, int]], start: int, end: int, limits: Limits) -> bool:
    last = max(each for _, each in group)
    return start - last <= limits.gap and max(last, end) - group[0][0] <= limits.max_registers


def _span(group: Sequence[tuple[int, int]]) -> Span:
    start = group[0][0]
    return start, max(end for _, end in group) - start


class _Asked:
    """What is asked of a meter: the same for all meters of one model that are asked for the same places."""

    def __init__(self, places: Mapping[str, Place], profile: Profile) -> None:
        self.places, self.profile = dict(places), profile
        self._same = (id(profile), *((name, id(place)) for name, place in places.items()))

    def __hash__(self) -> int:
        return hash(self._same)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Asked) and self._same == other._same


def shared_blocks(places: Mapping[str, Place], profile: Profile) -> tuple[Block, ...]:
    """Return what is read of one meter, one object for all meters alike: a large plant has hundreds of a few models."""
    return _blocks_of(_Asked(places, profile))


@lru_cache(maxsize=64)
def _blocks_of(asked: _Asked) -> tuple[Block, ...]:
    return tuple(blocks(wanted_of(asked.places, asked.profile), asked.profile.limits))


def wanted_of(places: Mapping[str, Place], profile: Profile) -> list[Wanted]:
    """Return places with the profile's defaults filled in; they have no `fault`."""
    return [_wanted(name, place, profile) for name, place in places.items()]


def _wanted(name: str, place: Place, profile: Profile) -> Wanted:
    type_name = type_of(place, profile)
    default = profile.defaults.order
    order = place.order or (default if has_words(type_name) else _order_of_text(default))
    main = _piece(place.address, type_name, order)
    pieces = [Piece(main.address, main.type, main.order, main.end, place.scale)]
    for part in place.plus:
        piece = _piece(part.address, part.type or type_name, part.order or order)
        pieces.append(Piece(piece.address, piece.type, piece.order, piece.end, part.scale))
    scales = [_piece(of.address, of.type or ("u16" if of.units else "i16"), order) for of in place.scale_from]
    return Wanted(name, place, place.fc or profile.defaults.fc, tuple(pieces), tuple(scales))


def _order_of_text(default: str) -> str:
    """Letters and dates begin in their first register, whichever word of a number a meter sends first."""
    return default if default == "BADC" else "ABCD"


def _piece(address: int | str, type_name: str, order: str) -> Piece:
    start, size = register(address), words(type_name)
    fits = len(order) == 4 or size == 4
    return Piece(start, type_name, order if fits else "ABCD", start + size)


def register(address: int | str) -> int:
    """Return the zero-based address on the wire; a text may be decimal or `0x…`."""
    return address if isinstance(address, int) else int(address, 0)


def type_of(place: Place, profile: Profile) -> str:
    fc = place.fc or profile.defaults.fc
    return place.type or ("bool" if fc <= 2 else profile.defaults.type or "")
