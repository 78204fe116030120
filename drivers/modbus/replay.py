"""A profile's vectors: bytes as a meter sent them, read by the same code as a meter's.

A vector is registers, `{registers: {0x2006: "450FE000"}}`, or a captured RTU reply with its checksum and the address that
was asked for, `{reply: "01 03 04 BA 4A 41 F8 CF 2F", address: 0x000C}`. `variant: id` reads it as an edition of the model.
What its bytes do not cover gives no value.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from drivers.contract import Value
from drivers.modbus.faults import fault
from drivers.modbus.plan import Block, Wanted, blocks, register, wanted_of
from drivers.modbus.read import Read
from drivers.modbus.wrap import Rtu
from metering.errors import BadFrame, MeteringError
from metering.profile import Profile
from metering.text import Text


def replay(profile: Profile, vector: Mapping[str, Any]) -> list[Value]:
    """Return the values of all points, and of the identity's places, that the vector's bytes hold.

    Raises:
        MeteringError: it is no vector, or its bytes are refused.
    """
    if "variant" in vector:
        profile = _variant(profile, str(vector["variant"]))
    places = {**profile.identity, **profile.points}
    for name, place in places.items():
        if (wrong := fault(place, profile)) is not None:
            raise MeteringError(Text("{point}：{wrong}", "{point}: {wrong}"), point=name, wrong=wrong)
    wanted = wanted_of(places, profile)
    try:
        if "registers" in vector:
            return list(_from_registers(wanted, vector["registers"], profile))
        reply = bytes.fromhex(str(vector["reply"]))
        return _from_reply(wanted, reply, register(vector["address"]), profile)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise MeteringError(_NO_VECTOR, vector=dict(vector)) from error


def _variant(profile: Profile, name: str) -> Profile:
    if name not in profile.variants:
        raise MeteringError(_NO_VARIANT, name=name, known=", ".join(profile.variants))
    return profile.variant(name)


def _from_registers(wanted: list[Wanted], given: Mapping[int | str, str], profile: Profile) -> Iterator[Value]:
    memory: dict[int, bytes] = {}
    for start, text in given.items():
        raw = bytes.fromhex(text)
        memory |= {register(start) + at: raw[2 * at : 2 * at + 2] for at in range(len(raw) // 2)}
    covered = [each for each in wanted if all(_all_in(memory, *span) for span in each.ranges)]
    for block in blocks(covered, profile.limits):
        registers = (at for address, count in block.spans for at in range(address, address + count))
        if block.bits:
            yield from block.values(_packed([memory.get(at, b"\0\0")[-1] & 1 for at in registers]))
        else:
            yield from block.values(b"".join(memory.get(at, b"\0\0") for at in registers))


def _all_in(memory: Mapping[int, bytes], start: int, end: int) -> bool:
    return all(at in memory for at in range(start, end))


def _packed(bits: list[int]) -> bytes:
    number = sum(bit << at for at, bit in enumerate(bits))
    return number.to_bytes(-(-len(bits) // 8), "little")


def _from_reply(wanted: list[Wanted], reply: bytes, address: int, profile: Profile) -> list[Value]:
    if len(reply) < 5:
        raise BadFrame(Text(f"只有 {len(reply)} 字节", f"only {len(reply)} bytes"))
    fc, size = reply[1] & 0x7F, reply[2]
    if not 1 <= fc <= 4:
        raise BadFrame(Text(f"功能码 {fc} 不是读数据（1 到 4）", f"function {fc} is no read (1 to 4)"))
    if not reply[1] & 0x80 and not 0 < size <= _MOST_DATA:
        raise BadFrame(Text(f"数据 {size} 字节（应为 1 到 {_MOST_DATA}）", f"{size} data bytes (1 to {_MOST_DATA})"))
    end = address + (8 * size if fc <= 2 else size // 2)
    held = [each for each in wanted if each.fc == fc and all(address <= a and b <= end for a, b in each.ranges)]
    block = Block(fc, ((address, end - address),), tuple(held), profile.limits)
    return list(Read(block, reply[0], Rtu).decode(reply))


_MOST_DATA = 250
"""Bytes of 125 registers (Modbus application protocol V1.1b3, section 6.3)."""
_NO_VECTOR = Text("不是向量（registers 或 reply 加 address）：{vector}",
                  "no vector (registers, or reply with address): {vector}")  # fmt: skip
_NO_VARIANT = Text("没有型式 {name!r}，现有：{known}", "no variant {name!r}; there are {known}")
