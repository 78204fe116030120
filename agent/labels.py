"""What a request asks for, in both languages: drivers label it in English, with few words."""

import re

from drivers.contract import Request
from metering.text import Text

_PHRASES = (
    (r"\bfc (\d+), ", r"功能码 \1，"),
    (r"(\d+) registers? at (0x[0-9A-F]+)", r"\2 起 \1 个寄存器"),
    (r"(\d+) bits? at (0x[0-9A-F]+)", r"\2 起 \1 个位"),
    (r"\bblock of (\d+) values or more", r"数据块，至少 \1 个值"),
    (r"(\d+) bytes", r"\1 字节"),
    (r"\bdaily freeze of ", "日冻结 "),
    (r"\bread address\b", "读地址"),
    (r"\bidentification\b", "设备标识"),
    (r"\bsign-on\b", "登录"),
    (r"\breadout\b", "读出"),
    (r"\bselect (\w+)", r"选择 \1"),
    (r"\breset\b", "复位"),
    (r"\bREQ_UD2 at (\d+)", r"REQ_UD2 地址 \1"),
    (r", ", "，"),
)


def label_of(request: Request) -> Text:
    """Return a request's label, such as `fc 3, 40 registers at 0x0800`, in both languages."""
    chinese = request.label
    for phrase, said in _PHRASES:
        chinese = re.sub(phrase, said, chinese)
    return Text(chinese, request.label)
