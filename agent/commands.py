"""What `tanbiao agent …` does. Each command returns data for scripts and a text for people; printing is the caller's."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agent import app
from agent.answer import Answer
from agent.forecast import LineForecast, forecasts
from agent.gaps import GapBook
from agent.line import LineOwner
from agent.wiring import Meter, wire
from drivers.contract import Value
from link import control
from link.notify import Systemd, Watchdog
from link.world import World
from metering.text import Text
from settings.agent import load_agent


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
    settings, document = load_agent(path, environ)
    wiring = wire(settings, document)
    data = {
        "agent": settings.agent.id, "site": settings.agent.site, "config": app.configuration(document)[1],
        "lines": len(wiring.lines), "meters": len(list(wiring.meters)), "points": len(wiring.points),
    }  # fmt: skip
    slow = [forecast for forecast in forecasts(wiring) if forecast.load > 1]
    fine = Text(
        f"{path} 没有错误：{data['lines']} 条线路，{data['meters']} 块仪表，{data['points']} 个测点",
        f"{path} is fine: {data['lines']} lines, {data['meters']} meters, {data['points']} points",
    )
    return Outcome(data | {"too_slow": [one.line for one in slow]}, _lines([fine, *map(_too_slow, slow)]))


def plan(path: Path, environ: Mapping[str, str]) -> Outcome:
    """Say what each line will be asked and how long a cycle takes.

    Raises:
        SettingsFaults: all that is wrong.
    """
    lines = forecasts(wire(*load_agent(path, environ)))
    texts: list[Text] = []
    for line in lines:
        texts += _line_plan(line)
    return Outcome({"lines": [line.as_data() for line in lines]}, _lines(texts), all(line.load <= 1 for line in lines))


def _line_plan(line: LineForecast) -> list[Text]:
    texts = [
        Text(
            f"{line.line}（{line.driver}，{line.where}）：读一遍约 {line.cycle_s:.2f} s，占用 {line.load:.0%}",
            f"{line.line} ({line.driver}, {line.where}): about {line.cycle_s:.2f} s a cycle, {line.load:.0%} busy",
        )
    ]
    for meter in line.meters:
        texts.append(
            Text(f"  {meter.meter} 每 {meter.interval_s:g} s：", f"  {meter.meter} every {meter.interval_s:g} s:")
        )
        texts += [Text(f"    {label}", f"    {label}") for label in meter.requests]
    return [*texts, _too_slow(line)] if line.load > 1 else texts


def _too_slow(line: LineForecast) -> Text:
    return Text(
        f"  警告：{line.line} 读一遍要 {line.cycle_s:.1f} s，超过间隔 {line.shortest_interval_s:g} s："
        "请加长间隔、提高波特率、减少测点或分成两条线路",
        f"  warning: {line.line} needs {line.cycle_s:.1f} s a cycle, more than its interval of "
        f"{line.shortest_interval_s:g} s: lengthen it, raise the baud rate, take fewer points or split the line",
    )


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
    """Poll and show what the meters say until `stop` is set; store and publish nothing.

    Raises:
        SettingsFaults: the settings are wrong.
    """
    wiring = wire(*load_agent(path, environ))
    sink = _Shown(show)
    owners = [LineOwner(line, world, sink, GapBook()) for line in wiring.lines]
    async with asyncio.TaskGroup() as tasks:
        for owner in owners:
            tasks.create_task(owner.run(stop), name=owner.line.id)
            tasks.create_task(_show_silence(owner, world, stop, show), name=f"{owner.line.id} silence")


class _Shown:
    """A sink that shows readings instead of keeping them."""

    def __init__(self, show: Callable[[Text], None]) -> None:
        self._show = show

    def take(self, meter: Meter, answers: Sequence[Answer]) -> bool:
        for answer in answers:
            for value in answer.values:
                head, said = f"{_clock(answer.measured_ms)} {meter.id}/{value.point} ", _said(meter, answer, value)
                self._show(Text(head + said.zh, head + said.en))
        return True


def _said(meter: Meter, answer: Answer, value: Value) -> Text:
    """Return a value with all its digits, or why there is none."""
    if value.value is None:
        why = answer.why(value)
        return Text(f"没有值：{why}", f"no value: {why}")
    said = f"{repr(value.value).removesuffix('.0')} {meter.points[value.point].unit}"
    return Text(f"{said}  {value.quality.text.zh}", f"{said}  {value.quality.text.en}")


async def _show_silence(owner: LineOwner, world: World, stop: asyncio.Event, show: Callable[[Text], None]) -> None:
    """Say once of each meter that it is silent, and why."""
    told: dict[str, str] = {}
    while not stop.is_set():
        for meter, counters in owner.meters.items():
            if counters.detail and told.get(meter) != counters.detail:
                told[meter] = counters.detail
                show(Text(f"{meter} 没有应答：{counters.detail}", f"{meter} is silent: {counters.detail}"))
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
    texts = [
        _connection(data),
        Text(
            f"发件箱：{data['unreceipted']} 批待回执，{data['outbox_bytes'] / 1e6:.1f} MB",
            f"outbox: {data['unreceipted']} batches without receipt, {data['outbox_bytes'] / 1e6:.1f} MB",
        ),
        *(Text(f"警报：{alarm}", f"alarm: {alarm}") for alarm in data["alarms"]),
        *(_meter(name, meter) for name, meter in data["meters"].items()),
    ]
    lacking = [name for name, meter in data["meters"].items() if meter.get("no_value")]
    return Outcome(data, _lines(texts), not silent and not lacking and not data["alarms"])


def _connection(data: Mapping[str, Any]) -> Text:
    if not data["connected"]:
        return Text("未连接消息代理", "not connected to the broker")
    if data["silent_since"]:
        since = _clock(data["silent_since"])
        return Text(
            f"已连接消息代理；中心端自 {since} 起没有回执", f"connected; no receipt from the ingester since {since}"
        )
    if not data["receipted"]:
        return Text("已连接消息代理，尚无中心端回执", "connected to the broker; no receipt from the ingester yet")
    return Text("已连接消息代理，中心端有回执", "connected to the broker; the ingester answers")


def _meter(name: str, meter: Mapping[str, Any]) -> Text:
    missed = sum(meter["missed"].values())
    counts = f"{meter['read']}/{meter['expected']}"
    if meter["state"] == "silent":
        since = _clock(meter["since"])
        return Text(
            f"  {name} 自 {since} 起没有应答：{meter['detail']}（{counts}，缺 {missed}）",
            f"  {name} silent since {since}: {meter['detail']} ({counts} read, {missed} missed)",
        )
    last = _clock(meter["last_good"]) if meter["last_good"] else "-"
    if lacking := meter.get("no_value"):
        points = ", ".join(f"{point} ({why})" for point, why in lacking["points"].items())
        more = ", …" if lacking["count"] > len(lacking["points"]) else ""
        return Text(
            f"  {name} 有 {lacking['count']} 个测点没有值：{points}{more}；最近 {last}（{counts}，缺 {missed}）",
            f"  {name} problem: {lacking['count']} points without value: {points}{more};"
            f" last {last} ({counts} read, {missed} missed)",
        )
    return Text(
        f"  {name} 正常，最近 {last}（{counts}，缺 {missed}）",
        f"  {name} {meter['state']}, last {last} ({counts} read, {missed} missed)",
    )


def _clock(ms: int) -> str:
    """Return a time as the clock on the wall shows it, with its offset from UTC."""
    return datetime.fromtimestamp(ms / 1000, UTC).astimezone().isoformat(" ", "seconds")


def _lines(texts: Sequence[Text]) -> Text:
    return Text("\n".join(text.zh for text in texts), "\n".join(text.en for text in texts))
