"""The application layer of M-Bus (EN 13757-3): a telegram's header and its records.

Promises
    * `telegram` gives all records of one answer with their places, or raises: a telegram that breaks off within a record,
      is encrypted, or comes in a form not spoken here is refused by name. A record whose length is a reserved code is the
      last one: those before it hold.
    * At most 10 DIFE and 10 VIFE, at most as many records as bytes: it ends.
"""

from dataclasses import dataclass
from decimal import Decimal

from drivers.mbus.codec import LongFrame, bad
from drivers.mbus.content import LVAR, SIZES, Content, content, lvar_size
from drivers.mbus.medium import fixed_medium, maker_of
from drivers.mbus.vif import DATED, ERRORS, MANUFACTURER, UNKNOWN, Kind, binary_type, combinable, kind_of
from metering.errors import MeterError, MeterRefused
from metering.text import Text

_MOST = 10
"""DIFE or VIFE of one record."""
_LONG_HEADER, _SHORT_HEADER = 12, 4


@dataclass(frozen=True, slots=True)
class Header:
    """Who answers, and how it is. Of a short header only `access` and `status` are known, of none nothing."""

    access: int | None = None
    status: int | None = None
    id: str = ""
    """Eight digits."""
    maker: str = ""
    """Three letters."""
    version: int | None = None
    medium: int | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """One data record: a value with what it is of."""

    number: int
    """From 0, over all telegrams of one reading; 2F and maker's data do not count."""
    function: str
    storage: int
    tariff: int
    subunit: int
    kind: Kind
    vifes: bytes
    """VIFEs after those that `kind` took, without their extension bits."""
    block: bytes
    """DIF to last VIFE as they came, a VIF in plain text with its text."""
    data: bytes
    content: Content
    label: str = ""
    """The text of a plain text VIF."""

    @property
    def endless(self) -> bool:
        """Whether its length is a reserved code: it has no content, and nothing behind it can be read."""
        return bool(self.block) and self.block[0] & 0x0F == LVAR and lvar_size(self.data[0]) is None

    @property
    def combined(self) -> tuple[bytes, bytes]:
        """The VIFEs of the first combinable table, and the others; a manufacturer's VIF has only others."""
        return (b"", self.vifes) if self.kind.quantity == MANUFACTURER else combinable(self.vifes)

    @property
    def error(self) -> str:
        """The record error, in the standard's words; none if empty."""
        return next((ERRORS[vife] for vife in self.combined[0] if vife in ERRORS), "")


@dataclass(frozen=True, slots=True)
class Telegram:
    """One answer."""

    header: Header
    records: tuple[Record, ...]
    more: bool
    """Whether the meter has more records in a further telegram."""
    body: bytes = b""
    """Its records as they came."""


def telegram(frame: LongFrame, first: int = 0) -> Telegram:
    """Return what a data answer holds; its records are numbered from `first`.

    Raises:
        BadFrame: it is cut off, encrypted or of a form that is not spoken.
        MeterRefused: it reports an application error.
    """
    if frame.ci == 0x72:
        header, rest = _long_header(frame.data), frame.data[_LONG_HEADER:]
    elif frame.ci == 0x7A:
        header, rest = _short_header(frame.data), frame.data[_SHORT_HEADER:]
    elif frame.ci == 0x78:
        header, rest = Header(), frame.data
    elif frame.ci == 0x73:
        return _fixed(frame.data, first)
    else:
        raise _not_spoken(frame)
    return _Reader(rest).telegram(header, first)


def _long_header(data: bytes) -> Header:
    if len(data) < _LONG_HEADER:
        raise bad(f"数据头只有 {len(data)} 字节", f"a header of {len(data)} bytes, not {_LONG_HEADER}")
    _refuse_encrypted(data[10], data[11])
    return Header(data[8], data[9], data[3::-1].hex().upper(), maker_of(data[4:6]), data[6], data[7])


def _short_header(data: bytes) -> Header:
    if len(data) < _SHORT_HEADER:
        raise bad(f"数据头只有 {len(data)} 字节", f"a header of {len(data)} bytes, not {_SHORT_HEADER}")
    _refuse_encrypted(data[2], data[3])
    return Header(data[0], data[1])


def _refuse_encrypted(low: int, high: int) -> None:
    """Modes 2 to 5 say how much is encrypted, which may be nothing; above 15 are signatures of older meters."""
    mode = high & 0x1F
    plain = (mode in (2, 3, 4) and low == 0) or (mode == 5 and low & 0xF0 == 0)
    if 1 <= mode <= 15 and not plain:
        raise bad(f"报文已加密（方式 {mode}），本驱动不解密；请让表计在有线口发送明文",
                  f"the telegram is encrypted (mode {mode}); have the meter send plain data on the wire")  # fmt: skip


def _not_spoken(frame: LongFrame) -> MeterError:
    if frame.ci in _ERROR_AT:
        code = int.from_bytes(frame.data[_ERROR_AT[frame.ci] :][:1])
        text = _APPLICATION_ERRORS.get(code, Text("未知", "unknown"))
        return MeterRefused(Text(f"应用错误 {code}（{text.zh}）", f"application error {code} ({text.en})"), code)
    name = _OTHER_FORMS.get(frame.ci, Text("未知的数据形式", "a form of data that is not known"))
    return bad(f"CI {frame.ci:02X}：{name.zh}，不支持", f"CI {frame.ci:02X}: {name.en}, not spoken here")


class _Reader:
    """Walks through the records of one telegram."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def telegram(self, header: Header, first: int) -> Telegram:
        records: list[Record] = []
        while self._at < len(self._data):
            dif = self._data[self._at]
            if dif == 0x2F:
                self._at += 1
            elif dif in (0x0F, 0x1F):
                return Telegram(header, tuple(records), dif == 0x1F, self._data)
            else:
                records.append(self._record(first + len(records)))
                self._at = len(self._data) if records[-1].endless else self._at
        return Telegram(header, tuple(records), False, self._data)

    def _take(self, count: int, number: int, zh: str, en: str) -> bytes:
        if self._at + count > len(self._data):
            raise bad(f"第 {number} 条记录的{zh}不完整", f"record {number} breaks off in its {en}")
        taken = self._data[self._at : self._at + count]
        self._at += count
        return taken

    def _chain(self, before: int, number: int, name: str) -> bytes:
        """Take the extensions that bit 7 of the byte `before` them, and of each but the last, announces."""
        taken = b""
        while before & 0x80:
            if len(taken) == _MOST:
                raise bad(
                    f"第 {number} 条记录的 {name} 多于 {_MOST} 个", f"record {number} has more than {_MOST} {name}"
                )
            before = self._take(1, number, f" {name} ", name)[0]
            taken += bytes([before])
        return taken

    def _record(self, number: int) -> Record:
        start = self._at
        dif = self._take(1, number, " DIF ", "DIF")[0]
        if dif & 0x0F == 0x0F:
            raise bad(f"第 {number} 条记录的 DIF {dif:02X} 是保留的", f"record {number} has the reserved DIF {dif:02X}")
        difes = self._chain(dif, number, "DIFE")
        vif = self._take(1, number, " VIF ", "VIF")[0]
        label = self._label(number) if vif & 0x7F == 0x7C else ""
        vifes = self._chain(vif, number, "VIFE")
        block = self._data[start : self._at]
        data = self._content(dif & 0x0F, number)
        kind, taken = kind_of(vif, vifes[0] if vifes else None)
        plain = bytes(byte & 0x7F for byte in vifes[taken:])
        dated, binary = _presentation(kind, plain)
        storage, tariff, subunit = _counts(dif, difes)
        return Record(
            number, FUNCTIONS[dif >> 4 & 3], storage, tariff, subunit, kind, plain,
            block, data, content(dif & 0x0F, "time" if dated else kind.quantity, data, binary), label,
        )  # fmt: skip

    def _label(self, number: int) -> str:
        length = self._take(1, number, "单位文字", "plain text unit")[0]
        return self._take(length, number, "单位文字", "plain text unit")[::-1].decode("latin-1")

    def _content(self, field: int, number: int) -> bytes:
        size = SIZES[field]
        if field != LVAR or size is not None:
            return self._take(size or 0, number, "数据", "data")
        lvar = self._take(1, number, "数据", "data")
        length = lvar_size(lvar[0])
        if length is None:
            return lvar
        return lvar + self._take(length, number, "数据", "data")


def _presentation(kind: Kind, vifes: bytes) -> tuple[bool, str]:
    """Return whether VIFEs make the data a time, and the type of binary data. A maker's VIF has no VIFE of the standard."""
    if kind.quantity == MANUFACTURER:
        return False, kind.binary
    first, other = combinable(vifes)
    return bool(DATED.intersection(first)), binary_type(kind, other)


FUNCTIONS = ("instantaneous", "maximum", "minimum", "error")


def _counts(dif: int, difes: bytes) -> tuple[int, int, int]:
    """Return storage, tariff and subunit number: their bits are spread over DIF and DIFEs, the lowest first."""
    storage, tariff, subunit = dif >> 6 & 1, 0, 0
    for place, dife in enumerate(difes):
        storage |= (dife & 0x0F) << 1 + 4 * place
        tariff |= (dife >> 4 & 3) << 2 * place
        subunit |= (dife >> 6 & 1) << place
    return storage, tariff, subunit


def _fixed(data: bytes, first: int) -> Telegram:
    """Return the two counters of the fixed data structure of older meters (EN 1434-3:1997, 6.3)."""
    if len(data) != 16:
        raise bad(f"固定结构有 {len(data)} 字节，应为 16", f"a fixed structure of {len(data)} bytes, not 16")
    status, units, medium = data[5], data[6:8], fixed_medium(data[6] >> 6 | data[7] >> 6 << 2)
    header = Header(data[4], status & 0x1C, data[3::-1].hex().upper(), medium=medium)
    counters = (data[8:12], data[12:16])
    kinds = _fixed_kinds(units[0] & 0x3F, units[1] & 0x3F)
    return Telegram(header, tuple(_counter(first + n, status, kinds[n], counters[n]) for n in (0, 1)), False)


def _counter(number: int, status: int, kind: tuple[Kind, bool], data: bytes) -> Record:
    what, historic = kind
    storage = 1 if historic or status & 0x02 else 0
    held = content(0x4 if status & 0x01 else 0xC, what.quantity, data, what.binary)
    return Record(number, "instantaneous", storage, 0, 0, what, b"", b"", data, held)


def _fixed_kinds(one: int, two: int) -> tuple[tuple[Kind, bool], tuple[Kind, bool]]:
    """A second counter of the unit 3E is the first one's, of the day fixed for it."""
    first = _fixed_kind(one)
    return (first, False), ((first, True) if two == 0x3E else (_fixed_kind(two), False))


def _fixed_kind(code: int) -> Kind:
    for first, last, quantity, unit, exponent in _FIXED_UNITS:
        if first <= code <= last:
            return Kind(quantity, unit, Decimal(1).scaleb(exponent + code - first))
    return {
        0x38: Kind("temperature", "C", Decimal("0.001")),
        0x39: Kind("heat_cost_units"),
        0x3F: Kind("count", "1"),
    }.get(code, Kind(UNKNOWN))


_FIXED_UNITS = (
    (0x02, 0x0A, "energy", "Wh", 0), (0x0B, 0x13, "energy", "kJ", 0), (0x14, 0x1C, "power", "W", 0),
    (0x1D, 0x25, "power", "kJ/h", 0), (0x26, 0x2E, "volume", "L", -3), (0x2F, 0x37, "flow", "L/h", -3),
)  # fmt: skip
"""Unit codes of the fixed structure: first and last code, quantity, unit, power of ten of the first."""

_OTHER_FORMS = {
    0x71: Text("报警报文", "an alarm"),
    0x74: Text("高字节在前的形式", "data with the high byte first"), 0x75: Text("高字节在前的形式", "data with the high byte first"),
    0x76: Text("高字节在前的可变结构", "a variable structure with the high byte first"),
    0x77: Text("高字节在前的固定结构", "a fixed structure with the high byte first"),
    0x69: Text("格式帧", "a format frame"), 0x6A: Text("格式帧", "a format frame"), 0x6B: Text("格式帧", "a format frame"),
    0x79: Text("紧凑帧", "a compact frame"), 0x7B: Text("紧凑帧", "a compact frame"),
    0x7C: Text("DLMS 数据", "DLMS data"), 0x7D: Text("DLMS 数据", "DLMS data"),
}  # fmt: skip

_ERROR_AT = {0x6E: _SHORT_HEADER, 0x6F: _LONG_HEADER, 0x70: 0}
"""Where the code of an application error stands, by the header before it."""

_APPLICATION_ERRORS = {
    0: Text("未说明", "unspecified"), 1: Text("不支持的 CI", "CI field not implemented"),
    2: Text("缓冲区溢出", "buffer too long"), 3: Text("记录过多", "too many records"),
    4: Text("记录不完整", "premature end of record"), 5: Text("DIFE 过多", "more than 10 DIFE"),
    6: Text("VIFE 过多", "more than 10 VIFE"), 8: Text("应用忙", "application too busy for the request"),
    9: Text("读取次数过多", "too many readouts"),
}  # fmt: skip
