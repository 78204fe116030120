"""`tanbiao demo` and `tanbiao simulate`: the whole system on one machine, and the simulated plant alone."""

from pathlib import Path

import typer

from tanbiao.speech import say

PORT = typer.Option(8080, "--port", help=say("页面端口", "Port of the page."), min=1, max=65535)
FOR = typer.Option(None, "--for", help=say("运行多少秒后停止", "Stop after so many seconds."), min=1)
DATA = typer.Option(Path("demo-data"), "--data", help=say("数据目录", "Where the demo keeps its data."))


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


def simulate(plant: Path, data: Path = DATA) -> None:
    import asyncio

    from settings.plant import read_plant
    from simulators.app import run
    from tanbiao.service import until_told

    settings = read_plant(plant)
    asyncio.run(until_told(lambda stop: run(settings, data.absolute(), stop)))


def broker(port: int) -> None:
    import asyncio

    from tanbiao.broker import run
    from tanbiao.service import until_told

    asyncio.run(until_told(lambda stop: run(port, stop)))
