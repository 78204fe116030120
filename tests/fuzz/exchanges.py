"""Mangled frames for every exchange driver in the catalogue, through the contract alone.

Whatever comes, a driver raises one of our errors or gives values; a reply has at most the length it was promised; no value
is other than the one that was sent, but where the protocol's own checksum holds for the mangled frame. A new driver is covered
as soon as it is in the catalogue: its meter's address comes from the sample of its README, its frames from the profiles.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

import drivers.catalogue as catalogue
from drivers.contract import ExchangeLine, MeterPlan, Request, Send, Value
from metering.errors import MeteringError
from metering.profile import Profile
from metering.reading import Quality
from settings.profiles import list_profiles, load_profile

Edit = tuple[int, int, int]
"""What is done to a frame: the kind, where, and a byte."""
KINDS = 8
Told = tuple[str, float | str | None]
_LINES = ({"serial": "/dev/null"}, {"tcp": "h:1"})
_OF_THE_LINE = ("line", "profile", "interval", "points")
_MOST_STEPS = 40


def exchange_drivers() -> list[str]:
    return [name for name in catalogue.drivers() if issubclass(catalogue.driver(name).line_model, ExchangeLine)]


@dataclass(frozen=True)
class Meter:
    """A shipped profile on one kind of line, and everything the driver can be made to ask of such a meter."""

    driver: Any
    profile: Profile
    requests: tuple[Request, ...]
    framing: str


@dataclass
class Tally:
    """What came of the mangled frames."""

    frames: int = 0
    refused: int = 0
    let_through: int = 0
    """A wrong value, whose frame has a right checksum."""
    wrong: list[str] = field(default_factory=list)


def meters(name: str) -> list[Meter]:
    """Return the meters of one driver."""
    driver: Any = catalogue.driver(name)
    profiles = [profile for each in list_profiles() if (profile := load_profile(each)).protocol == name]
    return [meter for profile in profiles for meter in _on_lines(driver, profile)]


def _on_lines(driver: Any, profile: Profile) -> Iterator[Meter]:
    framers = ({}, {"framer": "ascii"}) if "framer" in driver.line_model.model_fields else ({},)
    for where in _LINES:
        for framer in framers:
            line = driver.line_model.model_validate({**profile.line, "driver": driver.name, **where, **framer})
            plan = MeterPlan("m", {**profile.meter, **_address(driver.name)}, profile, profile.points)
            requests = [*driver.plan(line, plan), *driver.identify(line, plan), *driver.history(line, plan, 0, 10**11)]
            for request in requests:
                requests += request.halves()
            framing = str(framer.get("framer", "rtu" if "serial" in where else "tcp"))
            yield Meter(driver, profile, tuple(requests[:40]), framing)


def _address(name: str) -> Mapping[str, Any]:
    """Return the address of the first meter in the sample of the driver's README."""
    readme = (Path(catalogue.__file__).parent / name / "README.md").read_text()
    sample = re.search(r"```yaml\n(.*?)```", readme, re.DOTALL)
    assert sample is not None
    first = next(iter(YAML(typ="safe").load(sample[1])["meters"].values()))
    return {key: value for key, value in first.items() if key not in _OF_THE_LINE}


# -- what is done to a frame


def mangled(frame: bytes, edits: Sequence[Edit], other: bytes = b"") -> bytes:
    """Return a frame with flipped bits, other bytes, cuts, insertions, and pieces of another frame."""
    for kind, place, byte in edits:
        at = place % (len(frame) + 1)
        if kind == 0 and frame:
            at = place % len(frame)
            frame = frame[:at] + bytes([frame[at] ^ 1 << byte % 8]) + frame[at + 1 :]
        elif kind == 1 and frame:
            at = place % len(frame)
            frame = frame[:at] + bytes([byte]) + frame[at + 1 :]
        elif kind == 2:
            frame = frame[:at]
        elif kind == 3:
            frame = frame[:at] + bytes([byte]) + frame[at:]
        elif kind == 4:
            frame = frame[:at] + frame[at + 1 :]
        elif kind == 5:
            frame = frame + other
        elif kind == 6:
            frame = other[: byte % (len(other) + 1)] + frame
        elif kind == 7:
            frame = frame[:at] + frame[at + 1 : at + 2] + frame[at : at + 1] + frame[at + 2 :]
    return frame


# -- what a driver may do with it


def feed(request: Request, replies: Sequence[bytes]) -> Sequence[Value]:
    """Give a request these bytes, one after another as its dialogue goes on; return the values, none where it refuses.

    Raises:
        AssertionError: the driver broke the contract.
        Exception: whatever else than our own errors it raised.
    """
    frame: bytes = request.request()
    try:
        for number, received in enumerate(replies[:_MOST_STEPS]):
            assert frame or number, "a request that begins with nothing"
            step = request.decode(received[: _whole(request, received)])
            if not isinstance(step, Send):
                return _checked(step, request.points)
            frame = step.frame
    except MeteringError:
        pass
    return ()


def _whole(request: Request, received: bytes) -> int:
    """Return how much of the bytes the driver takes for a reply, as they come in; all of them where it is never whole."""
    for end in (1, len(received) // 2, len(received)):
        length = request.length_of(received[:end])
        assert length is None or 0 <= length <= end, f"{length} of {end} bytes are a whole reply"
        assert length is None or length <= request.longest_reply, f"a reply of {length} bytes"
        if length is not None:
            return length
    return len(received)


def _checked(values: Sequence[Value], points: Sequence[str] | None = None) -> Sequence[Value]:
    for value in values:
        assert points is None or value.point in points, f"{value.point} was not asked for"
        assert value.value is None or abs(value.value) < float("inf"), f"{value} is no number"
    return values


def told(values: Sequence[Value]) -> set[Told]:
    """Return what values say; one that is not there says nothing."""
    there = [value for value in values if value.quality is not Quality.BAD]
    said = {(value.point, value.text if value.value is None else value.value) for value in there}
    return {(point, what) for point, what in said if what is not None}


UNCHECKED = frozenset({"maker", "ident"})
"""Addresses in the identification message of IEC 62056-21, which has no check character."""


def replayed(meter: Meter, vector: Mapping[str, Any]) -> set[Told]:
    """Return what a vector's bytes say, as far as a checksum covers it; nothing where they are refused."""
    identity = meter.profile.identity
    try:
        found = told(_checked(meter.driver.replay(meter.profile, vector)))
    except MeteringError:
        return set()
    if meter.driver.name != "iec62056":
        return found
    return {(point, what) for point, what in found if point not in identity or identity[point].address not in UNCHECKED}


# -- replies that are right before they are mangled


@dataclass(frozen=True)
class Sound:
    """A right reply, what it tells, and how its mangled form is read."""

    frame: bytes
    tells: set[Told]
    read: Callable[[bytes], set[Told]]
    strict: bool
    """Whether a wrong value is a fault unless the checksum holds; not where there is none."""


def _sound(frame: bytes, read: Callable[[bytes], set[Told]], *, strict: bool) -> Sound:
    return Sound(frame, read(frame), read, strict)


def sound_replies(meter: Meter, data: bytes) -> Iterator[Sound]:
    """Yield the replies of a meter's vectors, and where those hold registers only, replies composed with `data` in them."""
    for vector in meter.profile.vectors:
        yield from _of_vector(meter, vector)
    if meter.driver.name == "modbus":
        for request in meter.requests:
            frame = _composed(request.request(), data, meter.framing)
            if not isinstance(request.decode(frame), Send):  # the second step of a dialogue is another frame's
                yield _sound(frame, _reader(request), strict=meter.framing != "tcp")


def _reader(request: Request) -> Callable[[bytes], set[Told]]:
    def read(frame: bytes) -> set[Told]:
        try:
            step = request.decode(frame[: _whole(request, frame)])
        except MeteringError:
            return set()
        return set() if isinstance(step, Send) else told(_checked(step, request.points))

    return read


def _of_vector(meter: Meter, vector: Mapping[str, Any]) -> Iterator[Sound]:
    strict = meter.profile.meter.get("checksum") != "lenient"
    for key in ("reply", "reply_text"):
        given = vector.get(key, ())
        texts = [given] if isinstance(given, str) else list(given)
        for number, text in enumerate(texts):
            frame = text.encode("latin-1") if key == "reply_text" else bytes.fromhex(text)
            yield _sound(frame, _replayer(meter, vector, key, texts, number), strict=strict)


def _replayer(
    meter: Meter, vector: Mapping[str, Any], key: str, texts: Sequence[str], number: int
) -> Callable[[bytes], set[Told]]:
    def read(frame: bytes) -> set[Told]:
        text = frame.decode("latin-1") if key == "reply_text" else frame.hex()
        parts = [*texts[:number], text, *texts[number + 1 :]]
        return replayed(meter, {**vector, key: parts if len(parts) > 1 else parts[0]})

    return read


def _composed(frame: bytes, data: bytes, framing: str) -> bytes:
    """Compose the reply of a Modbus device to a read or identification, without the driver's code."""
    said = {"tcp": frame[7:], "rtu": frame[1:-2]}.get(framing) or bytes.fromhex(frame[1:-2].decode())[1:-1]
    if said[0] == 0x2B:
        pdu = said[:3] + b"\x82\0\0\x01\0" + bytes([len(data) % 20]) + data[: len(data) % 20]
    else:
        count = int.from_bytes(said[3:5], "big")
        size = -(-count // 8) if said[0] <= 2 else 2 * count
        pdu = bytes([said[0], size]) + (data * (size // max(1, len(data)) + 1))[:size].ljust(size, b"\0")
    if framing == "tcp":
        return frame[:4] + (len(pdu) + 1).to_bytes(2, "big") + frame[6:7] + pdu
    if framing == "rtu":
        return frame[:1] + pdu + crc16(frame[:1] + pdu)
    raw = bytes.fromhex(frame[1:3].decode()) + pdu
    return b":" + (raw + bytes([-sum(raw) & 0xFF])).hex().upper().encode() + b"\r\n"


# -- checksums, each as its standard draws it


_CRC = [0] * 256
for _byte in range(256):
    _crc = _byte
    for _ in range(8):
        _crc = _crc >> 1 ^ (0xA001 if _crc & 1 else 0)
    _CRC[_byte] = _crc


def crc16(data: bytes) -> bytes:
    crc = 0xFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 0xFF]
    return crc.to_bytes(2, "little")


def checksum_holds(frame: bytes) -> bool:
    """Return whether some checksum of these protocols holds for a frame, or for one that begins in it."""
    return any(_holds(frame[at:]) for at in range(len(frame)))


def _holds(frame: bytes) -> bool:
    if len(frame) > 4 and any(crc16(frame[: end - 2]) == frame[end - 2 : end] for end in range(len(frame), 4, -1)):
        return True
    if frame[:1] == b":":
        digits = re.match(rb":((?:[0-9A-Fa-f]{2})+)\r\n", frame)
        return digits is not None and sum(bytes.fromhex(digits[1].decode())) & 0xFF == 0
    if frame[:1] == b"\x68":
        begins = 4 if frame[3:4] == b"\x68" else 0
        ends = (at for at in range(2, len(frame)) if frame[at] == 0x16)
        return any(sum(frame[begins : at - 1]) & 0xFF == frame[at - 1] for at in ends)
    if frame[:1] == b"\x02":
        end = frame.find(b"\x03")
        check = 0
        for byte in frame[1 : end + 1]:
            check ^= byte
        return end > 0 and frame[end + 1 : end + 2] == bytes([check])
    return False


# -- the whole


def attempt(meter: Meter, sound: Sound, edits: Sequence[Edit], other: bytes, tally: Tally) -> None:
    """Mangle a right reply, have it read, and note what came of it."""
    frame = mangled(sound.frame, edits, other)
    found = sound.read(frame)
    tally.frames += 1
    tally.refused += not found
    if not sound.strict or found <= sound.tells:
        return
    if checksum_holds(frame):
        tally.let_through += 1
    else:
        tally.wrong.append(
            f"{meter.profile.vendor} {meter.profile.model} {meter.framing}: {frame.hex()} gives {found - sound.tells}"
        )
