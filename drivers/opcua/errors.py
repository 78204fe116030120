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


_LOGIN = ("BadUserAccessDenied", "BadUserSignatureInvalid", "BadIdentityToken")


class LoginRefused(MeterUnreachable):
    """The server is there, and does not let us in."""

    text = Text("{detail}", "{detail}")


def login_refused(url: str, user: str | None, error: MeterError) -> LoginRefused | None:
    """Return what a refusal of our user or password means to a person; None where it is another refusal."""
    said = str(error)
    if not any(name in said for name in _LOGIN):
        return None
    status = str(error.values.get("detail", said))
    if user is None:
        return LoginRefused(Text(f"{url}：服务器不接受匿名登录或用户证书（{status}）：请写 user 和 password，或检查 user_cert",
                                 f"{url}: the server takes no anonymous user, or not this user_cert ({status}):"
                                 " write user and password, or check user_cert"))  # fmt: skip
    return LoginRefused(Text(f"{url}：服务器拒绝用户 {user}（{status}）：检查 user 和 password",
                             f"{url}: the server refused the user {user} ({status}): check user and password"))  # fmt: skip


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
        case ConnectionRefusedError():
            return MeterUnreachable(Text(f"{url} 拒绝连接：检查端口，以及服务器是否在运行",
                                         f"{url} refused the connection: check the port, and whether the server runs"))  # fmt: skip
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
