"""What the drivers' tests share: profiles, plans, and replies composed without any driver's code."""

import asyncio
import struct
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from drivers.catalogue import driver
from drivers.contract import MeterPlan, Request, Send, Value
from link.world import Channel
from metering.errors import MeterSilent
from metering.profile import Profile


def crc16(data: bytes) -> bytes:
    """The checksum of Modbus RTU, bit by bit, as the specification draws it (serial line V1.02, 6.2.2)."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return struct.pack("<H", crc)


@pytest.fixture(scope="session")
def crc() -> Callable[[bytes], bytes]:
    return crc16


@pytest.fixture
def modbus_profile() -> Callable[..., Profile]:
    """Make a profile of points given as dicts; unit and role are filled in."""

    def make(points: dict[str, dict[str, Any]], **rest: Any) -> Profile:
        filled = {name: {"unit": "1", "role": "gauge", **point} for name, point in points.items()}
        return Profile.model_validate(
            {"vendor": "x", "model": "y", "kind": "electricity", "protocol": "modbus", "points": filled,
             "source": {"title": "made up"}, "status": "unverified", **rest}
        )  # fmt: skip

    return make


@pytest.fixture
def modbus_reads() -> Callable[..., Sequence[Request]]:
    """Plan the reads of a profile over TCP, or over RTU with `rtu=True`."""

    def plan(profile: Profile, *, rtu: bool = False, unit: int = 1, points: Sequence[str] = ()) -> Sequence[Request]:
        modbus = driver("modbus")
        where = {"serial": "/dev/null"} if rtu else {"tcp": "h:502"}
        line = modbus.line_model.model_validate({"driver": "modbus", **where})
        wanted = {name: profile.points[name] for name in points or profile.points}
        return modbus.plan(line, MeterPlan("m", {"unit": unit}, profile, wanted))  # type: ignore[attr-defined]

    return plan


@pytest.fixture
def tcp_reply() -> Callable[[bytes, bytes], bytes]:
    """Compose the reply to a TCP request that carries `data`."""

    def reply(request: bytes, data: bytes) -> bytes:
        pdu = bytes([request[6], request[7], len(data)]) + data
        return request[:4] + struct.pack(">H", len(pdu)) + pdu

    return reply


@pytest.fixture
def rtu_reply() -> Callable[[bytes, bytes], bytes]:
    """Compose the reply to an RTU request that carries `data`."""

    def reply(request: bytes, data: bytes) -> bytes:
        body = request[:2] + bytes([len(data)]) + data
        return body + crc16(body)

    return reply


@pytest.fixture
def asked() -> Callable[[Channel, Request], Awaitable[Sequence[Value]]]:
    """Ask a device and return the values of its answer, as a line owner does: dialogues, silence and a time-out."""

    async def ask(
        channel: Channel, request: Request, timeout_s: float = 2.0, silence_s: float = 0.0
    ) -> Sequence[Value]:
        frame: bytes = request.request()
        while True:
            await asyncio.sleep(silence_s)
            await channel.write(frame)
            received = b""
            while request.length_of(received) is None:
                data = await channel.read(timeout_s)
                if not data:
                    raise MeterSilent(received.hex())
                received += data
            step = request.decode(received[: request.length_of(received)])
            if not isinstance(step, Send):
                return step
            frame = step.frame

    return ask


@pytest.fixture
def opcua_plan() -> Callable[..., MeterPlan]:
    """Make a plan of gauges in kg, by name and node id."""

    def make(**addresses: str) -> MeterPlan:
        points = {name: {"address": address, "unit": "kg", "role": "gauge"} for name, address in addresses.items()}
        head = {"vendor": "x", "model": "y", "kind": "fuel", "protocol": "opcua", "status": "unverified"}
        profile = Profile.model_validate({**head, "source": {"title": "x"}, "points": points})
        return MeterPlan("m", {}, profile, profile.points)

    return make


class OpcUaServer:
    """asyncua's server with variables `ns=2;s=<name>`; with a certificate where one is given (DER and PEM of the key)."""

    def __init__(self, port: int = 0, secret: tuple[bytes, bytes, str] | None = None) -> None:
        self.port = port
        self._secret = secret
        self.server: Any = None

    @property
    def url(self) -> str:
        return f"opc.tcp://127.0.0.1:{self.port}/"

    async def __aenter__(self) -> "OpcUaServer":
        from asyncua import ua
        from asyncua.server.server import Server

        self.server = Server()
        await self.server.init()
        self.server.disable_clock()
        self.server.set_endpoint(self.url)
        policies = [ua.SecurityPolicyType.NoSecurity]
        if self._secret is not None:
            policies += [kind for kind in ua.SecurityPolicyType if kind.name.startswith(("Basic256Sha256", "Aes128"))]
            certificate, key, uri = self._secret
            await self.server.set_application_uri(uri)
            await self.server.load_certificate(certificate)
            await self.server.load_private_key(key, format="pem")
        self.server.set_security_policy(policies)
        await self.server.register_namespace("urn:test")
        await self.server.start()
        self.port = self.server.bserver.port
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.server.stop()

    async def add(self, name: str, value: Any, kind: Any = None) -> Any:
        """Add a variable; return its node."""
        from asyncua import ua

        return await self.server.nodes.objects.add_variable(ua.NodeId(name, 2), name, value, kind)

    async def set(self, name: str, data: Any) -> None:
        from asyncua import ua

        await self.server.write_attribute_value(ua.NodeId(name, 2), data)


@pytest.fixture(scope="session")
def opcua_server() -> Callable[..., OpcUaServer]:
    return OpcUaServer
