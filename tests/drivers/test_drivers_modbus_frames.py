"""Modbus: which bytes are the answer to a request, and which are refused."""

import ast
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.framer import FramerRTU, FramerSocket
from pymodbus.pdu import DecodePDU
from ruamel.yaml import YAML

import drivers.catalogue
import drivers.modbus
from drivers.catalogue import driver
from drivers.contract import ExchangeLine, MeterPlan, Request
from metering.errors import BadFrame, MeterRefused
from metering.profile import Profile
from metering.text import Lang

GOLDEN = YAML(typ="safe").load(Path("tests/golden/modbus/frames.yaml").read_text())
PROFILE = Profile.model_validate(
    {"vendor": "x", "model": "y", "kind": "gas", "protocol": "modbus", "status": "unverified", "source": {"title": "x"},
     "points": {"a": {"address": 16, "type": "f32", "unit": "1", "role": "gauge"},
                "b": {"address": 18, "type": "u32", "unit": "1", "role": "gauge"}}}
)  # fmt: skip
DATA = bytes.fromhex("41AD3127 0012D687")


def read_of(**where: object) -> Request:
    modbus = drivers.modbus.DRIVER
    line = modbus.line_model.model_validate({"driver": "modbus", **where})
    (read,) = modbus.plan(line, MeterPlan("m", {"unit": 7}, PROFILE, PROFILE.points))
    return read


def tcp() -> Request:
    return read_of(tcp="h:502")


def rtu() -> Request:
    return read_of(serial="/dev/null")


def stamped(frame: bytes, request: bytes) -> bytes:
    return request[:2] + frame[2:]


TCP_REPLY = bytes.fromhex("0000 0000 000B 07 03 08") + DATA
RTU_BODY = bytes.fromhex("07 03 08") + DATA
RTU_REPLY = RTU_BODY + FramerRTU.compute_CRC(RTU_BODY).to_bytes(2, "big")


def test_the_requests_are_those_of_the_specification() -> None:
    assert tcp().request()[2:] == bytes.fromhex("0000 0006 07 03 0010 0004")
    assert rtu().request() == bytes.fromhex("07 03 0010 0004 45 AA")


@pytest.mark.parametrize("frame", GOLDEN["checksums"])
def test_published_requests_have_our_checksum(frame: str, crc: Callable[[bytes], bytes]) -> None:
    whole = bytes.fromhex(frame)
    assert crc(whole[:-2]) == whole[-2:]
    address, count = int.from_bytes(whole[2:4], "big"), int.from_bytes(whole[4:6], "big")
    kind = {1: "u16", 2: "u32"}[count]
    profile = PROFILE.model_copy(
        update={"points": {"a": PROFILE.points["a"].model_copy(update={"address": address, "type": kind})}}
    )
    modbus = drivers.modbus.DRIVER
    line = modbus.line_model.model_validate({"driver": "modbus", "serial": "/dev/null"})
    (read,) = modbus.plan(line, MeterPlan("m", {"unit": 1}, profile, profile.points))
    assert read.request() == whole


@pytest.mark.parametrize("case", GOLDEN["replies"], ids=lambda case: case["source"])
def test_a_captured_reply_gives_its_value(
    case: dict[str, object],
    modbus_profile: Callable[..., Profile],
    modbus_reads: Callable[..., Sequence[Request]],
) -> None:
    reply = bytes.fromhex(str(case["reply"]))
    (read,) = modbus_reads(modbus_profile({"x": {"address": 12, "type": "f32", "order": case["order"]}}), rtu=True)
    assert read.length_of(reply) == len(reply)
    assert read.decode(reply)[0].value == case["value"]


def test_the_values_come_with_their_bytes() -> None:
    for read, reply in ((tcp(), TCP_REPLY), (rtu(), RTU_REPLY)):
        request = read.request()
        values = read.decode(stamped(reply, request) if len(request) == 12 else reply)
        assert [(value.point, value.value, value.raw) for value in values] == [
            ("a", 21.649, DATA[:4]),
            ("b", 1234567.0, DATA[4:]),
        ]


def test_a_reply_in_pieces_is_whole_only_at_its_end() -> None:
    read = tcp()
    reply = stamped(TCP_REPLY, read.request())
    assert [read.length_of(reply[:length]) for length in range(len(reply))] == [None] * len(reply)
    assert read.length_of(reply + b"more") == len(reply)
    other = rtu()
    assert [other.length_of(RTU_REPLY[:length]) for length in range(len(RTU_REPLY))] == [None] * len(RTU_REPLY)
    assert other.length_of(RTU_REPLY + b"more") == len(RTU_REPLY)


def test_each_request_has_a_transaction_id_of_its_own() -> None:
    first, second = tcp(), tcp()
    ids = [read.request()[:2] for _ in range(3) for read in (first, second)]
    assert len(set(ids)) == 6


def test_a_late_reply_is_stale() -> None:
    read = tcp()
    late = stamped(TCP_REPLY, read.request())
    read.request()
    for refuse in (read.length_of, read.decode):
        with pytest.raises(BadFrame, match="stale"):
            refuse(late)


@pytest.mark.parametrize(
    ("at", "byte", "words"),
    [(2, 1, "protocol"), (4, 1, "length field"), (5, 12, "length field"), (6, 8, "unit 8, not 7"),
     (7, 4, "function 4, not 3"), (8, 4, "4 data bytes, not 8")],
)  # fmt: skip
def test_a_wrong_head_is_refused_as_soon_as_it_is_seen(at: int, byte: int, words: str) -> None:
    read = tcp()
    reply = bytearray(stamped(TCP_REPLY, read.request()))
    reply[at] = byte
    assert read.length_of(bytes(reply[:at])) is None
    for refuse in (read.length_of, read.decode):
        with pytest.raises(BadFrame, match=words):
            refuse(bytes(reply))


def test_an_echo_of_the_request_is_no_reply() -> None:
    read = rtu()
    with pytest.raises(BadFrame):
        read.length_of(read.request())


@pytest.mark.parametrize(
    ("lang", "words"), [("en", "exception 2 (illegal data address)"), ("zh", "异常码 2（非法数据地址）")]
)
def test_an_exception_is_named_in_both_languages(lang: Lang, words: str, crc: Callable[[bytes], bytes]) -> None:
    body = bytes([7, 0x83, 2])
    read, other = tcp(), rtu()
    replies = [(read, read.request()[:4] + b"\x00\x03" + body), (other, body + crc(body))]
    for asked, reply in replies:
        assert [asked.length_of(reply[:length]) for length in range(len(reply))] == [None] * len(reply)
        assert asked.length_of(reply) == len(reply)
        with pytest.raises(MeterRefused) as refused:
            asked.decode(reply)
        assert refused.value.code == 2
        assert words in refused.value.say(lang)


def test_an_exception_with_a_wrong_checksum_is_refused() -> None:
    with pytest.raises(BadFrame, match="CRC"):
        rtu().decode(bytes([7, 0x83, 2, 0, 0]))


@given(st.binary(max_size=300), st.booleans(), st.booleans())
def test_any_bytes_give_values_or_a_refusal(noise: bytes, over_tcp: bool, begins_well: bool) -> None:
    read = tcp() if over_tcp else rtu()
    request = read.request()
    head = stamped(TCP_REPLY, request)[:9] if over_tcp else RTU_REPLY[:3]
    received = head + noise if begins_well else noise
    try:
        whole = read.length_of(received)
        assert whole is None or whole <= len(received)
        assert whole is None or whole <= 260
        read.decode(received)
    except (BadFrame, MeterRefused):
        pass


@given(st.sets(st.integers(0, len(RTU_REPLY) * 8 - 1), min_size=1, max_size=6))
def test_a_mangled_rtu_reply_never_gives_another_value(flipped: set[int]) -> None:
    mangled = bytearray(RTU_REPLY)
    for bit in flipped:
        mangled[bit // 8] ^= 1 << bit % 8
    checks = FramerRTU.check_CRC(bytes(mangled[:-2]), int.from_bytes(mangled[-2:], "big"))
    if checks:  # one in 65536 patterns of more than three bits
        return
    with pytest.raises((BadFrame, MeterRefused)):
        rtu().decode(bytes(mangled))


@given(st.binary(min_size=8, max_size=8))
def test_pymodbus_reads_the_same_registers(data: bytes) -> None:
    read, other = tcp(), rtu()
    request = read.request()
    reply = stamped(TCP_REPLY[:9] + data, request)
    body = RTU_BODY[:3] + data
    rtu_reply = body + FramerRTU.compute_CRC(body).to_bytes(2, "big")
    _, pdu = FramerSocket(DecodePDU(False)).handleFrame(reply, 7, int.from_bytes(request[:2], "big"))
    assert pdu is not None
    raw = b"".join(register.to_bytes(2, "big") for register in pdu.registers)
    assert b"".join(value.raw or b"" for value in read.decode(reply)) == raw == data
    assert [value.raw for value in other.decode(rtu_reply)] == [value.raw for value in read.decode(reply)]


@pytest.mark.parametrize(
    ("where", "expected_s"),
    [({"serial": "/dev/x", "baud": 9600}, 3.5 * 10 / 9600), ({"serial": "/dev/x", "baud": 19200, "frame": "8E1"}, 3.5 * 11 / 19200),
     ({"serial": "/dev/x", "baud": 38400}, 0.00175), ({"serial": "/dev/x", "baud": 115200, "turnaround": "50 ms"}, 0.05),
     ({"tcp": "h:502"}, 0.0), ({"tcp": "h:502", "framer": "rtu", "turnaround": "20 ms"}, 0.02)],
)  # fmt: skip
def test_the_silence_before_a_request(where: dict[str, object], expected_s: float) -> None:
    modbus = drivers.modbus.DRIVER
    assert modbus.silence_s(modbus.line_model.model_validate({"driver": "modbus", **where})) == expected_s


def test_rtu_frames_go_through_tcp_where_the_line_says_so() -> None:
    assert read_of(tcp="h:4001", framer="rtu").request() == rtu().request()
    with pytest.raises(ValueError, match="framer: rtu or ascii"):
        read_of(serial="/dev/x", framer="tcp")
    with pytest.raises(ValueError, match="one of tcp"):
        read_of()


def test_every_function_a_request_can_carry_reads(
    modbus_profile: Callable[..., Profile], modbus_reads: Callable[..., Sequence[Request]]
) -> None:
    points = {f"p{fc}": {"address": fc, "fc": fc, "type": "bool" if fc < 3 else "u16"} for fc in (1, 2, 3, 4)}
    assert [read.request()[1] for read in modbus_reads(modbus_profile(points), rtu=True)] == [1, 2, 3, 4]
    for fc in (5, 6, 15, 16, 22, 23):
        with pytest.raises(ValueError, match="fc"):
            modbus_profile({"x": {"address": 0, "fc": fc}})


FILES = {"transport.write", "file.write", "write_whole"}
"""What a driver may write to: a socket, and a file of its own."""


def test_no_driver_names_anything_that_writes() -> None:
    """Each name in the drivers' sources, imported, called or looked up: none is a request that writes."""
    for source in Path(drivers.catalogue.__file__).parent.rglob("*.py"):
        names = set(names_in(ast.parse(source.read_text())))
        assert [name for name in names - FILES if "write" in name.lower()] == [], source
        assert not [name for name in names if name.startswith("pymodbus.client")], source


def names_in(tree: ast.AST) -> Iterator[str]:
    """Yield every name, that of an attribute `write` with what it belongs to."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            owner = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
            yield f"{owner}.{node.attr}" if node.attr == "write" else node.attr
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from (alias.name for alias in node.names)


def test_the_line_is_an_exchange_line() -> None:
    assert issubclass(driver("modbus").line_model, ExchangeLine)
