"""This agent as a peer of the side-by-side bench of edge agents: `bench.py w1 PATH/bench/w1.py -n 200`.

`prepare` writes the configuration and returns the command, `decode` reads a batch, `helpers` stands in for an ingester:
without receipts the agent would send everything again, as it should.
"""

import json
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from metering.wire import decode_batch, unpack  # noqa: E402

SHORTEST_MS = 100
"""The shortest interval the agent takes."""
COMMIT_S = 0.1
"""The ingester's group commit; receipts come that late."""
DATA = "tanbiao/v1/bench/edge/data"


def prepare(ctx: Any) -> list[dict[str, Any]]:
    points = {
        f"c{channel}": {"address": 2 * channel, "unit": "kWh", "role": "gauge"} for channel in range(ctx.channels)
    }
    profile = {
        "vendor": "bench", "model": "plantsim", "kind": "electricity", "protocol": "modbus",
        "defaults": {"fc": 3, "type": "f32"}, "points": points, "source": {"title": "plantsim.c"},
        "status": "unverified",
    }  # fmt: skip
    ctx.write("plantsim.yaml", profile)
    interval = f"{max(SHORTEST_MS, round(ctx.interval))} ms"
    settings = {
        "agent": {"id": "edge", "site": "bench"},
        "mqtt": {"url": f"mqtt://127.0.0.1:{ctx.mqtt_port}"},
        "outbox": {"path": "data/outbox.db"},
        "lines": {f"l{at}": {"driver": "modbus", "tcp": f"{host}:{port}"} for at, host, port in ctx.devices()},
        "meters": {
            f"d{at}": {"line": f"l{at}", "profile": "plantsim.yaml", "interval": interval, "unit": 1}
            for at, _, _ in ctx.devices()
        },
    }
    path = ctx.write("agent.yaml", settings)
    return [{"cmd": [str(Path(sys.executable).with_name("tanbiao")), "agent", "run", "--config", path]}]


def helpers(ctx: Any) -> list[dict[str, Any]]:
    return [{"cmd": [sys.executable, __file__, str(ctx.mqtt_port)]}]


def ignore(topic: str) -> bool:
    return topic != DATA


def decode(topic: str, payload: bytes) -> Iterator[tuple[int, int, float]]:
    batch = decode_batch(unpack(payload))
    names = [point.partition("/") for point, _ in batch.points]
    places = [(int(meter[1:]), int(channel[1:])) for meter, _, channel in names]
    for point, value in zip(batch.p, batch.x, strict=True):
        if value is not None:
            yield *places[point], float(value)


def give_receipts(port: int) -> None:
    """Be an ingester that commits at once whatever comes, and says so."""
    from paho.mqtt.client import Client, MQTTMessage
    from paho.mqtt.enums import CallbackAPIVersion

    seen: dict[str, list[int]] = {}
    lock = threading.Lock()

    def note(client: Client, given: object, message: MQTTMessage) -> None:
        batch = decode_batch(unpack(message.payload))
        with lock:
            seen.setdefault(batch.stream, []).append(batch.seq)

    def begin(client: Client, *_: object) -> None:
        client.subscribe(DATA, qos=1)
        status = {"ingester": "stub", "epoch": str(uuid.uuid4()), "since": 0, "heartbeat": 0}
        client.publish("tanbiao/v1/bench/_ingester/status", json.dumps(status), qos=1, retain=True)

    client = Client(CallbackAPIVersion.VERSION2)
    client.on_message, client.on_connect = note, begin
    client.connect("127.0.0.1", port)
    client.loop_start()
    while not threading.Event().wait(COMMIT_S):
        with lock:
            receipts = list(seen.items())
            seen.clear()
        for stream, numbers in receipts:
            receipt = {"stream": stream, "through": 0, "also": numbers}
            client.publish("tanbiao/v1/bench/edge/receipt", json.dumps(receipt), qos=1)


if __name__ == "__main__":
    give_receipts(int(sys.argv[1]))
