"""How many QoS 1 publishes a second our connection makes, against paho alone with the same window on the same mosquitto.

Windows: 8, as the agent's publisher sends, and 500, the most a connection allows.
"""

import asyncio
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from bench.alternate import Missing, Row, Size, alternate, seconds
from bench.batches import batch
from link.real_world import RealWorld
from link.world import Broker, BrokerAddress, Connected, Will
from metering.wire import encode, pack

PUBLISHES = 2000
WINDOWS = (8, 500)
TOPIC = "tanbiao/v1/demo/bench/data"


def measure(size: Size, folder: Path) -> Iterator[Row | Missing]:
    program = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        yield Missing("MQTT, QoS 1", "mosquitto is missing: apt-get install mosquitto")
        return
    with _mosquitto(program, folder) as port, asyncio.Runner() as runner:
        stack = AsyncExitStack()
        broker = runner.run(_connected(stack, port))
        bare = _Bare(port)
        for window in WINDOWS:
            yield _measure(size, runner, broker, bare, window)
        bare.client.disconnect()
        runner.run(stack.aclose())


def _measure(size: Size, runner: asyncio.Runner, broker: Broker, bare: "_Bare", window: int) -> Row:
    count, payload = size.of(PUBLISHES), pack(encode(batch(20)))
    found = alternate(
        {
            "ours": lambda: count / seconds(lambda: runner.run(_publish(broker, payload, count, window))),
            "bare": lambda: count / seconds(lambda: bare.publish(payload, count, window)),
        },
        size.rounds,
    )
    name = f"MQTT, {window} on their way"
    return Row(name, "publishes/s", found["ours"], found["bare"], f"paho alone, {len(payload)} bytes, mosquitto")


async def _connected(stack: AsyncExitStack, port: int) -> Broker:
    address = BrokerAddress(f"mqtt://127.0.0.1:{port}", "bench")
    broker = await stack.enter_async_context(RealWorld().broker(address, (), Will("tanbiao/v1/demo/bench/status", b"")))
    async with asyncio.timeout(10):
        async for event in broker.events():
            if isinstance(event, Connected):
                return broker
    raise AssertionError("not connected")


async def _publish(broker: Broker, payload: bytes, count: int, window: int) -> None:
    left = iter(range(count))

    async def send() -> None:
        for _ in left:
            if not await broker.publish(TOPIC, payload):
                raise AssertionError("the connection ended")

    async with asyncio.TaskGroup() as tasks:
        for _ in range(window):
            tasks.create_task(send())


class _Bare:
    """paho in one thread: each acknowledgement sends the next message."""

    def __init__(self, port: int) -> None:
        self.client = Client(CallbackAPIVersion.VERSION2, client_id="bare")
        self.client.max_inflight_messages_set(0)
        self.client.on_publish = lambda *_: self._acknowledged()
        self.client.connect("127.0.0.1", port)
        while not self.client.is_connected():
            self.client.loop(0.1)
        connection = self.client.socket()
        assert isinstance(connection, socket.socket)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._payload = b""
        self._unsent = self._waiting = 0

    def _acknowledged(self) -> None:
        self._waiting -= 1
        if self._unsent:
            self._send()

    def _send(self) -> None:
        self._unsent -= 1
        self._waiting += 1
        self.client.publish(TOPIC, self._payload, qos=1)

    def publish(self, payload: bytes, count: int, window: int) -> None:
        self._payload, self._unsent = payload, count
        for _ in range(min(window, count)):
            self._send()
        while self._waiting:
            if self.client.loop(1.0):
                raise AssertionError("the connection ended")


@contextmanager
def _mosquitto(program: str, folder: Path) -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    settings = folder / "mosquitto.conf"
    settings.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\nuser root\nlog_dest none\n"
    )
    with subprocess.Popen(
        [program, "-c", str(settings)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            _wait_for(port)
            yield port
        finally:
            process.terminate()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError("mosquitto did not start")
