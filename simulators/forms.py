"""How a value lies in a meter of any profile: the raw numbers of its registers, and what these say together.

Own arithmetic, no driver's. Promises
    * `raws` and `value` agree: what a right driver makes of the raw numbers is exactly `value(raws(x))`, and that is what
      the meter is said to show.
    * Nothing is shown that the place cannot hold: a number too large shows the largest, as a meter's overflow does.
"""

import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from typing import Literal

from metering.profile import Place, ScaleFrom
from metering.quantity import EXACT, convert, unit

Number = int | float
Kind = Literal["whole", "f32", "f64", "text", "time"]


@dataclass(frozen=True)
class Form:
    """What a type of a protocol can hold."""

    kind: Kind
    low: int = 0
    high: int = 0
    step: Decimal = Decimal(1)
    """What one stands for in a whole number: its decimals."""


FormOf = Callable[[Place, int | str, str | None], Form]
"""Place, address and type (of the place or one of its parts) -> what lies there."""


@dataclass(frozen=True)
class Piece:
    """One raw number of a value."""

    address: int | str
    type: str | None
    form: Form
    scale: Decimal
    """What one of it stands for in the unit of the point."""
    order: str | None = None
    """Of its bytes, where that is its own."""

    def fit(self, number: Decimal) -> Number:
        """Return the raw number as the register holds it."""
        if self.form.kind == "f64":
            return float(number)
        if self.form.kind == "f32":
            return shortest(struct.unpack(">f", struct.pack(">f", _within_f32(float(number))))[0])
        whole = int(number.to_integral_value(ROUND_HALF_EVEN))
        return min(max(whole, self.form.low), self.form.high)

    def below(self, number: Decimal) -> Number:
        """Return the largest whole number that is not above."""
        return self.fit(number.to_integral_value(ROUND_FLOOR))


@dataclass(frozen=True)
class Scaler:
    """A register that says how others are scaled."""

    address: int | str
    type: str
    raw: int
    factor: Decimal


@dataclass(frozen=True)
class Spot:
    """Where one value lies: its pieces, largest first, and what scales them."""

    place: Place
    pieces: tuple[Piece, ...]
    scalers: tuple[Scaler, ...] = ()

    @property
    def kind(self) -> Kind:
        return self.pieces[0].form.kind

    @property
    def resolution(self) -> Decimal | None:
        """The smallest step it can show, in the unit; None where that is a float's."""
        whole = [abs(piece.scale) for piece in self.pieces]
        return min(whole) if all(piece.form.kind == "whole" for piece in self.pieces) else None

    @property
    def capacity(self) -> int | None:
        """The steps at which a single whole number begins anew; None for others."""
        if len(self.pieces) != 1 or self.kind != "whole" or self.place.bits is not None:
            return None
        return self.pieces[0].form.high + 1

    def raws(self, value: Decimal) -> list[Number]:
        """Return the raw number of each piece that together show `value`, or come nearest to it."""
        numbers: list[Number] = []
        rest = value
        for piece, after in zip(self.pieces, (*self.pieces[1:], None), strict=True):
            share = rest if after is None or _alike(piece, after) is False else rest * 3 / 4
            exact = EXACT.divide(share, piece.scale)
            number = piece.fit(exact) if after is None else piece.below(exact)
            numbers.append(number)
            rest -= _exactly(number) * piece.scale
        return numbers

    def value(self, raws: Sequence[Number]) -> float:
        """Return what the raw numbers mean, in the unit: the double nearest to their exact sum."""
        total = Decimal(0)
        for number, piece in zip(raws, self.pieces, strict=True):
            total = EXACT.add(total, EXACT.multiply(_exactly(number), piece.scale))
        return float(total) + 0.0


def _alike(piece: Piece, after: Piece) -> bool:
    """Whether two pieces hold numbers of one size, such as the totals of two tariffs."""
    return piece.scale == after.scale and piece.form.kind == after.form.kind


def _exactly(number: Number) -> Decimal:
    return Decimal(repr(number))


def _within_f32(number: float) -> float:
    return min(max(number, -3.4e38), 3.4e38)


def shortest(number: float) -> float:
    """Return the double whose text is the shortest that means the 32-bit float `number`."""
    if not math.isfinite(number):
        return number
    for digits in (6, 7, 8, 9):  # six are always told apart
        near = float(f"{number:.{digits}g}")
        if struct.pack(">f", near) == struct.pack(">f", number):
            return near
    return number


def spot(place: Place, form_of: FormOf, unit_name: str | None, exponent: int = 0) -> Spot:
    """Return where the values of a place lie; `exponent` is what a power of ten that scales it holds."""
    scalers = tuple(_scaler(of, unit_name, exponent) for of in place.scale_from)
    factor = math.prod((scaler.factor for scaler in scalers), start=Decimal(1))
    pieces = [_piece(place, form_of, place.address, place.type, place.scale * factor)]
    for part in place.plus:
        piece = _piece(place, form_of, part.address, part.type or place.type, part.scale * factor)
        pieces.append(replace(piece, order=part.order))
    if place.bits is not None:
        low, high = place.bits
        first = pieces[0]
        form = Form("whole", 0, 2 ** (high - low + 1) - 1)
        pieces = [Piece(first.address, first.type, form, place.scale * factor)]
    return Spot(place, tuple(sorted(pieces, key=_size, reverse=True)), scalers)


def _size(piece: Piece) -> tuple[bool, Decimal]:
    """Whole numbers before fractions, the high part before the low."""
    return piece.form.kind == "whole", abs(piece.scale)


def _piece(place: Place, form_of: FormOf, address: int | str, type_name: str | None, scale: Decimal) -> Piece:
    form = form_of(place, address, type_name)
    return Piece(address, type_name, form, scale * form.step)


def _scaler(of: ScaleFrom, unit_name: str | None, exponent: int) -> Scaler:
    if of.units is None:
        return Scaler(of.address, of.type or "i16", exponent, Decimal(1).scaleb(exponent))
    code = next((code for code, name in of.units.items() if name == unit_name), next(iter(of.units)))
    factor = convert(Decimal(1), unit(of.units[code]), unit(unit_name)) if unit_name else Decimal(1)
    return Scaler(of.address, of.type or "u16", code, factor)
