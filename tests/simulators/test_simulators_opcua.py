"""The OPC UA server, read by asyncua's client."""

import asyncio
import datetime as dt
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from asyncua import Client, ua

from settings.plant import PlantSettings
from simulators.meters import build_meters

Simulated = Callable[[PlantSettings], AbstractAsyncContextManager[Any]]
MakePlant = Callable[..., PlantSettings]
MASS, TONNES = "ns=2;s=OilFlow.MassTotal", "ns=2;s=Production.Tonnes"


async def held(client: Client, node: str) -> ua.DataValue:
    return await client.get_node(node).read_data_value(raise_on_bad_status=False)


async def until(client: Client, node: str, wanted: Callable[[ua.DataValue], bool]) -> ua.DataValue:
    async with asyncio.timeout(6):
        while not wanted(value := await held(client, node)):
            await asyncio.sleep(0.1)
    return value


async def test_the_server_holds_the_values_of_a_second_with_their_time(
    simulated: Simulated, make_plant: MakePlant
) -> None:
    settings = make_plant("oil-burner", "line-1")
    async with simulated(settings) as plant, Client(plant.lines["plc-1"]["url"]) as client:
        mass, tonnes = await held(client, MASS), await held(client, TONNES)
        later = await until(client, MASS, lambda value: bool(value.SourceTimestamp > mass.SourceTimestamp))
        density = await held(client, "ns=2;s=OilFlow.Density")
        assert later.Value.Value >= mass.Value.Value
        assert 500 < density.Value.Value < 1200
        assert mass.Value.VariantType == ua.VariantType.Double
    age = dt.datetime.now(dt.UTC) - mass.SourceTimestamp.replace(tzinfo=dt.UTC)
    assert dt.timedelta() <= age < dt.timedelta(seconds=10)
    meters = build_meters(settings)
    served = plant.served()
    assert [line["meter"] for line in served[:2]] == ["oil-burner", "line-1"]
    assert [line["value"] for line in served[:2]] == [mass.Value.Value, tonnes.Value.Value]
    for line in served:
        assert meters[line["meter"]].steps(line["point"], line["t"]) == line["raw"], "history would say the same"


async def test_a_subscription_brings_changes(simulated: Simulated, make_plant: MakePlant) -> None:
    seen: list[float] = []

    class Ear:
        def datachange_notification(self, _node: object, value: float, _data: object) -> None:
            seen.append(value)

    async with simulated(make_plant("oil-burner")) as plant, Client(plant.lines["plc-1"]["url"]) as client:
        subscription = await client.create_subscription(100, Ear())
        await subscription.subscribe_data_change(client.get_node(MASS))
        async with asyncio.timeout(6):
            while len(seen) < 2:
                await asyncio.sleep(0.05)
        await subscription.delete()
    assert seen == sorted(seen)


async def test_nobody_can_write(simulated: Simulated, make_plant: MakePlant) -> None:
    async with simulated(make_plant("oil-burner")) as plant, Client(plant.lines["plc-1"]["url"]) as client:
        with pytest.raises(ua.UaStatusCodeError):
            await client.get_node(MASS).write_value(0.0, ua.VariantType.Double)


async def test_faults_show_as_status_and_time(simulated: Simulated, make_plant: MakePlant) -> None:
    async with simulated(make_plant("oil-burner")) as plant, Client(plant.lines["plc-1"]["url"]) as client:
        await plant.ask(fault="silence", meter="oil-burner")
        await plant.ask(fault="late", meter="oil-burner", delay=20)
        late = await until(client, MASS, lambda value: value.StatusCode.name == "BadNoCommunication")
        await plant.ask(clear="oil-burner")
        await plant.ask(fault="checksum", meter="oil-burner")
        await until(client, MASS, lambda value: value.StatusCode.name == "BadCommunicationError")
    assert late.ServerTimestamp - late.SourceTimestamp == dt.timedelta(seconds=20)
    assert {line.get("fault") for line in plant.served()} >= {"BadNoCommunication", "BadCommunicationError"}
