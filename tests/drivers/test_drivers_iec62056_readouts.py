"""IEC 62056-21: readouts of meters as they were published, and how long a line may take."""

import time
from contextlib import suppress
from functools import reduce
from operator import xor
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from drivers.catalogue import driver
from drivers.contract import Value
from drivers.iec62056.codec import LONGEST
from drivers.iec62056.datasets import data_sets
from metering.errors import BadFrame
from metering.profile import Place, Profile
from metering.reading import Quality

CASES = YAML(typ="safe").load((Path(__file__).parents[1] / "golden/iec62056/readouts.yaml").read_text())["readouts"]
EVERY_SET = [(case, address, held) for case in CASES for address, held in case["holds"].items()]


def readout(case: dict[str, Any]) -> str:
    body = case["data"].replace("\n", "\r\n") + "!\r\n\x03"
    check = case["check"] or chr(reduce(xor, body.encode("ascii")))
    return f"{case['identification']}\r\n\x02{body}{check}"


def replayed(case: dict[str, Any], **filled: Any) -> Value:
    profile = Profile.model_validate(
        {"vendor": "x", "model": "y", "kind": "electricity", "protocol": "iec62056", "status": "unverified",
         "source": {"title": "x"}, **filled}
    )  # fmt: skip
    (found,) = driver("iec62056").replay(profile, {"reply_text": readout(case)})
    return found


@pytest.mark.parametrize(
    ("case", "address", "held"), EVERY_SET, ids=lambda value: value["name"] if isinstance(value, dict) else value
)
def test_a_published_readout_gives_its_values(case: dict[str, Any], address: str, held: str | None) -> None:
    number, _, unit = (held or "").partition(" ")
    if held is None or unit:
        found = replayed(case, points={"x": {"address": address, "unit": unit or "kWh", "role": "gauge"}})
        expected = (None, Quality.BAD) if held is None else (float(number), Quality.GOOD)
        assert (found.value, found.quality) == expected
        assert bool(found.why) is (held is None)
    else:
        found = replayed(case, points={}, identity={"x": Place(address=address)})
        assert found.text == held or found.value == float(held)
        assert found.quality == Quality.GOOD


@pytest.mark.parametrize("case", [case for case in CASES if case["check"]], ids=lambda case: str(case["name"]))
def test_f32_a_published_readout_with_another_check_character_is_refused(case: dict[str, Any]) -> None:
    with pytest.raises(BadFrame, match="wrong block check character"):
        replayed(
            {**case, "check": chr(ord(case["check"]) ^ 1)},
            points={"x": {"address": "6.8", "unit": "GJ", "role": "gauge"}},
        )


@pytest.mark.parametrize(
    "line", ["1" * LONGEST, "()" * (LONGEST // 2), "(" * LONGEST, "1(" * (LONGEST // 2), ")" * LONGEST]
)
def test_f32_a_line_of_any_length_is_read_or_refused_at_once(line: str) -> None:
    """The time grows as the length does; a pattern that begins anew at every character took seconds."""
    began = time.process_time()
    with suppress(BadFrame):
        data_sets(line)
    assert time.process_time() - began < 1.0
