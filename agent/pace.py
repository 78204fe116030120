"""How long asking takes: from baud rate, frame lengths and silence. No network."""

from typing import cast

from pydantic import BaseModel

from drivers.contract import Driver, ExchangeDriver, ExchangeLine, MeterPlan, Request

NETWORK_S = 0.005
"""A request over a network and back, as a rule."""
_DEVICE_S = 0.02
"""A serial device thinks this long before it replies, as a rule."""


def byte_s(line: ExchangeLine, baud: int | None = None) -> float:
    """Return how long a byte takes on the wire, seconds: start, data, parity and stop bits."""
    parity = 0 if line.frame[1] == "N" else 1
    return (1 + int(line.frame[0]) + parity + int(line.frame[2])) / (baud or line.baud)


def exchange_s(request: Request, line: ExchangeLine, silence_s: float) -> float:
    """Return how long one request and its reply take, with the silence before them."""
    if line.serial is None and "baud" not in line.model_fields_set:  # given, it is that of the wire behind a gateway
        return silence_s + NETWORK_S
    return silence_s + _DEVICE_S + (request.request_bytes + request.reply_bytes) * byte_s(line)


def meter_s(driver: Driver, line: BaseModel, plan: MeterPlan) -> float:
    """Return how long all requests of one meter take."""
    if not isinstance(line, ExchangeLine):
        return NETWORK_S
    exchange = cast(ExchangeDriver, driver)
    silence_s = exchange.silence_s(line)
    return sum(exchange_s(request, line, silence_s) for request in exchange.plan(line, plan))
