"""A reading: what one meter said of one point at one time, and how far it can be trusted."""

from dataclasses import dataclass
from enum import IntEnum

from metering.text import Text


class Quality(IntEnum):
    """How far a reading can be trusted. The numbers travel on the wire and stay."""

    GOOD = 0
    UNCERTAIN = 1
    BAD = 2
    TIMEOUT = 3
    PROTOCOL_ERROR = 4
    OUT_OF_RANGE = 5
    FROZEN = 6
    UNSYNCED = 7
    BACKFILLED = 8
    SUBSTITUTED = 9

    @property
    def counts(self) -> bool:
        """Whether the value may enter a sum. A refused value stays stored, and never counts."""
        return self in COUNTING

    @property
    def text(self) -> Text:
        return QUALITY_TEXTS[self]


COUNTING = frozenset(
    {Quality.GOOD, Quality.UNCERTAIN, Quality.FROZEN, Quality.UNSYNCED, Quality.BACKFILLED, Quality.SUBSTITUTED}
)

QUALITY_TEXTS = {
    Quality.GOOD: Text("良好", "good"),
    Quality.UNCERTAIN: Text("存疑", "uncertain"),
    Quality.BAD: Text("坏值", "bad value"),
    Quality.TIMEOUT: Text("超时", "timeout"),
    Quality.PROTOCOL_ERROR: Text("协议错误", "protocol error"),
    Quality.OUT_OF_RANGE: Text("超量程", "out of range"),
    Quality.FROZEN: Text("疑似冻结", "frozen suspect"),
    Quality.UNSYNCED: Text("时钟未同步", "clock unsynced"),
    Quality.BACKFILLED: Text("补录", "backfilled"),
    Quality.SUBSTITUTED: Text("仪表替代值", "substituted by the device"),
}


def quality_named(name: str) -> Quality:
    """Return the quality a CSV file names: `good`, `bad value`, `bad_value`, `frozen suspect`, …

    Raises:
        ValueError: no quality has this name.
    """
    key = name.strip().lower().replace("_", " ").replace("-", " ")
    for quality in Quality:
        if key in (quality.name.lower().replace("_", " "), QUALITY_TEXTS[quality].en):
            return quality
    raise ValueError(name)


@dataclass(frozen=True, slots=True)
class Reading:
    """One value of one point. Never repeated with a new time, never filled in."""

    point: str
    """`meter/point`, such as `gas-main/volume`."""
    measured_ms: int
    """When the meter was asked, Unix milliseconds UTC."""
    value: float | None
    """In the point's unit after the profile's scale; None where there is no value to give."""
    quality: Quality = Quality.GOOD
    raw: bytes | None = None
    """The bytes as read, where they are kept."""
    source_ms: int | None = None
    """The time the source itself gave (OPC UA), Unix milliseconds UTC."""
