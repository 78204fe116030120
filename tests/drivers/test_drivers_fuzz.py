"""Every exchange driver, every shipped profile: arbitrary and mangled bytes give our errors or values, and no wrong ones."""

import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


def _exchanges() -> ModuleType:
    spec = importlib.util.spec_from_file_location("exchanges", Path(__file__).parents[1] / "fuzz" / "exchanges.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["exchanges"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


fuzz = _exchanges()
meters = cache(fuzz.meters)
DRIVERS = fuzz.exchange_drivers()
EDITS = st.lists(
    st.tuples(st.integers(0, fuzz.KINDS - 1), st.integers(0, 600), st.integers(0, 255)), min_size=1, max_size=4
)
NOISE = st.binary(max_size=300)
ALL = settings(max_examples=300, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("name", DRIVERS)
def test_every_shipped_profile_can_be_asked_for(name: str) -> None:
    assert meters(name)
    for meter in meters(name):
        assert meter.requests
        for request in meter.requests:
            assert len(request.request()) <= max(request.request_bytes, 1) + 300
            assert request.reply_bytes > 0
            assert 0 < request.longest_reply <= 70_000
            assert all(set(half.points) <= set(request.points) for half in request.halves())


@pytest.mark.parametrize("name", DRIVERS)
def test_f23_f26_f32_any_bytes_give_values_or_our_errors(name: str) -> None:
    @ALL
    @given(st.data(), st.lists(NOISE, min_size=1, max_size=4))
    def check(data: st.DataObject, replies: list[bytes]) -> None:
        meter = data.draw(st.sampled_from(meters(name)))
        fuzz.feed(data.draw(st.sampled_from(meter.requests)), replies)

    check()


@pytest.mark.parametrize("name", DRIVERS)
def test_f23_f32_a_mangled_reply_gives_no_other_value_but_where_its_checksum_holds(name: str) -> None:
    tally = fuzz.Tally()

    @ALL
    @given(st.data(), EDITS, NOISE)
    def check(data: st.DataObject, edits: list[tuple[int, int, int]], noise: bytes) -> None:
        meter = data.draw(st.sampled_from(meters(name)))
        sound = list(fuzz.sound_replies(meter, noise))
        if sound:
            other = data.draw(st.sampled_from(sound)).frame
            fuzz.attempt(meter, data.draw(st.sampled_from(sound)), edits, other, tally)
        assert tally.wrong == []

    check()
    assert tally.frames > 100


@pytest.mark.parametrize("name", DRIVERS)
def test_f32_pieces_of_right_frames_in_a_dialogue_give_values_or_our_errors(name: str) -> None:
    @ALL
    @given(st.data(), st.lists(EDITS, min_size=1, max_size=4))
    def check(data: st.DataObject, edits: list[list[tuple[int, int, int]]]) -> None:
        meter = data.draw(st.sampled_from(meters(name)))
        frames = [sound.frame for sound in fuzz.sound_replies(meter, b"\x12\x34")] or [b"\x68"]
        replies = [fuzz.mangled(data.draw(st.sampled_from(frames)), each, frames[0]) for each in edits]
        fuzz.feed(data.draw(st.sampled_from(meter.requests)), replies)

    check()


@pytest.mark.parametrize("name", DRIVERS)
def test_every_reply_of_a_vector_has_one_byte_changed_and_is_refused_or_the_same(name: str) -> None:
    """Each of the checksums sees every single changed byte."""
    for meter in meters(name)[::2]:
        tally = fuzz.Tally()
        for sound in list(fuzz.sound_replies(meter, b"\x12\x34\x56"))[:3]:
            for at in range(0, len(sound.frame), max(1, len(sound.frame) // 12)):
                fuzz.attempt(meter, sound, [(1, at, sound.frame[at] ^ 0x11)], b"", tally)
        assert (tally.wrong, tally.let_through) == ([], 0)
