import asyncio
import re
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from agent import app, commands
from agent.books import OutboxSettings
from agent.counters import LineCounters, MeterCounters
from agent.outbox import open_outbox
from agent.wording import fold, health, lines
from link import control
from metering.errors import NotRunning, SettingsFaults, StoreBusy
from metering.reading import Quality
from metering.text import Text

AgentFile = Callable[..., Path]


def test_check_says_what_is_there(agent_file: AgentFile) -> None:
    outcome = commands.check(agent_file(), {})
    assert (outcome.data["lines"], outcome.data["meters"], outcome.data["points"]) == (1, 1, 2)
    assert "is fine: 1 line, 1 meter, 2 points" in outcome.text.say("en")
    assert "没有错误" in outcome.text.say("zh")


def test_check_refuses_wrong_settings(agent_file: AgentFile) -> None:
    with pytest.raises(SettingsFaults):
        commands.check(agent_file("a: {driver: modbus}"), {})


def test_check_places_what_only_the_meters_line_makes_wrong(agent_file: AgentFile) -> None:
    path = agent_file(
        "a: {driver: modbus, serial: /dev/ttyUSB0}", "m1: {line: a, profile: profile.yaml, interval: 1 s, unit: 0}"
    )
    with pytest.raises(SettingsFaults, match=r"agent\.yaml:7:61: m1: unit: 0 is the broadcast"):
        commands.check(path, {})


def test_check_tells_what_is_wrong_with_meters_and_with_lines_in_one_go(agent_file: AgentFile) -> None:
    path = agent_file("a: {driver: modbus, seriel: /dev/ttyUSB0}", "m1: {line: a, profil: profile.yaml}")
    with pytest.raises(SettingsFaults) as caught:
        commands.check(path, {})
    said = str(caught.value)
    assert "Did you mean serial?" in said
    assert "Did you mean profile?" in said


def test_check_warns_of_a_speed_that_is_most_likely_a_slip(agent_file: AgentFile) -> None:
    outcome = commands.check(agent_file("a: {driver: modbus, serial: /dev/ttyUSB0, baud: 9660}"), {})
    assert "warning: a: baud 9660 is no usual speed; did you mean 9600?" in outcome.text.say("en")
    assert "是不是 9600？" in outcome.text.say("zh")


def test_check_warns_of_a_counter_that_can_be_reset(agent_file: AgentFile) -> None:
    path = agent_file()
    profile = path.parent / "profile.yaml"
    profile.write_text(profile.read_text("utf-8").replace("role: counter", "role: counter, resettable: true"), "utf-8")
    outcome = commands.check(path, {})
    [point] = outcome.data["resettable"]
    assert f"warning: {point} can be reset" in outcome.text.say("en")
    assert f"{point} 可清零" in outcome.text.say("zh")
    assert outcome.fine


def test_plan_shows_each_request_and_how_long_a_cycle_takes(agent_file: AgentFile) -> None:
    outcome = commands.plan(agent_file("a: {driver: modbus, serial: /dev/ttyUSB0, baud: 1200}"), {})
    [line] = outcome.data["lines"]
    [meter] = line["meters"]
    assert meter["requests"] == ["fc 3, 4 registers at 0x0000"]
    bits = (8 + 13) * 11
    assert bits / 1200 < line["cycle_s"] < bits / 1200 + 0.1
    assert "fc 3, 4 registers at 0x0000" in outcome.text.say("en")
    assert "功能码 3，0x0000 起 4 个寄存器" in outcome.text.say("zh")
    assert outcome.fine


def test_plan_warns_of_a_line_that_cannot_keep_its_intervals(agent_file: AgentFile) -> None:
    meters = "\n".join(f"m{n}: {{line: a, profile: profile.yaml, interval: 1 s, unit: {n}}}" for n in range(1, 9))
    path = agent_file("a: {driver: modbus, serial: /dev/ttyUSB0, baud: 1200}", meters)
    outcome = commands.plan(path, {})
    assert not outcome.fine
    said = " ".join(outcome.text.say("en").split())
    assert re.search(r"warning: line a needs \d\.\d s for a 1 s cycle: readings will be lost of m\d \(\d\d%\), m", said)
    assert re.search(
        r"Remedies: intervals \d\.\d times as long, fewer points, a higher baud rate, or a second line", said
    )
    assert "间隔只有 1 s：会漏读 m" in outcome.text.say("zh").replace("\n      ", "")
    checked = commands.check(path, {})
    assert (checked.data["too_slow"], checked.fine) == (["a"], False)
    assert set(checked.data["losing"]["a"]) == {f"m{n}" for n in range(1, 9)}
    assert "works, but cannot keep its intervals" in checked.text.say("en")


def test_status_without_a_running_agent_says_so(agent_file: AgentFile) -> None:
    with pytest.raises(NotRunning):
        commands.status(agent_file(), {})


def test_a_dry_run_shows_readings_and_keeps_nothing(
    agent_file: AgentFile, world: Any, fakes: Any, in_virtual_time: Any
) -> None:
    path = agent_file(
        """a: {driver: modbus, tcp: "meter:502"}
        b: {driver: modbus, tcp: "dead:502"}""",
        """m1: {line: a, profile: profile.yaml, interval: 1 s}
        m2: {line: b, profile: profile.yaml, interval: 1 s}""",
    )
    world.lines["meter:502"] = fakes.Wire(lambda frame: [(0.01, fakes.modbus_reply(frame))])
    world.lines["dead:502"] = dead = fakes.Wire(lambda frame: [])
    dead.refuses = "refused"
    shown: list[Text] = []

    async def story() -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(3.2, stop.set)
        await commands.dry_run(path, {}, world, stop, shown.append)

    in_virtual_time(story())
    lines = [text.en for text in shown]
    assert sum("m1/energy 1234.5 kWh  good" in line for line in lines) == 4  # at once, then each second
    assert sum("m2 is silent" in line for line in lines) == 1
    assert not (path.parent / "data").exists()


def test_a_dry_run_asks_at_once_and_says_when_the_next_reading_comes(
    agent_file: AgentFile, world: Any, fakes: Any, in_virtual_time: Any
) -> None:
    path = agent_file(meters="m1: {line: a, profile: profile.yaml, interval: 15 min}")
    world.lines["meter:502"] = fakes.Wire(lambda frame: [(0.01, fakes.modbus_reply(frame))])
    shown: list[Text] = []

    async def story() -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(1.0, stop.set)
        await commands.dry_run(path, {}, world, stop, shown.append)

    in_virtual_time(story())
    assert "m1/energy 1234.5 kWh  good" in shown[0].en
    assert re.search(r"line a: next reading at .*:(00|15|30|45):00[+-]", shown[-1].en)
    assert "下次读表" in shown[-1].zh


def test_a_dry_run_shows_all_digits_the_offset_and_why_there_is_no_value(
    agent_file: AgentFile, world: Any, fakes: Any, in_virtual_time: Any
) -> None:
    path = agent_file()
    nan = float("nan")
    world.lines["meter:502"] = fakes.Wire(lambda frame: [(0.01, fakes.modbus_reply(frame, (16777215.0, nan)))])
    shown: list[Text] = []

    async def story() -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(1.2, stop.set)
        await commands.dry_run(path, {}, world, stop, shown.append)

    in_virtual_time(story())
    energy, power = (text.en for text in shown[:2])
    assert "m1/energy 16777215 kWh  good" in energy
    assert re.match(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d:\d\d m1/energy ", energy)
    assert "m1/power no value: bad" in power
    assert f"没有值：{Quality.BAD.text.zh}" in shown[1].zh


async def test_status_names_points_without_a_value_as_a_problem(
    agent_file: AgentFile,
) -> None:
    path = agent_file()
    meter = MeterCounters(expected=1, read=1, last_good_ms=1)
    unknown = Text("BadNodeIdUnknown", "BadNodeIdUnknown")
    lack = {"power": unknown} | {f"p{n}": unknown for n in range(8)}

    async def answer(_: dict[str, Any]) -> dict[str, Any]:
        return {
            "connected": True, "silent_since": None, "receipted": 1, "unreceipted": 0, "outbox_bytes": 0,
            "alarms": [], "meters": {"m1": meter.report()}, "lines": {"a": LineCounters().report()},
        }  # fmt: skip

    (path.parent / "data").mkdir(exist_ok=True)
    async with control.serve(app.control_socket(path.parent / "data/outbox.db"), {"status": answer}):
        assert (await asyncio.to_thread(commands.status, path, {})).fine
        meter.no_value.update(lack)
        outcome = await asyncio.to_thread(commands.status, path, {})
    assert not outcome.fine
    assert "m1 problem: 9 points without value: power (BadNodeIdUnknown), p0" in outcome.text.say("en")
    assert "有 9 个测点没有值" in outcome.text.say("zh")
    assert len(outcome.data["meters"]["m1"]["no_value"]["points"]) == 5


def test_a_meter_whose_values_are_in_doubt_is_not_said_to_be_fine() -> None:
    meter = MeterCounters(last_good_ms=1, doubtful={"pressure": Quality.OUT_OF_RANGE.text}).report()
    data = {"connected": True, "silent_since": None, "receipted": 1, "unreceipted": 0, "outbox_bytes": 0, "alarms": [],
            "meters": {"m1": meter}, "lines": {}}  # fmt: skip
    said = lines(health(data))
    assert "m1 problem: 1 point in doubt: pressure (out of range)" in said.en
    assert "m1 有 1 个测点存疑：pressure（超量程）" in said.zh


def test_a_meter_not_read_yet_is_starting_in_both_languages() -> None:
    data = {"connected": True, "silent_since": None, "receipted": 1, "unreceipted": 0, "outbox_bytes": 0, "alarms": [],
            "meters": {"m1": MeterCounters().report()}, "lines": {}}  # fmt: skip
    assert "m1 starting" in lines(health(data)).en
    assert "m1 启动中" in lines(health(data)).zh


def test_status_speaks_the_language_asked_for_and_says_when_the_backlog_is_through() -> None:
    why = {"zh": "1 秒内没有应答", "en": "nothing came within 1 s"}
    lost = MeterCounters(expected=9, silent_since_ms=1).report() | {"detail": why["en"], "said": why}
    lacks = MeterCounters(expected=9, last_good_ms=1).report() | {
        "no_value": {"count": 1, "points": {"power": why}}, "forbidden": {"phase": why}
    }  # fmt: skip
    texts = health({
        "connected": True, "silent_since": None, "receipted": 1, "unreceipted": 9000, "outbox_bytes": 5e7,
        "backlog_eta_s": 125, "alarms": [why], "meters": {"m1": lost, "m2": lacks},
        "lines": {"a": LineCounters().report() | {"problem": why}},
    })  # fmt: skip
    zh, en = lines(texts).zh, lines(texts).en
    assert zh.count("1 秒内没有应答") == en.count("nothing came within 1 s") == 5
    assert "nothing" not in zh
    assert "9000 batches without receipt, 50.0 MB, through in about 2 min 05 s" in en
    assert "约 2 分 05 秒送完" in zh


async def test_run_refuses_wrong_lines_and_a_second_agent_in_plain_words(
    agent_file: AgentFile, world: Any, fakes: Any
) -> None:
    world.the_broker = fakes.Broker()
    with pytest.raises(SettingsFaults):
        await commands.run(agent_file("a: {driver: modbus}"), {}, world, asyncio.Event())
    path = agent_file()
    settings = OutboxSettings(path.parent / "data/outbox.db", 8 << 20, 60.0)
    async with open_outbox(settings, world):
        with pytest.raises(StoreBusy):
            await commands.run(path, {}, world, asyncio.Event())


async def test_systemd_is_told_and_its_watchdog_fed_by_the_polling(
    agent_file: AgentFile, fakes: Any, tmp_path: Path
) -> None:
    told: list[bytes] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.setblocking(False)
        world, stop = fakes.World(), asyncio.Event()
        world.the_broker = fakes.Broker()
        world.lines["meter:502"] = fakes.Wire(lambda frame: [(0.001, fakes.modbus_reply(frame))])
        environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1000000"}
        asyncio.get_running_loop().call_later(2.6, stop.set)
        await commands.run(agent_file(), environ, world, stop)
        with suppress(BlockingIOError):
            while True:
                told.append(systemd.recv(200))
    assert b"READY=1" in told
    assert told.count(b"WATCHDOG=1") >= 2
    assert told[-1] == b"STOPPING=1"


def test_plan_and_status_keep_to_a_hundred_columns() -> None:
    english = "  warning: line a needs 41.0 s for a 30 s cycle: " + "lengthen the interval, " * 8
    chinese = "  警告：线路 a 读一遍要 41.0 s，间隔只有 30 s：" + "请加长间隔、提高波特率、" * 8
    for line in (english, chinese):
        rows = fold(line).split("\n")
        assert len(rows) > 1
        assert all(sum(2 if ord(char) > 0x2E80 else 1 for char in row) <= 100 for row in rows)
        assert "".join(rows).replace(" ", "") == line.replace(" ", "")


def test_status_says_what_a_meter_answered_in_both_languages() -> None:
    meter = MeterCounters(expected=3, read=2, last_good_ms=1, ok=5, retries=1, replaced=("7", "8"), variant="swapped")
    meter.failures["timeout"] = 1
    meter.exceptions[2] = 4
    meter.identity["serial"] = "8"
    meter.forbidden["p5"] = "fc 3, 2 registers at 0x000A: exception 2"
    meter.round_trips_ms.extend([10.0] * 20)
    data = {
        "connected": True, "silent_since": None, "receipted": 1, "unreceipted": 0, "outbox_bytes": 0, "alarms": [],
        "lines": {"a": LineCounters(open=True, overruns=3, utilisation=0.25).report()}, "meters": {"m1": meter.report()},
    }  # fmt: skip
    english, chinese = lines(health(data)).say("en"), lines(health(data)).say("zh")
    for said in ("25% busy", "3 overruns", "ok 5; timeout 1; exception 2 4; retries 1; p50 10 ms", "variant swapped",
                 "was 7, is 8: meter replaced?", "p5 is refused"):  # fmt: skip
        assert said in english
    for said in ("占用 25%", "成功 5；超时 1；异常码 2 4；重发 1", "换表了吗", "p5 被仪表拒绝"):
        assert said in chinese


@pytest.mark.parametrize(
    ("why", "en", "zh"),
    [
        ("cannot reach the broker mqtt://h: Connection refused", "Connection refused; check address and port", "连接被拒绝"),
        ("cannot reach the broker mqtt://h: the broker refused: Not authorized", "check mqtt.username", "用户名或密码被拒绝"),
        ("cannot reach the broker mqtt://h: Name or service not known", "check the host name", "主机名无法解析"),
        ("the connection was lost", "broker: the connection was lost", "the connection was lost"),
        ("", "not connected to the broker", "未连接消息代理"),
    ],
)  # fmt: skip
def test_status_says_why_the_broker_is_not_reached_and_what_to_do(why: str, en: str, zh: str) -> None:
    data = {"connected": False, "broker_problem": why, "unreceipted": 0, "outbox_bytes": 0}
    said = lines(health(data | {"alarms": [], "lines": {}, "meters": {}}))
    assert en in said.en
    assert zh in said.zh
