"""`tanbiao demo` and `tanbiao simulate`: the whole system on one machine, and the simulated plant alone."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from metering.text import Text
from tanbiao.speech import say

if TYPE_CHECKING:
    import asyncio

    from settings.plant import PlantMeter, PlantSettings

PORT = typer.Option(8080, "--port", help=say("页面端口", "Port of the page."), min=1, max=65535)
FOR = typer.Option(None, "--for", help=say("运行多少秒后停止", "Stop after so many seconds."), min=1)
DATA = typer.Option(Path("demo-data"), "--data", help=say("演示的数据目录", "Where the demo keeps its data."))
PLANT = typer.Argument(
    ..., help=say("工厂文件，例如 config/demo/plant.yaml", "The plant, such as config/demo/plant.yaml.")
)
PLANT_DATA = typer.Option(
    Path("plant-data"),
    "--data",
    help=say("模拟工厂的串口和状态所在目录", "Where the plant keeps its serial lines and its state."),
)


def attach(app: typer.Typer) -> None:
    app.command(
        "demo",
        help=say(
            "在本机运行整个系统：模拟工厂、消息代理、采集端、中心端、页面", "Run the whole system on this machine."
        ),
    )(demo)
    app.command("simulate", help=say("只运行模拟工厂", "Run a simulated plant alone."))(simulate)
    app.command("demo-broker", hidden=True)(broker)


def demo(port: int = PORT, seconds: float | None = FOR, data: Path = DATA) -> None:
    import asyncio

    from tanbiao.demo import Demo

    raise typer.Exit(asyncio.run(Demo(data.absolute(), port).run(seconds)))


def simulate(plant: Path = PLANT, data: Path = PLANT_DATA) -> None:
    import asyncio

    from settings.plant import read_plant
    from tanbiao.service import alone, until_told

    settings, folder = read_plant(plant), data.absolute()
    with alone(folder, "plant.lock", Text("另一个模拟工厂正在使用", "another simulated plant runs on it")):
        asyncio.run(until_told(lambda stop: _simulate(settings, folder, stop)))


async def _simulate(settings: "PlantSettings", data: Path, stop: "asyncio.Event") -> None:
    import asyncio

    from simulators.app import run

    async with asyncio.TaskGroup() as tasks:
        telling = tasks.create_task(_tell_where(settings, data))
        try:
            await run(settings, data, stop)
        finally:
            telling.cancel()


async def _tell_where(settings: "PlantSettings", data: Path) -> None:
    """Print where each line of the plant listens, once all of them do."""
    import asyncio

    while True:
        lines = _listening(data)
        if lines:
            break
        await asyncio.sleep(0.05)
    for name, line in lines.items():
        print(f"{name}: {settings.lines[name].protocol}, {', '.join(line.values())}")
        for meter, of in settings.meters.items():
            if of.line == name:
                print(f"  {meter}: {_who(of, settings.lines[name].protocol)}")
    print(say("Ctrl-C 停止", "Ctrl-C stops"), flush=True)


def _who(meter: "PlantMeter", protocol: str) -> str:
    """Return what a simulated meter is, and its address."""
    edition = f" ({meter.variant})" if meter.variant else ""
    address = f", number {meter.number}" if meter.number else _unit(meter, protocol)
    return f"{meter.profile or meter.model}{edition}{address}"


def _unit(meter: "PlantMeter", protocol: str) -> str:
    """Return a meter's address by its unit: nothing where the protocol has none."""
    if protocol.startswith("modbus"):
        return f", unit {meter.unit}"
    return (
        f", primary {meter.unit}" if protocol == "mbus" else "" if protocol == "opcua" else f", number {meter.digits}"
    )


def _listening(data: Path) -> dict[str, dict[str, str]]:
    """Return where the lines of this process listen; nothing while they do not."""
    import json

    from simulators.app import FILE

    where: dict[str, Any] = json.loads((data / FILE).read_text()) if (data / FILE).exists() else {"pid": 0}
    return dict(where["lines"]) if where["pid"] == os.getpid() else {}


def broker(port: int) -> None:
    import asyncio

    from tanbiao.broker import run
    from tanbiao.service import until_told

    asyncio.run(until_told(lambda stop: run(port, stop)))
