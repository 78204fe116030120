"""The OPC UA server, read by asyncua's client. One server serves all tests here."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from asyncua import Client, ua

from settings.plant import PlantSettings
from simulators.meters import build_meters

StartPlant = Callable[[PlantSettings, Path], AbstractAsyncContextManager[Any]]
MakePlant = Callable[..., PlantSettings]
MASS, TONNES = "ns=2;s=OilFlow.MassTotal", "ns=2;s=Production.Tonnes"

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plant(
    start_plant: StartPlant, make_plant: MakePlant, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Any]:
    async with start_plant(make_plant("oil-burner", "line-1"), tmp_path_factory.mktemp("opcua")) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(plant: Any) -> AsyncIterator[Client]:
    async with Client(plant.lines["plc-1"]["url"]) as connected:
        yield connected


async def held(client: Client, node: str) -> ua.DataValue:
    return await client.get_node(node).read_data_value(raise_on_bad_status=False)


async def until(client: Client, node: str, wanted: Callable[[ua.DataValue], bool]) -> ua.DataValue:
    async with asyncio.timeout(6):
        while not wanted(value := await held(client, node)):
            await asyncio.sleep(0.05)
    return value


async def served_until(plant: Any, wanted: set[str]) -> list[dict[str, Any]]:
    """Return the good lines of the served log once it holds the points wanted; it is flushed twice a second."""
    async with asyncio.timeout(6):
        while not wanted <= {line["point"] for line in plant.served()}:
            await asyncio.sleep(0.05)
    return [line for line in plant.served() if "fault" not in line]


async def test_values_are_doubles_of_this_second(client: Client) -> None:
    mass = await held(client, MASS)
    density = await held(client, "ns=2;s=OilFlow.Density")
    age = dt.datetime.now(dt.UTC) - mass.SourceTimestamp.replace(tzinfo=dt.UTC)
    assert mass.Value.VariantType == ua.VariantType.Double
    assert mass.StatusCode.is_good()
    assert dt.timedelta() <= age < dt.timedelta(seconds=5)
    assert 500 < density.Value.Value < 1200
    later = await until(client, MASS, lambda value: bool(value.SourceTimestamp > mass.SourceTimestamp))
    assert later.Value.Value >= mass.Value.Value


async def test_what_is_served_is_what_history_says(plant: Any, client: Client, make_plant: MakePlant) -> None:
    tonnes, mass = await held(client, TONNES), await held(client, MASS)
    meters = build_meters(make_plant("oil-burner", "line-1"))
    lines = await served_until(plant, {"tonnes", "mass"})
    assert {tonnes.Value.Value, mass.Value.Value} <= {line["value"] for line in lines}
    for line in lines:
        assert meters[line["meter"]].steps(line["point"], line["t"]) == line["raw"]


async def test_a_subscription_brings_changes(client: Client) -> None:
    seen: list[float] = []

    class Ear:
        def datachange_notification(self, _node: object, value: float, _data: object) -> None:
            seen.append(value)

    subscription = await client.create_subscription(100, Ear())
    await subscription.subscribe_data_change(client.get_node(MASS))
    async with asyncio.timeout(6):
        while len(seen) < 2:
            await asyncio.sleep(0.05)
    await subscription.delete()
    assert seen == sorted(seen)


async def test_nobody_can_write(client: Client) -> None:
    with pytest.raises(ua.UaStatusCodeError):
        await client.get_node(MASS).write_value(0.0, ua.VariantType.Double)


async def test_faults_show_as_status_and_time(plant: Any, client: Client) -> None:
    await plant.ask(fault="silence", meter="oil-burner")
    await plant.ask(fault="late", meter="oil-burner", delay=20)
    late = await until(client, MASS, lambda value: value.StatusCode.name == "BadNoCommunication")
    await plant.ask(clear="oil-burner")
    await plant.ask(fault="checksum", meter="oil-burner")
    await until(client, MASS, lambda value: value.StatusCode.name == "BadCommunicationError")
    await plant.ask(clear="oil-burner")
    assert late.ServerTimestamp - late.SourceTimestamp == dt.timedelta(seconds=20)
    assert (await held(client, TONNES)).StatusCode.is_good()


async def test_f30_faults_of_status_and_source_time_are_served(plant: Any, client: Client) -> None:
    await plant.ask(fault="uncertain", meter="oil-burner")
    assert (
        await until(client, MASS, lambda value: value.StatusCode.name == "UncertainLastUsableValue")
    ).Value.Value > 0
    await plant.ask(clear="oil-burner")
    await plant.ask(fault="future", meter="oil-burner")
    ahead = await until(client, MASS, lambda value: bool(value.SourceTimestamp > value.ServerTimestamp))
    assert ahead.SourceTimestamp - ahead.ServerTimestamp == dt.timedelta(hours=1)
    await plant.ask(clear="oil-burner")
    await plant.ask(fault="unstamped", meter="oil-burner")
    await until(client, MASS, lambda value: value.SourceTimestamp is None)
    await plant.ask(clear="oil-burner")
    await until(client, MASS, lambda value: value.SourceTimestamp is not None and value.StatusCode.is_good())


async def test_history_is_what_the_meters_showed(client: Client, make_plant: MakePlant) -> None:
    end = dt.datetime.now(dt.UTC).replace(microsecond=0)
    values = await client.get_node(MASS).read_raw_history(end - dt.timedelta(minutes=20), end)
    meter = build_meters(make_plant("oil-burner", "line-1"))["oil-burner"]
    assert len(values) == 1201  # more than the server gives at once
    for held in values[::300]:
        ms = round(held.SourceTimestamp.replace(tzinfo=dt.UTC).timestamp() * 1000)
        assert held.Value.Value == meter.read("mass", meter.steps("mass", ms))


async def test_f29_a_refused_line_is_a_server_that_restarts(
    start_plant: StartPlant, make_plant: MakePlant, tmp_path: Path
) -> None:
    async with start_plant(make_plant("oil-burner"), tmp_path) as plant:
        url = plant.lines["plc-1"]["url"]
        await plant.ask(fault="refuse", meter="oil-burner", **{"for": 2})
        async with asyncio.timeout(10):
            down = False
            while True:
                try:
                    async with Client(url, timeout=1) as client:
                        if down:
                            assert (await held(client, MASS)).StatusCode.is_good()
                            break
                except (OSError, TimeoutError, ua.UaError):
                    down = True
                await asyncio.sleep(0.1)


async def test_a_secured_server_has_its_user_and_keeps_its_certificate(
    start_plant: StartPlant, make_plant: MakePlant, tmp_path: Path
) -> None:
    settings = make_plant("oil-burner")
    line = settings.lines["plc-1"].model_copy(update={"secured": True, "user": "reader", "password": "secret"})
    settings = settings.model_copy(update={"lines": {**settings.lines, "plc-1": line}})
    certificates = []
    for _ in range(2):
        async with start_plant(settings, tmp_path) as plant:
            url, certificate = plant.lines["plc-1"]["url"], Path(plant.lines["plc-1"]["certificate"])
            certificates.append(certificate.read_bytes())
            client = Client(url)
            found = await client.connect_and_get_server_endpoints()
    assert certificates[0] == certificates[1]
    assert {endpoint.SecurityPolicyUri.split("#")[1] for endpoint in found} == {
        "None", "Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss"
    }  # fmt: skip
    assert {endpoint.ServerCertificate for endpoint in found if endpoint.SecurityMode > 1} == {certificates[0]}
    assert {token.TokenType for endpoint in found for token in endpoint.UserIdentityTokens} == {
        ua.UserTokenType.UserName
    }
