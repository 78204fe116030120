"""Each fault as a client sees it on the wire: over real sockets and ptys, and by the bytes of one exchange."""

import asyncio
import os
import socket
import ssl
import stat
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
import serial

from metering.errors import MeterError, SettingsFaults
from metering.reading import Quality
from settings.plant import PlantFault, PlantSettings, read_plant
from settings.plant_faults import FAULTS, FaultKind, Wire
from simulators import faults
from simulators.modbus_rtu import crc

Simulated = Callable[[PlantSettings], AbstractAsyncContextManager[Any]]
Desk = Callable[..., Any]
TCP = {"protocol": "modbus-tcp"}
RTU = {"protocol": "modbus-rtu"}
SDM = {"profile": "eastron/sdm630"}
READ_F = "0001 0000 0006 01 04 0046 0002"
"""The frequency, on TCP."""
RTU_F = "01 04 0046 0002 901E"
HEAD = """
timezone: Asia/Shanghai
since: 2026-01-01
shifts: [{from: "00:00", load: 0.5}]
"""


@pytest.fixture
def plant_of(tmp_path: Path) -> Callable[..., PlantSettings]:
    """Return a maker of plants with one meter `m` on one line `l`."""

    def make(line: str, meter: str = "profile: eastron/sdm630") -> PlantSettings:
        path = tmp_path / "plant.yaml"
        path.write_text(f"{HEAD}lines: {{l: {{{line}}}}}\nmeters: {{m: {{line: l, {meter}}}}}\n", encoding="utf-8")
        return read_plant(path)

    return make


def sound(reply: bytes) -> bool:
    return len(reply) > 4 and crc(reply[:-2]) == int.from_bytes(reply[-2:], "little")


def rtu(stand: Any, request: str = RTU_F) -> bytes:
    body = bytes.fromhex(request)[:-2]
    return bytes(stand.answer(body + crc(body).to_bytes(2, "little")))


@pytest.fixture
async def running(simulated: Simulated, plant_of: Callable[..., PlantSettings]) -> AsyncIterator[Any]:
    async with simulated(plant_of("protocol: modbus-tcp")) as plant:
        yield plant


def where(plant: Any) -> tuple[str, int]:
    host, port = plant.lines["l"]["tcp"].split(":")
    return host, int(port)


async def test_f20_a_server_that_is_down_refuses_and_comes_back_at_its_port(running: Any) -> None:
    with socket.create_connection(where(running)) as open_before:
        await running.ask(fault="refuse", meter="m", **{"for": 30})
        await asyncio.sleep(0.2)
        open_before.settimeout(1)
        with pytest.raises(ConnectionResetError):
            open_before.recv(1)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(where(running), timeout=1)
    await running.ask(clear="m")
    await asyncio.sleep(0.2)
    assert len(await running.tcp("l", READ_F)) == 13


async def test_f20_a_server_accepts_and_is_silent(running: Any) -> None:
    await running.ask(fault="silence", meter="m")
    assert await running.tcp("l", READ_F, 0.2) == b""


async def test_f20_a_connection_is_reset_in_the_middle_of_a_frame(running: Any) -> None:
    await running.ask(fault="abort", meter="m")

    def read() -> tuple[bytes, bool]:
        with socket.create_connection(where(running), timeout=2) as connection:
            connection.sendall(bytes.fromhex(READ_F))
            first = connection.recv(64)
            try:
                return first, connection.recv(64) == b"never"
            except ConnectionResetError:
                return first, True

    first, reset = await asyncio.to_thread(read)
    assert len(first) == 6, "half of 13"
    assert reset


def test_f21_a_late_reply_answers_the_next_request(desk: Desk) -> None:
    stand = desk(SDM, TCP)
    stand.fault("stale")
    assert stand.answer(bytes.fromhex("0001 0000 0006 01 04 0046 0002")) == b""
    late = stand.answer(bytes.fromhex("0002 0000 0006 01 04 0048 0002"))
    assert late[:2] == b"\0\1"
    assert stand.answer(bytes.fromhex("0003 0000 0006 01 04 0046 0002"))[:2] == b"\0\2"


def test_f21_a_reply_has_a_foreign_transaction_id(desk: Desk) -> None:
    stand = desk(SDM, TCP)
    right = stand.answer(bytes.fromhex(READ_F))
    stand.fault("transaction")
    wrong = stand.answer(bytes.fromhex(READ_F))
    assert wrong[:2] != right[:2]
    assert wrong[2:] == right[2:]


def test_f22_another_unit_answers(desk: Desk) -> None:
    stand = desk(SDM, RTU)
    stand.fault("foreign")
    reply = rtu(stand)
    assert reply[0] == 2
    assert sound(reply)


def test_f22_on_rtu_nothing_tells_a_late_reply(desk: Desk) -> None:
    stand = desk(SDM, RTU)
    before = rtu(stand)
    stand.fault("stale")
    assert rtu(stand) == b""
    assert rtu(stand, "01 04 0034 0002 0000") == before, "the frequency, as the answer for the power"


def test_f23_a_reply_is_spoilt_on_its_way(desk: Desk) -> None:
    right = rtu(desk(SDM, RTU))
    spoilt = {}
    for kind in ("checksum", "noise", "truncated", "doubled", "echo"):
        stand = desk(SDM, RTU)
        stand.fault(kind)
        spoilt[kind] = rtu(stand)
    assert len(spoilt["checksum"]) == len(right)
    assert not sound(spoilt["checksum"])
    assert right in spoilt["noise"]
    assert not spoilt["noise"].startswith(right[:1])
    assert spoilt["truncated"] == right[:4]
    assert spoilt["doubled"] == right * 2
    assert spoilt["echo"][8:] == right
    assert spoilt["echo"][:6] == bytes.fromhex(RTU_F)[:6]


@pytest.mark.parametrize("code", [1, 2, 3, 4, 5, 6, 8, 10, 11])
def test_f24_a_request_is_refused_with_a_code(desk: Desk, code: int) -> None:
    stand = desk(SDM, TCP)
    stand.fault("exception", code=code)
    assert stand.answer(bytes.fromhex(READ_F))[7:] == bytes((0x84, code))


def test_f24_only_some_registers_are_refused(desk: Desk) -> None:
    stand = desk(SDM, TCP)
    stand.fault("exception", code=2, addresses=[0x0046, 0x0047])
    assert stand.answer(bytes.fromhex(READ_F))[7:] == bytes((0x84, 2))
    assert stand.answer(bytes.fromhex("0001 0000 0006 01 04 0048 0002"))[7] == 4


def test_f25_the_words_of_a_value_are_swapped(desk: Desk) -> None:
    stand = desk(SDM, TCP)
    right = stand.answer(bytes.fromhex(READ_F))[9:]
    stand.fault("swapped")
    assert stand.answer(bytes.fromhex(READ_F))[9:] == right[2:] + right[:2]


def test_f26_a_length_is_huge(desk: Desk) -> None:
    for line, at, request in ((TCP, slice(4, 6), READ_F), (RTU, slice(2, 3), RTU_F)):
        stand = desk(SDM, line)
        stand.fault("length")
        reply = rtu(stand) if line is RTU else stand.answer(bytes.fromhex(request))
        assert set(reply[at]) == {0xFF}


async def test_f26_a_reply_does_not_end(running: Any) -> None:
    await running.ask(fault="endless", meter="m", **{"for": 0.5})

    def drink() -> int:
        with socket.create_connection(where(running), timeout=0.4) as connection:
            connection.sendall(bytes.fromhex(READ_F))
            taken = 0
            try:
                while part := connection.recv(4096):
                    taken += len(part)
            except TimeoutError:
                return taken
            return taken

    assert 1000 < await asyncio.to_thread(drink) <= 13 + 65536 + 100


async def test_f27_a_port_vanishes_and_comes_back_as_another(
    simulated: Simulated, plant_of: Callable[..., PlantSettings]
) -> None:
    async with simulated(plant_of("protocol: modbus-rtu, baud: 9600")) as plant:
        path = Path(plant.lines["l"]["serial"])
        held = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        await plant.ask(fault="vanish", meter="m", **{"for": 0.3})
        await asyncio.sleep(0.15)
        assert not path.is_symlink()
        with pytest.raises(OSError, match="Input/output error"):
            os.write(held, b"x")
        os.close(held)
        await asyncio.sleep(0.4)
        assert sound(await plant.pty("l", RTU_F[:-4] + crc(bytes.fromhex(RTU_F)[:-2]).to_bytes(2, "little").hex(), 9))


async def test_f28_a_port_loses_its_permission(simulated: Simulated, plant_of: Callable[..., PlantSettings]) -> None:
    async with simulated(plant_of("protocol: modbus-rtu")) as plant:
        path = Path(plant.lines["l"]["serial"])
        await plant.ask(fault="permission", meter="m", **{"for": 0.3})
        await asyncio.sleep(0.15)
        assert stat.S_IMODE(path.stat().st_mode) == 0
        await asyncio.sleep(0.4)
        assert stat.S_IMODE(path.stat().st_mode) & 0o600 == 0o600


SERIAL = {
    "dlt645": {"profile": "generic/dlt645-2007", "number": "161"},
    "cjt188": {"profile": "generic/cjt188-water", "number": "161"},
    "mbus": {"profile": "generic/mbus-gas", "unit": 5},
    "iec62056": {"profile": "generic/iec62056-electricity"},
}


SPOILS = ("checksum", "foreign", "truncated", "doubled", "noise", "length", "nibble")
SPOILT = [(protocol, kind) for protocol in SERIAL for kind in SPOILS if Wire(protocol, "serial").can_have(kind)]


@pytest.mark.parametrize(("protocol", "kind"), SPOILT)
def test_f32_no_spoilt_reply_of_a_serial_meter_gives_a_wrong_value(desk: Desk, protocol: str, kind: FaultKind) -> None:
    stand = desk(SERIAL[protocol], {"protocol": protocol})
    stand.fault(kind)
    try:
        values = stand.read(stand.profile.points)
    except MeterError:
        return
    assert kind in ("doubled", "noise", "nibble"), "the others must be refused"
    good = [value for value in values if value.quality == Quality.GOOD]
    assert all(value.value == stand.meter.value(value.point, stand.ms) for value in good)
    if kind == "nibble":
        counter = next(value for value in values if value.point == stand.meter.counter)
        assert counter.value is None


def test_what_is_served_under_a_fault_is_marked(desk: Desk) -> None:
    stand = desk(SDM, RTU)
    stand.fault("swapped")
    assert stand.faults.mark("m") == "swapped"


@pytest.mark.parametrize(
    ("line", "fault", "says"),
    [
        ("protocol: modbus-rtu", "refuse", "there is no fault refuse on modbus-rtu over serial; there are silence"),
        ("protocol: modbus-tcp", "vanish", "there is no fault vanish"),
        ("protocol: modbus-rtu", "transaction", "there is no fault transaction"),
    ],
)
def test_a_fault_that_a_line_cannot_have_is_refused_with_those_it_can(
    plant_of: Callable[..., PlantSettings], tmp_path: Path, line: str, fault: str, says: str
) -> None:
    settings = plant_of(line)
    wrong = PlantFault.model_validate({"at": "1 s", "fault": fault, "meter": "m"})
    (found,) = settings.model_copy(update={"faults": [wrong]}).contradictions()
    assert says in found.problem.say("en", **found.values)
    assert found.problem.zh != found.problem.en


async def test_a_fault_asked_for_that_cannot_be_is_refused(running: Any) -> None:
    answer = await running.ask(fault="nibble", meter="m")
    assert answer["ok"]
    answer = await running.ask(fault="permission", meter="m")
    assert not answer["ok"]
    assert "there is no fault permission" in answer["error"]


def test_the_table_of_faults_is_complete() -> None:
    assert all(f"\n| {kind} |" in str(faults.__doc__) for kind in FAULTS)


@pytest.mark.parametrize(
    ("line", "request_hex", "size"),
    [
        ("protocol: modbus-rtu, over: tcp", RTU_F, 9),
        ("protocol: modbus-rtu, over: tcp, baud: 19200", RTU_F, 9),
        ("protocol: modbus-tcp, over: udp", READ_F, 13),
        ("protocol: modbus-ascii, over: tcp", "", 19),
    ],
)
async def test_frames_go_over_other_ways_too(
    simulated: Simulated, plant_of: Callable[..., PlantSettings], line: str, request_hex: str, size: int
) -> None:
    body = bytes.fromhex(RTU_F)[:-2]
    frame = bytes.fromhex(request_hex) if request_hex else b":0104004600" + b"02B3\r\n"
    if request_hex == RTU_F:
        frame = body + crc(body).to_bytes(2, "little")
    async with simulated(plant_of(line)) as plant:
        way, address = next(iter(plant.lines["l"].items()))
        host, port = address.split(":")

        def exchange() -> bytes:
            kind = socket.SOCK_DGRAM if way == "udp" else socket.SOCK_STREAM
            with socket.socket(socket.AF_INET, kind) as connection:
                connection.settimeout(2)
                connection.connect((host, int(port)))
                connection.sendall(frame)
                got = b""
                while len(got) < size:
                    got += connection.recv(64)
                return got

        assert len(await asyncio.to_thread(exchange)) == size


async def test_modbus_goes_over_tls_with_a_certificate_to_verify(
    simulated: Simulated, plant_of: Callable[..., PlantSettings]
) -> None:
    async with simulated(plant_of("protocol: modbus-tcp, over: tls")) as plant:
        context = ssl.create_default_context(cafile=plant.lines["l"]["ca"])
        host, port = plant.lines["l"]["tcp"].split(":")
        reader, writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname="localhost")
        writer.write(bytes.fromhex(READ_F))
        assert len(await reader.readexactly(13)) == 13
        writer.close()


@pytest.mark.parametrize(("changes", "understood"), [(True, True), (False, False)])
async def test_who_does_not_change_his_speed_in_mode_c_reads_garbage(
    simulated: Simulated, plant_of: Callable[..., PlantSettings], changes: bool, understood: bool
) -> None:
    settings = plant_of("protocol: iec62056", "profile: generic/iec62056-electricity, fast: 19200")
    async with simulated(settings) as plant:

        def read() -> bytes:
            with serial.Serial(plant.lines["l"]["serial"], 300, timeout=3) as port:
                port.write(b"/?!\r\n")
                assert port.read_until(b"\n").startswith(b"/TAN6")
                port.write(b"\x06060\r\n")
                port.flush()
                if changes:
                    time.sleep(0.25)  # the acknowledgement leaves at the old speed
                    port.baudrate = 19200
                return bytes(port.read_until(b"\x03"))

        assert (b"1.8.0(" in await asyncio.to_thread(read)) is understood


async def test_a_late_reply_leaves_the_line_to_the_others(
    simulated: Simulated, make_plant: Callable[..., PlantSettings]
) -> None:
    async with simulated(make_plant("gas-main", "gas-2")) as plant:
        await plant.ask(fault="late", meter="gas-main", delay=1)
        first = asyncio.create_task(plant.pty("rtu-1", "01 04 0000 0008 F1CC", 21, 0.05))
        await first
        began = time.perf_counter()
        assert (await plant.pty("rtu-1", "02 04 0000 0008 F1FF", 21, 0.5))[0] == 2
        assert time.perf_counter() - began < 0.4


@pytest.mark.external  # the pages are in the sources, not in the wheel
@pytest.mark.parametrize("page", ["docs/simulators.md", "docs/simulators.zh.md"])
def test_the_page_names_every_fault(page: str) -> None:
    text = Path(page).read_text(encoding="utf-8")
    assert [kind for kind in FAULTS if f"`{kind}`" not in text] == []


@pytest.mark.parametrize(("unit", "says"), [("unit: 0", "0 is no unit: 1 to 247"), ("unit: 248", "1 to 247")])
def test_a_unit_that_rtu_has_not_is_refused(plant_of: Callable[..., PlantSettings], unit: str, says: str) -> None:
    with pytest.raises(SettingsFaults) as caught:
        plant_of("protocol: modbus-rtu", f"profile: eastron/sdm630, {unit}")
    assert says in caught.value.faults[0].say("en")


async def test_a_serial_line_keeps_its_time(simulated: Simulated, plant_of: Callable[..., PlantSettings]) -> None:
    """8 bytes, 3.5 of silence, 9 bytes of 10 bits at 9600 baud: 21.35 ms; most replies end within half a millisecond."""
    frame = bytes.fromhex(RTU_F)[:-2]
    frame += crc(frame).to_bytes(2, "little")
    ideal_s = (8 + 3.5 + 9) * 10 / 9600

    def times(path: str) -> list[float]:
        with serial.Serial(path, 9600, timeout=2) as port:
            found = []
            for _ in range(15):
                began = time.monotonic()
                port.write(frame)
                assert len(port.read(9)) == 9
                found.append(time.monotonic() - began)
                time.sleep(0.005)
            return sorted(found)

    async with simulated(plant_of("protocol: modbus-rtu, baud: 9600")) as plant:
        took = await asyncio.to_thread(times, plant.lines["l"]["serial"])
    assert took[0] >= ideal_s
    assert took[len(took) // 4] < ideal_s + 0.002


async def test_who_speaks_at_another_speed_than_a_serial_line_is_not_understood(
    simulated: Simulated, plant_of: Callable[..., PlantSettings]
) -> None:
    frame = bytes.fromhex(RTU_F)[:-2]
    frame += crc(frame).to_bytes(2, "little")
    async with simulated(plant_of("protocol: modbus-rtu, baud: 9600")) as plant:
        path = plant.lines["l"]["serial"]

        def ask(baud: int) -> bytes:
            with serial.Serial(path, baud, timeout=0.3) as port:
                port.write(frame)
                return bytes(port.read(9))

        assert await asyncio.to_thread(ask, 19200) == b""
        assert len(await asyncio.to_thread(ask, 9600)) == 9
