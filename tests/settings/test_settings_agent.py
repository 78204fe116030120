from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metering.errors import SettingsFaults
from metering.profile import Profile
from settings.agent import MeterSection, load_agent
from settings.origin import SECTIONS, origins
from settings.profiles import list_profiles, load_profile

Write = Callable[..., Path]
Said = Callable[[Callable[[], object]], list[str]]


def test_an_agent_file_becomes_typed_settings(write: Write, agent_text: str, tmp_path: Path) -> None:
    loaded, document = load_agent(write(agent_text), {})
    assert loaded.agent.id == "workshop-1"
    assert loaded.meters["gas-main"].interval == 10.0
    assert loaded.meters["gas-main"].address == {"unit": 3}
    assert loaded.lines["rs485-1"].model_extra == {"serial": "/dev/ttyUSB0"}
    assert loaded.outbox.path == tmp_path / "data/outbox.db"
    assert loaded.outbox.max_size == 10**9
    assert document.place(("meters", "gas-main", "unit")) == "agent.yaml:13:11"


def test_a_meter_on_an_unknown_line_is_named_with_the_nearest_one(write: Write, said: Said, agent_text: str) -> None:
    file = write(agent_text.replace("line: rs485-1", "line: rs485-l"))
    assert said(lambda: load_agent(file, {})) == [
        "agent.yaml:12:11: meter gas-main hangs on the line rs485-l, which is not defined. Did you mean rs485-1?",
        "agent.yaml:12:11: 仪表 gas-main 所在的线路 rs485-l 未定义。是不是 rs485-1？",
    ]


def test_a_meter_on_a_line_like_no_other_is_told_which_lines_there_are(
    write: Write, said: Said, agent_text: str
) -> None:
    file = write(agent_text.replace("line: rs485-1", "line: north"))
    assert said(lambda: load_agent(file, {}))[0].endswith("Defined lines: rs485-1")


def test_a_wrong_key_is_answered_with_the_right_one(write: Write, said: Said, agent_text: str) -> None:
    file = write(agent_text.replace("  site: demo", "  siet: demo"))
    assert said(lambda: load_agent(file, {})) == [
        "agent.yaml:3:3: unknown key agent.siet. Did you mean site?",
        "agent.yaml:3:3: 未知的键 agent.siet。是不是 site？",
    ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("profile: m1.yaml", "profile: m2.yaml", "m2.yaml: there is no such file. Check the path"),
        ("profile: m1.yaml", "profile: eastron/sdm63", "eastron/sdm63: there is no such meter profile. Did you mean eastr"),
        ("driver: modbus", "driver: opcua", "speaks modbus, while the line rs485-1 is driven by opcua. Choose another"),
        ("driver: modbus", "driver: modbus-rtu", "there is no driver modbus-rtu. Did you mean modbus?"),
        ("driver: modbus", "driver: m-bus", "there is no driver m-bus. Did you mean mbus?"),
        ("interval: 10 s", "points: [enrgy]", "has no point enrgy. Did you mean energy?"),
        ("interval: 10 s", "points: {enrgy: }", "has no point enrgy. Did you mean energy?"),
        ("interval: 10 s", "points: {energy: {unit: kWhh}}", "points.energy.unit: unknown unit kWhh (kWh?). Common"),
        ("interval: 10 s", "interval: 10", "a duration needs its unit, such as 10 s"),
        ("interval: 10 s", "interval: 0 s", "interval: '0 s' is below 0.1. At least 0.1"),
        ("mqtt://127", "http://127", "should be mqtt://host:1883 or mqtts://host:8883"),
        ("mqtt://127", "mqtt://user:pw@127", "keep user and password out of the address: write username and password"),
        ("mqtt:\n", "mqtt:\n  password: x\n", "a password needs a username"),
        ("mqtt:\n", "mqtt:\n  ca: x.pem\n", "ca is for mqtts:// only"),
        ("lines:\n  rs485-1:", "lines:\n  RS485:", "'RS485' may hold lower-case letters, digits and hyphens"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_with_a_remedy(
    write: Write, said: Said, agent_text: str, old: str, new: str, message: str
) -> None:
    file = write(agent_text.replace(old, new))
    assert message in said(lambda: load_agent(file, {}))[0]


def test_a_fault_inside_a_profile_is_told_in_the_profiles_own_file(
    write: Write, said: Said, agent_text: str, tmp_path: Path
) -> None:
    write("vendor: a\nmodel: b\nkind: water\nprotocol: modbus\npoints: {p: {address: 1, unit: m3, rol: counter}}\n"
          "source: {title: t}\nstatus: manual\n", "m3.yaml")  # fmt: skip
    messages = said(lambda: load_agent(write(agent_text.replace("m1.yaml", "m3.yaml")), {}))
    assert messages[0] == f"{tmp_path}/m3.yaml:5:36: unknown key points.p.rol. Did you mean role?"


def test_faults_of_another_file_come_after_those_of_this_one(write: Write, said: Said, agent_text: str) -> None:
    write("vendor: a\n", "m3.yaml")
    file = write(agent_text.replace("m1.yaml", "m3.yaml").replace("line: rs485-1", "line: rs"))
    english = said(lambda: load_agent(file, {}))
    assert english[0].startswith("agent.yaml:12:11: ")
    assert "/m3.yaml:1:1: model is missing" in english[1]


def test_the_environment_overrides_the_file(write: Write, agent_text: str) -> None:
    environ = {
        "TANBIAO_MQTT__URL": "mqtts://10.0.0.5",
        "TANBIAO_METERS__GAS_MAIN__INTERVAL": "30 s",
        "TANBIAO_METERS__GAS_MAIN__POINTS": "[energy]",
        "TANBIAO_OUTBOX__MAX_SIZE": "5 MB",
        "TANBIAO_LANG": "zh",
        "PATH": "/bin",
    }
    loaded, document = load_agent(write(agent_text), environ)
    assert loaded.mqtt.url == "mqtts://10.0.0.5"
    assert loaded.meters["gas-main"].interval == 30.0
    assert loaded.meters["gas-main"].points == ["energy"]
    assert loaded.outbox.max_size == 5_000_000
    assert document.place(("mqtt", "url")) == "TANBIAO_MQTT__URL"


def test_a_wrong_variable_is_named_itself(write: Write, said: Said, agent_text: str) -> None:
    file = write(agent_text)
    messages = said(lambda: load_agent(file, {"TANBIAO_OUTBOX__MAX_SIZE": "much"}))
    assert messages[0].startswith("TANBIAO_OUTBOX__MAX_SIZE: outbox.max_size: 'much' is not a size")
    messages = said(lambda: load_agent(file, {"TANBIAO_OUTBX__MAX_SIZE": "1 GB"}))
    assert messages[0] == "TANBIAO_OUTBX__MAX_SIZE: unknown key outbx. Did you mean outbox?"
    messages = said(lambda: load_agent(file, {"TANBIAO_METERS__GAS_MAIN__POINTS": "[energy"}))
    assert messages[0].startswith("TANBIAO_METERS__GAS_MAIN__POINTS: a bracket [ is not closed")


def test_a_variable_for_the_ingester_alone_is_passed_over(write: Write, agent_text: str) -> None:
    load_agent(write(agent_text), {"TANBIAO_PAGE__PORT": "8081"})
    assert "page" in SECTIONS["ingester"]


def test_the_password_comes_from_the_credential_and_the_environment_goes_before_it(
    write: Write, agent_text: str, tmp_path: Path
) -> None:
    (tmp_path / "mqtt-password").write_text("geheim\n")
    file = write(agent_text.replace("mqtt:\n", "mqtt:\n  username: u\n"))
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert load_agent(file, environ)[0].mqtt.password == "geheim"
    assert load_agent(file, environ | {"TANBIAO_MQTT__PASSWORD": "other"})[0].mqtt.password == "other"


def test_each_setting_tells_where_it_comes_from_and_no_secret_is_shown(
    write: Write, agent_text: str, tmp_path: Path
) -> None:
    (tmp_path / "mqtt-password").write_text("geheim")
    file = write(agent_text.replace("mqtt:\n", "mqtt:\n  username: u\n"))
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path), "TANBIAO_AGENT__ID": "north"}
    found = {origin.key: origin for origin in origins(*load_agent(file, environ))}
    assert (found["agent.id"].value, found["agent.id"].place) == ("north", "TANBIAO_AGENT__ID")
    assert (found["mqtt.password"].value, found["mqtt.password"].place) == ("***", "credential mqtt-password")
    assert (found["mqtt.url"].value, found["mqtt.url"].place) == ("mqtt://127.0.0.1:1883", "agent.yaml:6:8")
    assert (found["outbox.keep_delivered"].value, found["outbox.keep_delivered"].place) == ("7 d", None)
    assert (found["meters.gas-main.interval"].value, found["meters.gas-main.unit"].place) == (
        "10 s",
        "agent.yaml:14:11",
    )
    assert found["outbox.path"].value == str(tmp_path / "data/outbox.db")
    assert "geheim" not in str(found)


@pytest.mark.parametrize("line", ["site: mqtt://u:geheim@host", "id: [mqtt://u:geheim@host]", "password: {geheim: 1}"])
def test_no_message_repeats_a_password(write: Write, said: Said, agent_text: str, line: str) -> None:
    key = line.split(":")[0]
    kept = "\n".join(each for each in agent_text.splitlines() if not each.startswith(f"  {key}:"))
    messages = said(lambda: load_agent(write(kept.replace("agent:\n", f"agent:\n  {line}\n")), {}))
    assert messages
    assert "geheim" not in "".join(messages)


@given(st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_file_gives_settings_or_faults_and_nothing_else(
    write: Write, agent_text: str, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, len(agent_text)))
    end = data.draw(st.integers(start, min(len(agent_text), start + 30)))
    inserted = data.draw(st.text(alphabet="ab0: -\n\t[]{}'\"#&*!|,.x锅", max_size=8))
    file = write(agent_text[:start] + inserted + agent_text[end:])
    try:
        load_agent(file, {})
    except SettingsFaults as error:
        messages = error.say("zh").splitlines()
        assert all(message.startswith("agent.yaml") for message in messages)


def test_a_point_takes_what_differs_on_this_meter_from_its_profile(write: Write) -> None:
    profile = load_profile(write("", "x").parent / "m1.yaml")
    meter = MeterSection.model_validate(
        {"line": "a", "profile": "m1.yaml", "points": {"energy": {"scale": "0.1", "address": "0x10"}, "power": None}}
    )
    points = meter.of(profile)
    assert (str(points["energy"].scale), points["energy"].address, points["energy"].digits) == ("0.1", "0x10", 8)
    assert points["power"] == profile.points["power"]
    assert set(MeterSection(line="a", profile="m1.yaml").of(profile)) == {"energy", "power"}


@pytest.mark.parametrize("name", list_profiles())
def test_every_shipped_profile_can_be_read(name: str) -> None:
    assert isinstance(load_profile(name), Profile)


def test_a_required_key_misspelt_among_a_drivers_own_is_named(write: Write, said: Said, agent_text: str) -> None:
    file = write(agent_text.replace("profile:", "profle:"))
    messages = said(lambda: load_agent(file, {}))
    assert messages[0] == "agent.yaml:14:5: unknown key meters.gas-main.profle. Did you mean profile?"


def test_the_profile_suggested_exists(write: Write, said: Said, agent_text: str) -> None:
    kept = "\n".join(line for line in agent_text.splitlines() if "profile" not in line)
    suggested = said(lambda: load_agent(write(kept), {}))[0].split("profile: ")[1]
    assert suggested in list_profiles()
