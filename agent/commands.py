"""What `tanbiao agent …` does. Each command returns data for scripts and a text for people; printing is the caller's."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent import app
from agent.answer import Answer
from agent.forecast import forecasts
from agent.gaps import GapBook
from agent.line import LineOwner
from agent.trust import notes
from agent.wiring import Line, Meter, line_faults, wire
from agent.wording import clock, health, line_plan, lines, resettable, too_slow
from drivers.contract import ExchangeLine, Value
from link import control
from link.notify import Systemd, Watchdog
from link.world import World
from metering.errors import SettingsFaults
from metering.slots import Grid
from metering.text import Text
from settings.agent import AgentSettings, load_agent
from settings.document import Document, read
from settings.origin import with_environment


@dataclass(frozen=True)
class Outcome:
    """What a command found. `fine` decides its exit code."""

    data: dict[str, Any]
    text: Text
    fine: bool = True


def check(path: Path, environ: Mapping[str, str]) -> Outcome:
    """Check the settings with all they refer to; touch no network.

    Raises:
        SettingsFaults: all that is wrong.
    """
    settings, document = _loaded(path, environ)
    wiring = wire(settings, document)
    data = {
        "agent": settings.agent.id, "site": settings.agent.site, "config": app.configuration(document)[1],
        "lines": len(wiring.lines), "meters": len(list(wiring.meters)), "points": len(wiring.points),
    }  # fmt: skip
    slow = [forecast for forecast in forecasts(wiring) if forecast.load > 1]
    unsafe = sorted({f"{meter.id}/{point}" for meter in wiring.meters for point, at in meter.points.items()
                     if at.role == "counter" and at.resettable})  # fmt: skip
    many = ", ".join(
        f"{data[of]} {of.removesuffix('s') if data[of] == 1 else of}" for of in ("lines", "meters", "points")
    )
    fine = Text(
        f"{path} {'可以运行，但跟不上所设间隔' if slow else '没有错误'}："
        f"{data['lines']} 条线路，{data['meters']} 块仪表，{data['points']} 个测点",
        f"{path} {'works, but cannot keep its intervals' if slow else 'is fine'}: {many}",
    )
    told = data | {
        "too_slow": [one.line for one in slow], "losing": {one.line: one.losing() for one in slow}, "resettable": unsafe
    }  # fmt: skip
    return Outcome(
        told,
        lines([fine, *map(too_slow, slow), *map(resettable, unsafe), *_odd_speeds(wiring.lines), *notes(wiring.lines)]),
        not slow,
    )


_SPEEDS = (300, 600, 1200, 1800, 2400, 4800, 9600, 14400, 19200, 28800, 38400, 57600, 76800, 115200, 128000, 187500,
           230400, 250000, 256000, 460800, 500000, 576000, 921600, 1000000, 1500000, 2000000, 3000000, 4000000)  # fmt: skip
"""Of meters and adapters; another one is most likely a slip of the hand."""


def _odd_speeds(lines: Iterable[Line]) -> Iterator[Text]:
    for line in lines:
        settings = line.settings
        if isinstance(settings, ExchangeLine) and settings.serial is not None and settings.baud not in _SPEEDS:
            baud = settings.baud
            near = min(_SPEEDS, key=lambda speed: abs(speed - baud))
            yield Text(f"  警告：{line.id} 的波特率 {baud} 不常见：是不是 {near}？",
                       f"  warning: {line.id}: baud {baud} is no usual speed; did you mean {near}?")  # fmt: skip


def _loaded(path: Path, environ: Mapping[str, str]) -> tuple[AgentSettings, Document]:
    """Return the settings; where they are wrong, say in one go what the drivers find wrong with the lines, too."""
    try:
        return load_agent(path, environ)
    except SettingsFaults as error:
        try:
            document = with_environment(read(path), "agent", environ)
        except SettingsFaults:
            raise error from None
        told = {fault.place for fault in error.faults}
        also = [fault for fault in line_faults(document) if fault.place not in told]
        raise document.faults([*error.faults, *also]) from error


def plan(path: Path, environ: Mapping[str, str]) -> Outcome:
    """Say what each line will be asked and how long a cycle takes.

    Raises:
        SettingsFaults: all that is wrong.
    """
    found = forecasts(wire(*load_agent(path, environ)))
    texts: list[Text] = []
    for line in found:
        texts += line_plan(line)
    return Outcome({"lines": [line.as_data() for line in found]}, lines(texts), all(line.load <= 1 for line in found))


async def run(path: Path, environ: Mapping[str, str], world: World, stop: asyncio.Event) -> None:
    """Run the agent until `stop` is set.

    Raises:
        SettingsFaults: the settings are wrong.
        ServiceError: outbox, control socket or the broker's address cannot be used.
    """
    settings, document = load_agent(path, environ)
    systemd = Systemd(environ)
    await app.run(settings, document, world, stop, systemd, Watchdog(systemd, environ))


async def dry_run(
    path: Path, environ: Mapping[str, str], world: World, stop: asyncio.Event, show: Callable[[Text], None]
) -> None:
    """Show what the meters say, at once and then at their slots, until `stop` is set; store and publish nothing.

    Raises:
        SettingsFaults: the settings are wrong.
    """
    wiring = wire(*load_agent(path, environ))
    sink = _Shown(show)
    owners = [LineOwner(line, world, sink, GapBook()) for line in wiring.lines]
    async with asyncio.TaskGroup() as tasks:
        for owner in owners:
            tasks.create_task(_at_once_and_on(owner, world, stop, show), name=owner.line.id)
            tasks.create_task(_show_silence(owner, world, stop, show), name=f"{owner.line.id} silence")


_WORTH_TELLING_S = 5.0
"""A person who waits longer for the next reading wants to know when it comes."""


async def _at_once_and_on(owner: LineOwner, world: World, stop: asyncio.Event, show: Callable[[Text], None]) -> None:
    await owner.ask_now(stop)
    now_ms = world.now_ms()
    next_ms = min((Grid(one.interval_ms, one.phase_ms).after(now_ms) for one in owner.line.meters), default=now_ms)
    if next_ms - now_ms > _WORTH_TELLING_S * 1000:
        line, at = owner.line.id, clock(next_ms)
        show(Text(f"线路 {line}：下次读表 {at}", f"line {line}: next reading at {at}"))
    await owner.run(stop)


class _Shown:
    """A sink that shows readings instead of keeping them."""

    def __init__(self, show: Callable[[Text], None]) -> None:
        self._show = show

    def take(self, meter: Meter, answers: Sequence[Answer]) -> bool:
        for answer in answers:
            for value in answer.values:
                head, said = f"{clock(answer.measured_ms)} {meter.id}/{value.point} ", _said(meter, answer, value)
                self._show(Text(head + said.zh, head + said.en))
        return True


def _said(meter: Meter, answer: Answer, value: Value) -> Text:
    """Return a value with all its digits, or why there is none."""
    if value.value is None:
        why, point = answer.why(value), meter.points[value.point]
        if why.en in ("BadNodeIdUnknown", "BadNodeIdInvalid"):
            return Text(f"没有值：服务器没有节点 {point.address}（{why.zh}）：检查节点号",
                        f"no value: the server has no node {point.address} ({why.en}): check the node id")  # fmt: skip
        return Text(f"没有值：{why.zh}", f"no value: {why.en}")
    said = f"{repr(value.value).removesuffix('.0')} {meter.points[value.point].unit}"
    return Text(f"{said}  {value.quality.text.zh}", f"{said}  {value.quality.text.en}")


async def _show_silence(owner: LineOwner, world: World, stop: asyncio.Event, show: Callable[[Text], None]) -> None:
    """Say once of each meter that it is silent, and why."""
    told: dict[str, str] = {}
    while not stop.is_set():
        for meter, counters in owner.meters.items():
            if counters.detail and told.get(meter) != counters.detail:
                told[meter] = counters.detail
                zh = counters.error.say("zh") if counters.error is not None else counters.detail
                show(Text(f"{meter} 没有读数：{zh}", f"{meter} is silent: {counters.detail}"))
        await world.sleep(0.5)


def status(path: Path, environ: Mapping[str, str]) -> Outcome:
    """Ask the running agent how it is.

    Raises:
        SettingsFaults: the settings are wrong.
        NotRunning: no agent runs with these settings.
    """
    settings, _ = load_agent(path, environ)
    data: dict[str, Any] = control.ask(app.control_socket(settings.outbox.path), "status", {})
    silent = [name for name, meter in data["meters"].items() if meter["state"] == "silent"]
    texts = health(data)
    lacking = [name for name, meter in data["meters"].items() if meter.keys() & {"no_value", "doubtful", "forbidden"}]
    return Outcome(data, lines(texts), not silent and not lacking and not data["alarms"])
