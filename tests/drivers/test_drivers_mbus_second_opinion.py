"""pyMeterBus, an independent implementation, reads the captured telegrams as we do."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import meterbus
import pytest
from ruamel.yaml import YAML

from drivers.mbus.codec import LongFrame
from drivers.mbus.telegram import Record, telegram

CASES = YAML(typ="safe").load((Path(__file__).parents[1] / "golden/mbus/telegrams.yaml").read_text())["telegrams"]
VARIABLE = [case for case in CASES if bytes.fromhex(case["frame"])[6] == 0x72]
SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86400, "MWh": 10**6}
"""It gives times in seconds and all energy in Wh."""


@pytest.mark.parametrize("case", VARIABLE, ids=lambda case: case["name"])
def test_a_second_implementation_reads_the_same_numbers(case: dict[str, Any]) -> None:
    frame = bytes.fromhex(case["frame"])
    theirs, ours = meterbus.load(frame), telegram(LongFrame.of(frame))
    held = [(record, number_of(other)) for record, other in zip(ours.records, theirs.records, strict=False)]
    differing = [record.number for record, number in held if comparable(record) and not agrees(record, number)]
    assert differing == []
    assert (ours.header.maker, ours.more) == (
        theirs.body.bodyHeader.manufacturer_field.decodeManufacturer,
        theirs.more_records_follow,
    )
    assert len(theirs.records) - len(ours.records) in (0, 1)  # it counts the maker's data as a record


def number_of(record: Any) -> Decimal | None:
    try:
        return Decimal(str(record.parsed_value))
    except ArithmeticError:
        return None


def comparable(record: Record) -> bool:
    """It takes digits above nine for ten and more, and the data of dated VIFEs for numbers; texts it scales."""
    return record.content.number is not None and record.kind.quantity != "text"


def agrees(record: Record, number: Decimal | None) -> bool:
    assert record.content.number is not None
    ours = record.content.number * record.kind.step * SECONDS.get(record.kind.unit or "", 1)
    return number is not None and abs(number - ours) <= abs(ours) * Decimal("1e-7")
