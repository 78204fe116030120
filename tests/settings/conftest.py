from collections.abc import Callable
from pathlib import Path

import pytest

from metering.errors import SettingsFaults

PROFILE = """\
vendor: Example
model: M1
kind: electricity
protocol: modbus
points:
  energy: {address: 0x0048, unit: kWh, role: counter, scale: 0.01, digits: 8}
  power: {address: 12, unit: kW, role: gauge}
source: {title: made for this test}
status: unverified
"""

AGENT = """\
agent:
  id: workshop-1
  site: demo
mqtt:
  url: mqtt://127.0.0.1:1883
lines:
  rs485-1:
    driver: modbus
    serial: /dev/ttyUSB0
meters:
  gas-main:
    line: rs485-1
    unit: 3
    profile: m1.yaml
    interval: 10 s
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Write a file into an empty folder that is the working directory; give its path as a user would type it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m1.yaml").write_text(PROFILE, encoding="utf-8")

    def write_file(text: str | bytes, name: str = "agent.yaml") -> Path:
        file = tmp_path / name
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        return Path(name)

    return write_file


@pytest.fixture
def agent_text() -> str:
    """The text of an agent.yaml that is right."""
    return AGENT


@pytest.fixture
def said() -> Callable[[Callable[[], object]], list[str]]:
    """Run what must be refused and give its messages, English then Chinese."""

    def messages(call: Callable[[], object]) -> list[str]:
        with pytest.raises(SettingsFaults) as caught:
            call()
        return [*caught.value.say("en").split("\n"), *caught.value.say("zh").split("\n")]

    return messages
