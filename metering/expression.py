"""The activity of a source: one point, or a signed sum of points, as it is written in a file."""

import re
from dataclasses import dataclass

from metering.fields import FieldError
from metering.text import Text

POINT = re.compile(r"[a-z0-9][a-z0-9-]{0,62}/[a-z0-9][a-z0-9_.-]{0,62}")


@dataclass(frozen=True, slots=True)
class Term:
    """One point in a signed sum."""

    sign: int
    """+1 or -1."""
    point: str
    """`meter/point`."""


@dataclass(frozen=True, slots=True)
class Expression:
    """A signed sum of points; at least one term, each point once."""

    terms: tuple[Term, ...]

    def __str__(self) -> str:
        said = " ".join(f"{'-' if term.sign < 0 else '+'} {term.point}" for term in self.terms)
        return said.removeprefix("+ ")

    @property
    def points(self) -> tuple[str, ...]:
        return tuple(term.point for term in self.terms)


def expression(text: object) -> Expression:
    """Read `main/energy - tenant/energy`. Plus and minus stand between spaces, for an id may hold a hyphen.

    Raises:
        FieldError: it is no signed sum of `meter/point`, or names a point twice.
    """
    if isinstance(text, Expression):
        return text
    words = str(text).split()
    if words and words[0] not in ("+", "-"):
        words.insert(0, "+")
    signs, points = words[::2], words[1::2]
    if not points or len(signs) != len(points) or any(sign not in ("+", "-") for sign in signs):
        raise FieldError(_NO_SUM, given=str(text))
    wrong = next((point for point in points if not POINT.fullmatch(point)), None)
    if wrong is not None:
        raise FieldError(_NO_POINT, point=wrong)
    twice = next((point for point in points if points.count(point) > 1), None)
    if twice is not None:
        raise FieldError(_TWICE, point=twice)
    return Expression(tuple(Term(1 if sign == "+" else -1, p) for sign, p in zip(signs, points, strict=True)))


_NO_SUM = Text(
    "{given!r} 应当是一个测点或测点的和差，加减号两边留空格，例如 main/energy - tenant/energy",
    "{given!r} should be a point or a signed sum of points, with spaces around the sign: main/energy - tenant/energy",
)
_NO_POINT = Text("{point!r} 应写成 仪表/测点，例如 gas-main/volume", "{point!r} should be meter/point: gas-main/volume")
_TWICE = Text("测点 {point} 出现两次", "the point {point} stands twice")
