"""What asyncua raises, as our errors: the only place that knows it."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from asyncua.ua.uaerrors import UaStatusCodeError
from cryptography.exceptions import InvalidSignature

from drivers.opcua.codec import status_name
from metering.errors import MeterError, MeterRefused, MeterUnreachable
from metering.text import Text

_LOST = ("BadSession", "BadSecureChannel", "BadConnection", "BadShutdown", "BadServerHalted", "BadTimeout",
         "BadCommunicationError", "BadTcp", "BadNotConnected", "BadDisconnect", "BadServerNotConnected",
         "BadSecurityChecksFailed", "BadCertificate", "BadRequestTooLarge")  # fmt: skip
"""Beginnings of the names of service errors that leave no usable session."""


@contextmanager
def asyncua_errors(url: str) -> Iterator[None]:
    """Turn what asyncua raises into ours.

    asyncua waits with `asyncio.wait_for`, which before Python 3.12 may lose a cancellation: it is raised here.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    error: Exception | None = None
    try:
        yield
    except Exception as caught:  # noqa: BLE001 - asyncua lets anything through that a reply makes its parser raise
        error = caught
    if task is not None and task.cancelling() > before:
        raise asyncio.CancelledError
    if error is not None:
        raise translated(url, error) from error


def translated(url: str, error: Exception) -> MeterError:
    """Return what an error means to the line's owner."""
    match error:
        case MeterError():
            return error
        case UaStatusCodeError():
            return _service_error(url, error.code)
        case TimeoutError():
            return MeterUnreachable(Text(f"{url} 没有及时应答", f"{url} did not answer in time"))
        case socket.gaierror():
            return MeterUnreachable(Text(f"{url}：查不到主机名", f"{url}: the host name is not known"))
        case OSError():
            return MeterUnreachable(f"{url}: {error.strerror or error}")
        case InvalidSignature():
            return MeterUnreachable(Text(f"{url}：服务器的签名不对", f"{url}: the server's signature is wrong"))
    return MeterUnreachable(f"{url}: {type(error).__name__} {error}")


def is_loss(code: int) -> bool:
    """Return whether after this status the session cannot be used."""
    return status_name(code).startswith(_LOST)


def _service_error(url: str, code: int) -> MeterError:
    name = status_name(code)
    return MeterUnreachable(f"{url}: {name}") if is_loss(code) else MeterRefused(name, code)
