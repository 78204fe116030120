"""Modbus on the wire: a server that records what it is asked sees reads and identification, and nothing else ever."""

import asyncio
import struct
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

import drivers.modbus
from drivers.contract import MeterPlan, Request, Value
from link.real_world import RealWorld
from link.world import Channel
from metering.errors import MeterRefused
from metering.profile import Profile
from settings.profiles import list_profiles, load_profile

MODBUS = drivers.modbus.DRIVER
IDENTIFY = bytes([0x2B, 0x0E])
Asked = Callable[[Channel, Request], Awaitable[Sequence[Value]]]
OWN = Profile.model_validate(
    {"vendor": "x", "model": "y", "kind": "gas", "protocol": "modbus", "status": "unverified", "source": {"title": "x"},
     "points": {**{f"b{fc}": {"address": 5, "fc": fc, "type": "bool", "unit": "1", "role": "gauge"} for fc in (1, 2)},
                **{f"r{fc}": {"address": 5, "fc": fc, "type": "f32", "unit": "1", "role": "gauge", "plus": [{"address": 9}],
                              "scale_from": {"address": 400}} for fc in (3, 4)}}}
)  # fmt: skip


class Recorder:
    """A device that notes each function it is asked for; it answers, and refuses every third time."""

    def __init__(self, framer: str, crc: Callable[[bytes], bytes]) -> None:
        self._framer, self._crc = framer, crc
        self.asked: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while frame := await reader.read(600):
            said = self._said(frame)
            self.asked.append(said)
            writer.write(self._framed(frame, self._answer(said)))
        writer.close()

    def _said(self, frame: bytes) -> bytes:
        if self._framer == "tcp":
            return frame[7:]
        return bytes.fromhex(frame[1:-2].decode())[1:-1] if self._framer == "ascii" else frame[1:-2]

    def _answer(self, said: bytes) -> bytes:
        if len(self.asked) % 3 == 0:
            return bytes([said[0] | 0x80, 2])
        if said[:2] == IDENTIFY:
            more = len(self.asked) % 3 == 1
            return said[:3] + bytes([0x82, 0xFF * more, (said[3] + 1) * more, 1, said[3], 1]) + b"x"
        count = struct.unpack(">H", said[3:5])[0]
        size = -(-count // 8) if said[0] <= 2 else 2 * count
        return bytes([said[0], size]) + bytes(size)

    def _framed(self, frame: bytes, pdu: bytes) -> bytes:
        if self._framer == "tcp":
            return frame[:4] + struct.pack(">H", len(pdu) + 1) + frame[6:7] + pdu
        if self._framer == "rtu":
            return frame[:1] + pdu + self._crc(frame[:1] + pdu)
        raw = bytes.fromhex(frame[1:3].decode()) + pdu
        return b":" + (raw + bytes([-sum(raw) & 0xFF])).hex().upper().encode() + b"\r\n"


def requests(line: Any, profile: Profile) -> list[Request]:
    """Return everything the driver can be made to ask of a meter of this model, in all its pieces."""
    places = {**profile.probe, **profile.identity, **profile.points}
    editions = [profile, *(profile.variant(name) for name in profile.variants)]
    plans = [MeterPlan("m", {"unit": 7}, each, {**places, **each.points}) for each in editions]
    found = [request for plan in plans for request in (*MODBUS.plan(line, plan), *MODBUS.identify(line, plan))]
    for request in found:
        found += request.halves()
    return found


@pytest.mark.parametrize("framer", ["tcp", "rtu", "ascii"])
async def test_a_recording_server_sees_reads_and_identification_only(
    framer: str, asked: Asked, crc: Callable[[bytes], bytes]
) -> None:
    recorder = Recorder(framer, crc)
    server = await asyncio.start_server(recorder.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    line = MODBUS.line_model.model_validate({"driver": "modbus", "tcp": f"127.0.0.1:{port}", "framer": framer})
    profiles = [profile for name in list_profiles() if (profile := load_profile(name)).protocol == "modbus"]
    values = refusals = 0
    async with server:
        channel = await RealWorld().open_tcp("127.0.0.1", port, 2.0)
        for profile in (*profiles[:: 1 if framer == "tcp" else 6], OWN):
            for request in requests(line, profile)[:60]:
                try:
                    values += len(await asked(channel, request))
                except MeterRefused:
                    refusals += 1
        await channel.close()
    assert {said[:2] if said[0] == 0x2B else said[:1] for said in recorder.asked} == {
        b"\1",
        b"\2",
        b"\3",
        b"\4",
        IDENTIFY,
    }
    assert all(len(said) == (4 if said[0] == 0x2B else 5) for said in recorder.asked), "and none carries data"
    assert min(values, refusals) > 10
