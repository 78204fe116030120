"""The OPC UA driver: one session for each server, one Read request for each meter.

Promises
    * Every wait has an end, and no task outlives the session: the client runs none.
    * After any loss the session stays dead and says MeterUnreachable; its owner opens a new one.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress

from asyncua import ua
from asyncua.ua.uaerrors import UaError, UaStatusCodeError
from pydantic import BaseModel

from drivers.contract import MeterPlan, Session, Value
from drivers.measure import number_fault
from drivers.opcua.bounded import BoundedClient
from drivers.opcua.codec import Target, target
from drivers.opcua.settings import OpcUaLine, OpcUaMeter
from metering.errors import BadFrame, MeterError, MeterRefused, MeterUnreachable
from metering.profile import Place, Profile
from metering.text import Text

GOODBYE_S = 1.0
"""Longest wait for a server's goodbye."""
RENEW_AFTER = 0.75
"""Share of a channel's lifetime after which it is renewed (OPC 10000-4, 5.5.2)."""
_LOST = ("BadSession", "BadSecureChannel", "BadConnection", "BadShutdown", "BadServerHalted", "BadTimeout",
         "BadCommunicationError", "BadTcp", "BadNotConnected", "BadDisconnect", "BadRequestTooLarge")  # fmt: skip
"""Beginnings of the names of service errors that leave no usable session."""

logging.getLogger("asyncua").setLevel(logging.CRITICAL)  # what it logs, the errors raised here say


class OpcUaSession:
    """An open session. Not to be used after MeterUnreachable."""

    def __init__(self, client: BoundedClient, url: str, timeout_s: float) -> None:
        self._client = client
        self._url = url
        self._timeout_s = timeout_s
        self._opened = asyncio.get_running_loop().time()
        self._targets: dict[str, tuple[MeterPlan, list[Target]]] = {}

    async def read(self, plan: MeterPlan) -> Sequence[Value]:
        targets = self._targets_of(plan)
        with asyncua_errors(self._url):
            async with asyncio.timeout(self._timeout_s):
                await self._renew()
                found = await self._client.read([target.node for target in targets])
        if len(found) != len(targets):
            raise BadFrame(
                Text(f"返回 {len(found)} 个值，应为 {len(targets)}", f"{len(found)} values, not {len(targets)}")
            )
        return [target.value(data) for target, data in zip(targets, found, strict=True)]

    def _targets_of(self, plan: MeterPlan) -> list[Target]:
        known = self._targets.get(plan.meter)
        if known is None or known[0] is not plan:
            known = plan, [target(name, point) for name, point in plan.points.items()]
            self._targets[plan.meter] = known
        return known[1]

    async def _renew(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._opened > RENEW_AFTER * self._client.secure_channel_timeout / 1000:
            await self._client.open_secure_channel(renew=True)
            self._opened = now


@contextmanager
def asyncua_errors(url: str) -> Iterator[None]:
    """Turn what asyncua raises into ours; the only place that knows it.

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
        raise _translated(url, error) from error


def _translated(url: str, error: Exception) -> MeterError:
    match error:
        case MeterError():
            return error
        case UaStatusCodeError():
            return _service_error(url, error.code)
        case TimeoutError():
            return MeterUnreachable(Text(f"{url} 没有及时应答", f"{url} did not answer in time"))
        case OSError():
            return MeterUnreachable(f"{url}: {error.strerror or error}")
    return MeterUnreachable(f"{url}: {type(error).__name__} {error}")


def _service_error(url: str, code: int) -> MeterError:
    status = ua.StatusCode(ua.UInt32(code))
    if status.name.startswith(_LOST):
        return MeterUnreachable(f"{url}: {status.name}")
    return MeterRefused(f"{status.name}: {status.doc}", code)


async def _close(client: BoundedClient, url: str) -> None:
    """Say goodbye for a while, then close the socket whatever happened."""
    try:
        with suppress(MeterError), asyncua_errors(url):
            async with asyncio.timeout(GOODBYE_S):
                await client.say_goodbye()
    finally:
        client.disconnect_socket()


class OpcUaDriver:
    """Meters behind an OPC UA server. Security policy None; user and password where the server wants them."""

    name = "opcua"
    line_model: type[BaseModel] = OpcUaLine
    meter_model: type[BaseModel] = OpcUaMeter

    def fault(self, point: Place, profile: Profile) -> Text | None:
        text = str(point.address)
        try:
            node = ua.NodeId.from_string(text)
        except UaError:
            node = None
        if node is None or isinstance(point.address, int) or isinstance(node, ua.ExpandedNodeId):
            return Text(f"{point.address!r} 不是节点号，应如 ns=2;s=Flow.Mass 或 ns=2;i=1001",
                        f"{point.address!r} is no node id such as ns=2;s=Flow.Mass or ns=2;i=1001")  # fmt: skip
        if point.type is not None:
            return Text("服务器给出类型，不用写 type", "the server gives the type: leave it out")
        return number_fault(point)

    def open(self, line: BaseModel) -> AbstractAsyncContextManager[Session]:
        return _opened(OpcUaLine.model_validate(line))


@asynccontextmanager
async def _opened(line: OpcUaLine) -> AsyncIterator[Session]:
    with asyncua_errors(line.url):
        client = BoundedClient(line.url, line.timeout)
    try:
        await _enter(client, line)
        yield OpcUaSession(client, line.url, line.timeout)
    finally:
        await _close(client, line.url)


async def _enter(client: BoundedClient, line: OpcUaLine) -> None:
    """Connect; a server that refuses us (a user, a certificate) is as good as not there."""
    try:
        with asyncua_errors(line.url):
            async with asyncio.timeout(line.timeout):
                await client.open(line.user, line.password)
    except MeterRefused as error:
        raise MeterUnreachable(f"{line.url}: {error.detail}") from error
