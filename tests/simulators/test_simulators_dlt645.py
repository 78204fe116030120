"""The DL/T 645-2007 meter, read by hand-written frames."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from settings.plant import PlantSettings
from simulators.dlt645 import frame_of
from simulators.dlt645_types import bcd

Simulated = Callable[[PlantSettings], AbstractAsyncContextManager[Any]]
MakePlant = Callable[..., PlantSettings]
OWN = "01 00 23 11 26 20"
"""The address of 202611230001 on the line."""


def request(address: str, control: int, data: str = "") -> str:
    """Write a request by hand: checksum and the offset of 33 hex spelt out here once more."""
    shifted = bytes((byte + 0x33) & 0xFF for byte in bytes.fromhex(data))
    body = b"\x68" + bytes.fromhex(address) + b"\x68" + bytes((control, len(shifted))) + shifted
    return "FEFEFEFE" + body.hex() + f"{sum(body) & 0xFF:02x}16"


def data_of(reply: bytes) -> tuple[int, bytes]:
    """Return control code and data of a reply, after checking its frame."""
    frame = reply.lstrip(b"\xfe")
    assert len(reply) - len(frame) == 4, "four wake-up bytes"
    assert frame[0] == frame[7] == 0x68
    assert frame[-1] == 0x16
    assert sum(frame[:-2]) & 0xFF == frame[-2]
    assert frame[9] == len(frame) - 12
    return frame[8], bytes((byte - 0x33) & 0xFF for byte in frame[10:-2])


def test_frames_are_those_of_the_published_example() -> None:
    sent = frame_of(bytes.fromhex("610100000000"), 0x91, bytes.fromhex("00000100") + bcd(26, 4))
    assert sent == bytes.fromhex("68 610100000000 68 91 08 33333433 59333333 8A 16")


@pytest.mark.parametrize(
    ("number", "size", "data"), [(12345678, 4, "78563412"), (-123456, 3, "563492"), (1234567, 3, "999999")]
)
def test_bcd_is_little_endian_with_a_sign_bit(number: int, size: int, data: str) -> None:
    assert bcd(number, size).hex() == data


@pytest.mark.parametrize(
    ("di", "point", "size", "step"),
    [
        ("00010000", "energy_import", 4, 0.01),
        ("02030000", "power", 3, 0.0001),
        ("02010100", "voltage_l1", 2, 0.1),
        ("02020100", "current_l1", 3, 0.001),
        ("02800002", "frequency", 2, 0.01),
    ],
)
async def test_each_data_item_is_answered(
    simulated: Simulated, make_plant: MakePlant, di: str, point: str, size: int, step: float
) -> None:
    async with simulated(make_plant("workshop-power")) as plant:
        asked = bytes.fromhex(di)[::-1]
        reply = await plant.pty("dlt-1", request(OWN, 0x11, asked.hex()), 4 + 12 + 4 + size, 2.0)
    control, data = data_of(reply)
    assert control == 0x91
    assert data[:4] == asked
    served = plant.served()
    assert [line["point"] for line in served] == [point]
    assert int(data[4:][::-1].hex()) * step == pytest.approx(served[0]["value"])
    assert served[0]["value"] > 0


async def test_the_address_is_told_to_any(simulated: Simulated, make_plant: MakePlant) -> None:
    async with simulated(make_plant("workshop-power")) as plant:
        reply = await plant.pty("dlt-1", "FEFEFEFE 68 AAAAAAAAAAAA 68 13 00 DF 16", 4 + 12 + 6, 2.0)
    assert data_of(reply) == (0x93, bytes.fromhex(OWN))


@pytest.mark.parametrize(
    ("control", "data", "reply"),
    [(0x11, "0000ff05", 0x02), (0x12, "0000010001", 0x02), (0x14, "0" * 32, 0x04), (0x1C, "0" * 32, 0x04)],
    ids=["unknown data", "nothing follows", "write", "switch"],
)
async def test_what_it_does_not_do_is_refused(
    simulated: Simulated, make_plant: MakePlant, control: int, data: str, reply: int
) -> None:
    async with simulated(make_plant("workshop-power")) as plant:
        answer = await plant.pty("dlt-1", request(OWN, control, data), 17, 2.0)
    assert data_of(answer) == (control | 0xC0, bytes((reply,)))


@pytest.mark.parametrize("address", ["02 00 23 11 26 20", "99 99 99 99 99 99"], ids=["another", "broadcast"])
async def test_others_addresses_get_no_answer(simulated: Simulated, make_plant: MakePlant, address: str) -> None:
    async with simulated(make_plant("workshop-power")) as plant:
        assert await plant.pty("dlt-1", request(address, 0x11, "00000100"), 24, 0.25) == b""


async def test_a_request_with_a_wrong_checksum_gets_no_answer(simulated: Simulated, make_plant: MakePlant) -> None:
    wrong = request(OWN, 0x11, "00000100")[:-4] + "0016"
    async with simulated(make_plant("workshop-power")) as plant:
        assert await plant.pty("dlt-1", wrong, 24, 0.25) == b""
        assert await plant.pty("dlt-1", request(OWN, 0x11, "00000100"), 24, 2.0)


async def test_faults_of_the_line_reach_it(simulated: Simulated, make_plant: MakePlant) -> None:
    ask = request(OWN, 0x11, "00000100")
    async with simulated(make_plant("workshop-power")) as plant:
        await plant.ask(fault="silence", meter="workshop-power")
        assert await plant.pty("dlt-1", ask, 24, 0.25) == b""
        await plant.ask(clear=None)
        await plant.ask(fault="checksum", meter="workshop-power")
        spoilt = await plant.pty("dlt-1", ask, 24, 2.0)
    frame = spoilt.lstrip(b"\xfe")
    assert sum(frame[:-2]) & 0xFF != frame[-2]
