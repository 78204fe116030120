"""Modbus: pymodbus's servers are read correctly in every wrapping, and say who they are."""

import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pymodbus import FramerType
from pymodbus.datastore import ModbusDeviceContext, ModbusSequentialDataBlock, ModbusServerContext
from pymodbus.pdu.device import ModbusDeviceIdentification
from pymodbus.server import ModbusTcpServer, ModbusUdpServer

import drivers.modbus
from drivers.contract import MeterPlan, Value
from link.real_world import RealWorld
from link.world import Channel
from metering.errors import MeterRefused
from metering.profile import Profile

MODBUS = drivers.modbus.DRIVER
Asked = Callable[..., Awaitable[Sequence[Value]]]
REGISTERS = list(struct.unpack(">8H", struct.pack(">fIq", 230.2, 123456789, -(2**60) - 1)))
PROFILE = Profile.model_validate(
    {"vendor": "x", "model": "y", "kind": "electricity", "protocol": "modbus", "status": "unverified", "source": {"title": "x"},
     "points": {"voltage": {"address": 0, "type": "f32", "unit": "V", "role": "gauge"},
                "energy": {"address": 2, "type": "u32", "scale": "0.01", "unit": "kWh", "role": "counter"},
                "large": {"address": 4, "type": "i64", "unit": "1", "role": "gauge"},
                "input": {"address": 2, "type": "u32", "fc": 4, "unit": "1", "role": "gauge"},
                "closed": {"address": 1, "type": "bool", "fc": 2, "unit": "1", "role": "gauge"}}}
)  # fmt: skip
EXPECTED = {"voltage": 230.2, "energy": 1234567.89, "large": -(2**60) - 1, "input": 123456789, "closed": 1}
LINES = {
    "tcp": (ModbusTcpServer, FramerType.SOCKET, {"framer": "tcp"}),
    "rtu over tcp": (ModbusTcpServer, FramerType.RTU, {"framer": "rtu"}),
    "ascii over tcp": (ModbusTcpServer, FramerType.ASCII, {"framer": "ascii"}),
    "udp": (ModbusUdpServer, FramerType.SOCKET, {}),
}


@asynccontextmanager
async def serving(kind: str) -> AsyncIterator[tuple[Any, Channel]]:
    """Serve unit 7 with pymodbus; yield the settings of a line to it, and its channel."""
    server_class, framer, settings = LINES[kind]
    registers, bits = ModbusSequentialDataBlock(1, REGISTERS), ModbusSequentialDataBlock(1, [False, True])
    context = ModbusServerContext({7: ModbusDeviceContext(hr=registers, ir=registers, di=bits, co=bits)})
    who = ModbusDeviceIdentification(
        info_name={"VendorName": "Acrel", "ProductCode": "ADL400", "MajorMinorRevision": "1.07"}
    )
    server: Any = server_class(context, framer=framer, identity=who, address=("127.0.0.1", 0))
    await server.serve_forever(background=True)
    sockets = getattr(server.transport, "sockets", None)
    address = sockets[0].getsockname() if sockets else server.transport.get_extra_info("sockname")
    where = {"udp" if kind == "udp" else "tcp": f"127.0.0.1:{address[1]}"}
    world = RealWorld()
    channel = await (
        world.open_udp("127.0.0.1", address[1]) if kind == "udp" else world.open_tcp("127.0.0.1", address[1], 2.0)
    )
    try:
        yield MODBUS.line_model.model_validate({"driver": "modbus", **where, **settings}), channel
    finally:
        await channel.close()
        await server.shutdown()


@pytest.mark.parametrize("kind", LINES)
async def test_pymodbus_is_read_correctly_in_every_wrapping(kind: str, asked: Asked) -> None:
    async with serving(kind) as (line, channel):
        plan = MeterPlan("m", {"unit": 7}, PROFILE, PROFILE.points)
        for _ in range(3):
            values = [value for read in MODBUS.plan(line, plan) for value in await asked(channel, read)]
            assert {value.point: value.value for value in values} == EXPECTED


@pytest.mark.parametrize("kind", LINES)
async def test_pymodbus_says_who_it_is(kind: str, asked: Asked) -> None:
    async with serving(kind) as (line, channel):
        (request,) = MODBUS.identify(line, MeterPlan("m", {"unit": 7}, PROFILE, {}))
        values = await asked(channel, request)
        assert {value.point: value.text for value in values} == {
            "maker": "Acrel",
            "model": "ADL400",
            "firmware": "1.07",
        }


@pytest.mark.parametrize("kind", LINES)
async def test_f24_what_pymodbus_has_not_is_refused_by_it(kind: str, asked: Asked) -> None:
    async with serving(kind) as (line, channel):
        beyond = {"x": PROFILE.points["voltage"].model_copy(update={"address": 500})}
        (read,) = MODBUS.plan(line, MeterPlan("m", {"unit": 7}, PROFILE, beyond))
        with pytest.raises(MeterRefused, match="exception 2"):
            await asked(channel, read)
