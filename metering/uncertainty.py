"""Uncertainty by the product and the sum rule (IPCC approach 1), in percent at 95 % confidence.

Inputs that share an instrument or a factor row are fully correlated and add linearly; the others add in quadrature.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal

from metering.quantity import EXACT


def of_product(percents: Iterable[Decimal]) -> Decimal:
    """Return U of a product of independent inputs: sqrt(sum U_i^2). IPCC 2006 vol. 1 ch. 3, eq. 3.1."""
    squares = sum((EXACT.multiply(percent, percent) for percent in percents), Decimal(0))
    return EXACT.sqrt(squares)


def of_sum(parts: Sequence[tuple[Decimal, Decimal]]) -> Decimal | None:
    """Return U of a sum of independent (value, U percent): sqrt(sum (U_i x_i)^2) / |sum x_i|. IPCC 2006 vol. 1 ch. 3, eq. 3.2.

    None where the values add up to zero.
    """
    whole = abs(sum((value for value, _ in parts), Decimal(0)))
    if not whole:
        return None
    squares = sum((EXACT.power(EXACT.multiply(value, percent), 2) for value, percent in parts), Decimal(0))
    return EXACT.divide(EXACT.sqrt(squares), whole)


def of_correlated_sum(parts: Sequence[tuple[Decimal, Decimal]]) -> Decimal | None:
    """Return U of a sum of fully correlated (value, U percent): |sum U_i x_i| / |sum x_i|. None where the values add up to zero."""
    whole = abs(sum((value for value, _ in parts), Decimal(0)))
    if not whole:
        return None
    linear = abs(sum((EXACT.multiply(value, percent) for value, percent in parts), Decimal(0)))
    return EXACT.divide(linear, whole)
