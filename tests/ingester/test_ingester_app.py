"""The ingester as a whole, on real stores and a real control socket, with a pipe for a broker."""

import asyncio
import contextlib
import json
import time

import pytest

from ingester import app
from ingester.services import asking, control_socket
from ingester.store.duckdb_series import DuckdbSeries
from link import control
from link.world import Disconnected, Message
from metering.errors import LineBusy, SettingsFaults, StoreBusy
from metering.wire import AgentStatus, IngesterStatus, Receipt, decode_as, encode
from settings.ingester import load_ingester

STREAM = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"
RECEIPTS = "tanbiao/v1/demo/agent-a/receipt"
STATUS = "tanbiao/v1/demo/_ingester/status"


class Running:
    """An ingester that runs while inside."""

    def __init__(self, site, world, serve_page=None) -> None:
        self.settings, self.document = load_ingester(site, {})
        self.world, self.pipe = world, world.pipe
        self.stop = asyncio.Event()
        self.said: list[str] = []
        self.progressed = 0
        self.serve_page = serve_page

    def ready(self) -> None:
        self.said.append("ready")

    def stopping(self) -> None:
        self.said.append("stopping")

    def status(self, line: str) -> None:
        self.said.append(line)

    def progress(self) -> None:
        self.progressed += 1

    async def __aenter__(self):
        running = app.run(
            self.settings, self.document, self.world, self.stop, self, self.progress, serve_page=self.serve_page
        )
        self.task = asyncio.create_task(running)
        await self.until(lambda: self.said or self.task.done())
        return self

    async def __aexit__(self, *_):
        self.stop.set()
        began = time.monotonic()
        await self.task
        self.stopped_in_s = time.monotonic() - began

    async def until(self, true, seconds: float = 10) -> None:
        deadline = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < deadline, "waited too long"
            await asyncio.sleep(0.02)

    def published(self, topic: str) -> list[bytes]:
        return [message.payload for message in self.pipe.published if message.topic == topic]

    async def ask(self, call, **args):
        return await asyncio.to_thread(control.ask, control_socket(self.settings), call, args)


async def test_a_batch_becomes_a_receipt_a_snapshot_and_an_alert_and_the_stop_is_clean(site, world, pipe, arrived):
    now = world.now_ms()
    rows = [(now - 300_000 + i * 1000 - 1_763_884_800_000, "gas-main/volume", 100 + i * 0.2, 0) for i in range(300)]
    async with Running(site, world) as running:
        pipe.put(arrived(1, rows, unit="m3"))
        await running.until(lambda: running.published(RECEIPTS))
        assert decode_as(Receipt, running.published(RECEIPTS)[0]) == Receipt(stream=STREAM, through=1)
        await running.until(lambda: running.published("tanbiao/v1/demo/alerts"))
        event = json.loads(running.published("tanbiao/v1/demo/alerts")[0])
        assert (event["type"], event["subject"]) == ("tanbiao.alert.raised", "gas-main")
        assert float(event["data"]["values"]["rate"]) == pytest.approx(720)
        (alert,) = (await running.ask("alerts", active=True))["rows"]
        assert alert["id"] == event["data"]["id"]
    assert running.stopped_in_s < 5
    assert running.said[0] == "ready"
    assert running.said[-1] == "stopping"
    assert running.progressed > 0
    assert not control_socket(running.settings).exists()
    DuckdbSeries(running.settings.store.series).close()


async def test_the_status_is_retained_with_a_new_epoch_each_run_and_says_goodbye(site, world, pipe):
    epochs = []
    for _ in range(2):
        pipe.published.clear()
        async with Running(site, world) as running:
            await running.until(lambda: running.published(STATUS))
        statuses = [decode_as(IngesterStatus, payload) for payload in running.published(STATUS)]
        assert [status.online for status in statuses] == [True] * (len(statuses) - 1) + [False]
        assert all(message.retained for message in pipe.published if message.topic == STATUS)
        assert decode_as(IngesterStatus, world.will.payload).online is False
        assert world.will.topic == STATUS
        epochs.append(statuses[0].epoch)
    assert epochs[0] != epochs[1]


async def test_what_agents_say_of_themselves_is_kept(site, world, pipe):
    status = AgentStatus(online=True, agent="agent-a", version="1", at=5)
    async with Running(site, world) as running:
        for topic, payload in (
            ("tanbiao/v1/demo/agent-a/status", encode(status)),
            ("tanbiao/v1/demo/agent-b/status", encode(status)),
            ("tanbiao/v1/demo/agent-c/status", b"{}"),
            (STATUS, b"{}"),
        ):
            pipe.arriving.put_nowait(Message(topic, payload, retained=True))
        while not (await running.ask("status"))["agents"]:
            await asyncio.sleep(0.02)
        assert (await running.ask("status"))["agents"] == {"agent-a": {"online": True, "at": 5}}


async def test_f53_readings_from_the_future_raise_one_alert_of_their_agent(site, world, pipe, arrived):
    ahead = world.now_ms() + 600_000 - 1_763_884_800_000
    async with Running(site, world) as running:
        pipe.put(arrived(1, [(ahead, "gas-main/volume", 1.0, 0)], unit="m3"))
        await running.until(lambda: running.published("tanbiao/v1/demo/alerts"))
        (event,) = map(json.loads, running.published("tanbiao/v1/demo/alerts"))
        assert (event["type"], event["subject"]) == ("tanbiao.alert.raised", "agent-a")
        (alert,) = (await running.ask("alerts", active=True))["rows"]
        assert alert["code"] == "strange_times"
        assert (await running.ask("status"))["receiving"]["strange_times_readings"] == 1


async def test_a_status_of_an_agent_that_holds_what_the_store_lacks_is_answered_with_a_request(site, world, pipe):
    status = AgentStatus(online=True, agent="agent-a", version="1", at=5, delivered={STREAM: [(3, 9)]})
    async with Running(site, world) as running:
        pipe.arriving.put_nowait(Message("tanbiao/v1/demo/agent-a/status", encode(status), retained=True))
        await running.until(lambda: running.published(RECEIPTS))
        assert decode_as(Receipt, running.published(RECEIPTS)[0]) == Receipt(stream=STREAM, through=0, resend=[(3, 9)])


async def test_a_command_gets_the_same_answer_with_and_without_the_service(site, world, pipe, arrived):
    begin = (world.now_ms() - 600_000) // 60_000 * 60_000
    rows = [(begin + i * 10_000 - 1_763_884_800_000, "gas-main/volume", 100 + i * 0.25, 0) for i in range(40)]
    question = {"from": begin, "to": begin + 300_000, "by": "interval"}

    def answers(running):
        with asking(running.settings, running.document, world.now_ms) as ask:
            ask("derive", {})
            report = ask("report", question)
            return (
                {**report, "as_of": ""},
                ask("calibration_due", {}),
                ask("trace", {"source": "boiler-1", "at": begin}),
            )

    async with Running(site, world) as running:
        pipe.put(arrived(1, rows, unit="m3"))
        await running.until(lambda: running.published(RECEIPTS))
        beside = await asyncio.to_thread(answers, running)
    assert [row["activity"]["value"] for row in beside[0]["rows"] if row["source"] == "boiler-1"] == ["1.5"] * 5
    assert await asyncio.to_thread(answers, running) == beside


async def test_f58_a_second_ingester_is_refused(site, world):
    async with Running(site, world) as running:
        with pytest.raises((StoreBusy, LineBusy)):
            await app.run(running.settings, running.document, world, asyncio.Event())


async def test_without_a_broker_in_the_settings_nothing_starts(site, world):
    site.write_text(site.read_text().replace('mqtt: {url: "mqtt://127.0.0.1:1883"}\n', ""))
    settings, document = load_ingester(site, {})
    with pytest.raises(SettingsFaults, match="mqtt"):
        await app.run(settings, document, world, asyncio.Event())
    assert not settings.store.series.exists()


async def test_the_page_is_served_from_the_running_centre(site, world):
    served = []

    @contextlib.asynccontextmanager
    async def serve_page(source, tasks):
        served.append(source)
        yield "http://127.0.0.1:0"

    async with Running(site, world, serve_page) as running:
        (source,) = served
        await running.until(source.snapshot)
        now = world.now_ms()
        assert source.snapshot().site == "demo"
        minute = now // 60_000 * 60_000
        report = await source.report(minute, minute + 60_000, "hour", None, None, True)
        assert [row["source"] for row in report["rows"]] == ["boiler-1", "dryer"]
        assert list(await source.alerts(None)) == []
        assert list(await source.readings("gas-main/volume", 0, now, 10)) == []


async def test_a_page_that_cannot_be_served_is_one_clear_error(site, world):
    @contextlib.asynccontextmanager
    async def serve_page(source, tasks):
        raise LineBusy(name="127.0.0.1:8080", reason="in use")
        yield ""

    settings, document = load_ingester(site, {})
    with pytest.raises(LineBusy, match="8080"):
        await app.run(settings, document, world, asyncio.Event(), serve_page=serve_page)


async def test_an_unreachable_broker_is_said_once(site, world, pipe, caplog):
    async with Running(site, world) as running:
        for reason in ("refused", "refused", "refused", "timed out"):
            pipe.arriving.put_nowait(Disconnected(reason))
        await running.until(pipe.arriving.empty)
        await asyncio.sleep(0.05)
    said = [record.getMessage() for record in caplog.records if "not connected" in record.getMessage()]
    assert said == ["not connected to the broker: refused", "not connected to the broker: timed out"]


async def test_a_figure_that_cannot_be_derived_is_said_once_and_tried_again(world, caplog):
    outcomes = iter([ValueError("a"), ValueError("a"), None, ValueError("a"), KeyError("b")])
    tries = []

    async def derive():
        tries.append(1)
        outcome = next(outcomes, None)
        if outcome is not None:
            raise outcome

    running = asyncio.create_task(app.every(world, 0.001, derive))
    while len(tries) < 8:
        await asyncio.sleep(0.005)
    running.cancel()
    assert len([record for record in caplog.records if "derive failed" in record.getMessage()]) == 3
