"""Connecting to a server: its name looked up, the channel secured, the session checked, and a sentence for every refusal."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from asyncua import ua
from cryptography import x509

from drivers.contract import Surroundings
from drivers.opcua.bounded import BoundedClient
from drivers.opcua.certificate import load_identity, own_place
from drivers.opcua.errors import asyncua_errors, login_refused
from drivers.opcua.settings import OpcUaLine
from drivers.opcua.trust import Security, check_session, judge_offer, offered_certificate, secure, security_of, warnings
from metering.errors import MeterError, MeterRefused, MeterUnreachable
from metering.text import Text

GOODBYE_S = 1.0
"""Longest wait for a server's goodbye."""

log = logging.getLogger(__name__)
logging.getLogger("asyncua").setLevel(logging.CRITICAL)  # what it logs, the errors raised here say


@asynccontextmanager
async def connected(line: OpcUaLine, world: Surroundings) -> AsyncIterator[BoundedClient]:
    """Connect and hold an active session.

    Raises:
        MeterUnreachable: on entering, whatever the reason.
    """
    security = await security_of(line, world)
    with asyncua_errors(line.url):
        client = BoundedClient(line.url, line.timeout)
    try:
        await _enter(client, line, security, world)
        for warning in warnings(line, security, world) if security is not None else ():
            log.warning("%s: %s", line.url, warning)
        yield client
    finally:
        await _close(client, line.url)


async def _enter(client: BoundedClient, line: OpcUaLine, security: Security | None, world: Surroundings) -> None:
    try:
        with asyncua_errors(line.url):
            async with asyncio.timeout(line.timeout):
                if line.secured and security is None:
                    judge_offer(line, await _offer(line, world))
                    raise MeterUnreachable(line.url)  # not reached: what is not pinned is unknown
                await _open(client, line, security, world)
    except (MeterRefused, MeterUnreachable) as error:
        if security is not None:
            await _explain(line, security, world, error)
        login = login_refused(line.url, line.user, error)
        raise login or MeterUnreachable(_with_url(line.url, error)) from error


async def _open(client: BoundedClient, line: OpcUaLine, security: Security | None, world: Surroundings) -> None:
    if security is not None:
        secure(client, line, security)
    await client.reach(await addresses(line, world))
    created = await client.create_session()
    if security is not None:
        check_session(client, created, security, line.url)
    certificate = None
    if line.user_cert is not None and line.user_key is not None:
        user = load_identity(line.user_cert, line.user_key)
        certificate, client.user_private_key = user.certificate, user.key
    await client.activate_session(username=line.user, password=line.password, certificate=certificate)


async def _explain(line: OpcUaLine, security: Security, world: Surroundings, error: MeterError) -> None:
    """Find out whether a refusal has to do with trust, and say so; else return."""
    try:
        with asyncua_errors(line.url):
            async with asyncio.timeout(line.timeout):
                offered = await _offer(line, world)
    except MeterError:
        return  # it cannot be asked either: it is not there
    if offered is None or offered != security.server:
        judge_offer(line, offered)
    said = str(error)
    if not isinstance(error.values.get("detail"), Text) and "User" not in said and "IdentityToken" not in said:
        raise MeterUnreachable(_trust_us(line, error)) from error


def _trust_us(line: OpcUaLine, error: MeterError) -> Text:
    reason, path = str(error.values.get("detail", error)), own_place(line.pki)
    return Text(
        f"{reason}：服务器可能还不信任我们的证书 {path}，请在服务器上把它移入受信任的客户端",
        f"{reason}: the server may not trust our certificate {path} yet; let the server trust it",
    )


async def _offer(line: OpcUaLine, world: Surroundings) -> x509.Certificate | None:
    return offered_certificate(line, await endpoints(line, world))


async def endpoints(line: OpcUaLine, world: Surroundings) -> list[ua.EndpointDescription]:
    """Ask a server, on a channel without security, how it can be reached. What it says is not to be believed, only shown.

    Raises:
        MeterError: it cannot be asked.
    """
    with asyncua_errors(line.url):
        client = BoundedClient(line.url, line.timeout)
        try:
            async with asyncio.timeout(line.timeout):
                await client.reach(await addresses(line, world))
                found: list[ua.EndpointDescription] = await client.get_endpoints()
                return found
        finally:
            client.disconnect_socket()


async def addresses(line: OpcUaLine, world: Surroundings) -> list[tuple[str, int]]:
    """Return the addresses of the server's host, looked up in a thread that holds up nothing."""
    host, port = line.host_port
    found = await world.in_own_thread(
        f"resolve {host}", lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    )
    return [(str(at[4][0]), port) for at in found]


def _with_url(url: str, error: MeterError) -> str | Text:
    detail = error.values.get("detail", "")
    if isinstance(detail, Text):
        return detail
    return str(detail) if str(detail).startswith(url) else f"{url}: {detail}"


async def _close(client: BoundedClient, url: str) -> None:
    """Say goodbye for a while, then close the socket whatever happened."""
    try:
        if not client.lost:
            with suppress(MeterError), asyncua_errors(url):
                async with asyncio.timeout(GOODBYE_S):
                    await client.say_goodbye()
    finally:
        client.disconnect_socket()
