"""Modbus meters read by hand-written bytes, and by pymodbus's client."""

import struct
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from pymodbus.client import AsyncModbusTcpClient

from settings.plant import PlantSettings
from simulators.meters import build_meters
from simulators.modbus_rtu import RtuBus, crc

Simulated = Callable[[PlantSettings], AbstractAsyncContextManager[Any]]
MakePlant = Callable[..., PlantSettings]

READ_POWER = "0001 0000 0006 01 03 0000 0006"
READ_GAS_1 = "01 04 0000 0008 F1CC"
READ_GAS_2 = "02 04 0000 0008 F1FF"


@pytest.mark.parametrize("frame", ["010300000002C40B", "010300060002240A", "0103000C00020408", "010300640001C5D5"])
def test_the_crc_is_that_of_published_frames(frame: str) -> None:
    data = bytes.fromhex(frame)
    assert crc(data[:-2]) == int.from_bytes(data[-2:], "little")


def good_rtu(reply: bytes) -> bool:
    return len(reply) > 4 and crc(reply[:-2]) == int.from_bytes(reply[-2:], "little")


async def test_a_power_meter_answers_on_tcp(simulated: Simulated, make_plant: MakePlant) -> None:
    settings = make_plant("main-power")
    async with simulated(settings) as plant:
        reply = await plant.tcp("panel", READ_POWER)
        energy, power, voltage, frequency = struct.unpack(">IiHH", reply[9:])
        assert reply[:9] == bytes.fromhex("0001 0000 000F 01 03 0C")
        assert 2000 < voltage < 2500
        assert 4990 < frequency < 5010
    meter = build_meters(settings)["main-power"]
    line = plant.served()[0]
    assert line == {
        "t": line["t"], "meter": "main-power", "point": "energy_import", "raw": energy, "value": energy / 100,
    }  # fmt: skip
    assert meter.steps("energy_import", line["t"]) == energy, "history would say the same"
    assert meter.steps("power", line["t"]) == power


async def test_pymodbus_reads_the_power_meter(simulated: Simulated, make_plant: MakePlant) -> None:
    async with simulated(make_plant("main-power")) as plant:
        host, port = plant.lines["panel"]["tcp"].split(":")
        client = AsyncModbusTcpClient(host, port=int(port))
        assert await client.connect()
        answer = await client.read_holding_registers(0, count=2, device_id=1)
        client.close()
    assert (answer.registers[0] << 16) + answer.registers[1] == plant.served()[0]["raw"]


@pytest.mark.parametrize(
    ("request_hex", "reply_hex"),
    [
        ("0007 0000 0006 01 04 0000 0002", "0007 0000 0003 01 84 01"),
        ("0007 0000 0006 01 06 0000 0002", "0007 0000 0003 01 86 01"),
        ("0007 0000 0006 01 03 0005 0002", "0007 0000 0003 01 83 02"),
        ("0007 0000 0006 01 03 0000 0000", "0007 0000 0003 01 83 03"),
        ("0007 0000 0006 01 03 0000 007E", "0007 0000 0003 01 83 03"),
    ],
    ids=["other function", "write", "beyond the end", "no register", "too many"],
)
async def test_what_a_meter_does_not_have_is_an_exception(
    simulated: Simulated, make_plant: MakePlant, request_hex: str, reply_hex: str
) -> None:
    async with simulated(make_plant("main-power")) as plant:
        assert await plant.tcp("panel", request_hex) == bytes.fromhex(reply_hex)


async def test_another_unit_behind_the_address_is_silent(simulated: Simulated, make_plant: MakePlant) -> None:
    async with simulated(make_plant("main-power")) as plant:
        assert await plant.tcp("panel", "0001 0000 0006 09 03 0000 0002", 0.2) == b""


async def test_a_client_that_speaks_no_modbus_is_put_off(simulated: Simulated, make_plant: MakePlant) -> None:
    async with simulated(make_plant("main-power")) as plant:
        assert await plant.tcp("panel", "474554202F20485454502F312E31") == b""
        assert await plant.tcp("panel", READ_POWER)


async def test_two_gas_meters_share_a_line(simulated: Simulated, make_plant: MakePlant) -> None:
    async with simulated(make_plant("gas-main", "gas-2")) as plant:
        first = await plant.pty("rtu-1", READ_GAS_1, 21)
        second = await plant.pty("rtu-1", READ_GAS_2, 21)
        assert await plant.pty("rtu-1", "03 04 0000 0008 F02E", 21, 0.1) == b"", "nobody has unit 3"
    assert good_rtu(first)
    assert good_rtu(second)
    assert (first[0], second[0]) == (1, 2)
    volume, temperature, pressure, flow = struct.unpack(">Ifff", first[3:-2])
    served = {(line["meter"], line["point"]): line["value"] for line in plant.served()}
    assert served["gas-main", "volume"] == volume / 1000
    assert served["gas-main", "temperature"] == pytest.approx(temperature, rel=1e-6)
    assert 50 < pressure < 1000
    assert 100 < flow < 700
    assert served["gas-2", "volume"] == struct.unpack(">I", second[3:7])[0] / 1000


async def test_a_reply_takes_the_time_of_the_line(simulated: Simulated, make_plant: MakePlant) -> None:
    async with simulated(make_plant("gas-main")) as plant:
        begin = time.perf_counter()
        assert len(await plant.pty("rtu-1", READ_GAS_1, 21)) == 21
        took = time.perf_counter() - begin
    assert took >= 29 * 10 / 9600, "8 bytes there and 21 back at 9600 baud"


async def test_noise_before_a_request_does_not_hide_it(simulated: Simulated, make_plant: MakePlant) -> None:
    async with simulated(make_plant("gas-main")) as plant:
        assert good_rtu(await plant.pty("rtu-1", "00 FF 37" + READ_GAS_1, 21))


async def test_half_a_request_is_forgotten(simulated: Simulated, make_plant: MakePlant) -> None:
    async with simulated(make_plant("gas-main")) as plant:
        assert await plant.pty("rtu-1", READ_GAS_1[:10], 21, 0.1) == b""
        assert good_rtu(await plant.pty("rtu-1", READ_GAS_1, 21))


async def test_a_write_of_many_registers_is_refused(simulated: Simulated, make_plant: MakePlant) -> None:
    body = bytes.fromhex("01 10 0000 0002 04 00000000")
    async with simulated(make_plant("gas-main")) as plant:
        reply = await plant.pty("rtu-1", (body + crc(body).to_bytes(2, "little")).hex(), 5)
    assert reply[:3] == bytes.fromhex("01 90 01")


def test_a_request_with_a_wrong_crc_is_no_request() -> None:
    assert RtuBus([]).cut(bytearray.fromhex("01 04 0000 0008 F1CD")) is None


async def test_a_silent_meter_leaves_its_neighbour_alone(simulated: Simulated, make_plant: MakePlant) -> None:
    async with simulated(make_plant("gas-main", "gas-2")) as plant:
        assert await plant.ask(fault="silence", meter="gas-main", **{"for": 30}) == {"ok": True}
        assert await plant.pty("rtu-1", READ_GAS_1, 21, 0.15) == b""
        assert good_rtu(await plant.pty("rtu-1", READ_GAS_2, 21))
        assert await plant.ask(clear="gas-main") == {"ok": True, "cleared": 1}
        assert good_rtu(await plant.pty("rtu-1", READ_GAS_1, 21))


async def test_a_spoilt_reply_has_a_wrong_crc(simulated: Simulated, make_plant: MakePlant) -> None:
    async with simulated(make_plant("gas-main")) as plant:
        await plant.ask(fault="checksum", meter="gas-main", **{"for": "1 min"})
        reply = await plant.pty("rtu-1", READ_GAS_1, 21)
    assert len(reply) == 21
    assert not good_rtu(reply)
    assert {line["fault"] for line in plant.served()} == {"checksum"}


async def test_a_spoilt_tcp_reply_has_a_foreign_transaction(simulated: Simulated, make_plant: MakePlant) -> None:
    async with simulated(make_plant("main-power")) as plant:
        await plant.ask(fault="checksum", meter="main-power")
        reply = await plant.tcp("panel", READ_POWER)
    assert reply[:2] != bytes.fromhex("0001")
    assert reply[2:9] == bytes.fromhex("0000 000F 01 03 0C")


@pytest.mark.parametrize("meter", ["main-power", "gas-main"])
async def test_a_late_reply_comes_late(simulated: Simulated, make_plant: MakePlant, meter: str) -> None:
    async with simulated(make_plant(meter)) as plant:
        await plant.ask(fault="late", meter=meter, delay=0.3)
        begin = time.perf_counter()
        reply = await (plant.tcp("panel", READ_POWER) if meter == "main-power" else plant.pty("rtu-1", READ_GAS_1, 21))
        assert len(reply) == 21
        assert time.perf_counter() - begin >= 0.3
    assert {line["fault"] for line in plant.served()} == {"late"}


async def test_a_reply_still_to_come_does_not_hold_the_stop(simulated: Simulated, make_plant: MakePlant) -> None:
    async with simulated(make_plant("main-power", "gas-main")) as plant:
        await plant.ask(fault="late", meter="main-power", delay=60)
        await plant.ask(fault="late", meter="gas-main", delay=60)
        assert await plant.tcp("panel", READ_POWER, 0.1) == b""
        assert await plant.pty("rtu-1", READ_GAS_1, 21, 0.1) == b""


async def test_the_registers_show_reset_and_stuck(simulated: Simulated, make_plant: MakePlant) -> None:
    async with simulated(make_plant("gas-main")) as plant:
        await plant.ask(fault="reset", meter="gas-main")
        await plant.ask(fault="stuck", meter="gas-main", **{"for": 30})
        first = await plant.pty("rtu-1", READ_GAS_1, 21)
        second = await plant.pty("rtu-1", READ_GAS_1, 21)
    assert first == second
    assert struct.unpack(">I", first[3:7])[0] < 100
