"""`tanbiao agent …`: what a technician does with the agent."""

import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from tanbiao.speech import print_json, say, tell

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from agent.commands import Outcome
    from agent.trust import Offer
    from metering.text import Text

agent = typer.Typer(
    no_args_is_help=True, help=say("采集端", "The agent on site: polls meters, keeps and sends readings.")
)
CONFIG = typer.Option(Path("agent.yaml"), "--config", "-c", help=say("配置文件", "Settings file."))
JSON = typer.Option(False, "--json", help=say("输出 JSON", "Print JSON."))


def attach(app: typer.Typer) -> None:
    app.add_typer(agent, name="agent")


def _print(outcome: "Outcome", as_json: bool) -> None:
    if as_json:
        print_json(outcome.data)
    else:
        print(tell(outcome.text))
    raise typer.Exit(0 if outcome.fine else 1)


@agent.command(help=say("检查配置，不接触网络", "Check the settings; touch no network."))
def check(config: Path = CONFIG, json: bool = JSON) -> None:
    from agent import commands

    _print(commands.check(config, os.environ), json)


@agent.command(
    help=say(
        "显示每条线路将发出的请求和预计的轮询时间", "Print the planned requests and each line's predicted cycle time."
    )
)
def plan(config: Path = CONFIG, json: bool = JSON) -> None:
    from agent import commands

    _print(commands.plan(config, os.environ), json)


@agent.command(help=say("显示正在运行的采集端的状态", "Show how the running agent is."))
def status(config: Path = CONFIG, json: bool = JSON) -> None:
    from agent import commands

    _print(commands.status(config, os.environ), json)


@agent.command(help=say("运行采集端，直到 Ctrl-C 或 SIGTERM", "Run the agent until Ctrl-C or SIGTERM."))
def run(
    config: Path = CONFIG,
    dry_run: bool = typer.Option(
        False,
        "--dry-run",
        help=say("只读表并显示读数，不保存也不发送", "Poll and show readings; keep and send nothing."),
    ),
) -> None:
    import asyncio

    from agent import commands
    from link.real_world import RealWorld
    from tanbiao.service import until_told

    async def serve(stop: asyncio.Event) -> None:
        if dry_run:
            logging.getLogger("agent.polled").setLevel(logging.ERROR)  # what it tells, stands among the readings
            await commands.dry_run(config, os.environ, RealWorld(), stop, _printer(stop))
        else:
            await commands.run(config, os.environ, RealWorld(), stop)

    asyncio.run(until_told(serve))


def _printer(stop: "asyncio.Event") -> "Callable[[Text], None]":
    """Return what prints texts, and stops quietly once their reader has left: that is no fault of a meter."""

    def show(text: "Text") -> None:
        try:
            print(tell(text), flush=True)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            stop.set()

    return show


@agent.command(
    help=say(
        "显示 OPC UA 线路的服务器证书，确认后信任它",
        "Show the certificate of an OPC UA line's server, and trust it once confirmed.",
    )
)
def trust(
    line: str,
    config: Path = CONFIG,
    yes: bool = typer.Option(False, "--yes", help=say("不询问，直接信任", "Trust it without asking.")),
    json: bool = JSON,
) -> None:
    import asyncio

    from agent.trust import offer
    from link.real_world import RealWorld

    async def ask() -> "Offer":
        return await offer(config, os.environ, line, RealWorld())

    found = asyncio.run(ask())
    if json:
        print_json(found.data)
    else:
        print(tell(found.text))
    if not found.known and (yes or (not json and typer.confirm(say("信任这张证书？", "Trust this certificate?")))):
        path = found.accept()
        if not json:
            print(say("已信任：{path}", "trusted: {path}", path=path))
        return
    if not found.known and not json:
        print(say("没有信任", "not trusted"))
    raise typer.Exit(0 if found.known else 1)
