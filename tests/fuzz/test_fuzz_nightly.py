"""A million mangled frames for each exchange driver, and atheris looking for what no sample shows. For `make nightly`."""

import importlib.util
import random
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parent
FRAMES = 1_000_000
RUNS = 200_000


def _exchanges() -> ModuleType:
    spec = importlib.util.spec_from_file_location("exchanges", FOLDER / "exchanges.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["exchanges"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


fuzz = _exchanges()


@pytest.mark.parametrize("name", fuzz.exchange_drivers())
def test_f23_f26_f32_of_a_million_mangled_frames_none_gives_a_wrong_value_unless_its_checksum_holds(name: str) -> None:
    dice = random.Random(name)
    pool = [
        (meter, sound) for meter in fuzz.meters(name) for sound in list(fuzz.sound_replies(meter, b"\x12\x34\x56"))[:30]
    ]
    tally = fuzz.Tally()
    while tally.frames < FRAMES and not tally.wrong:
        meter, sound = dice.choice(pool)
        other = dice.choice(pool)[1].frame
        edits = [
            (dice.randrange(fuzz.KINDS), dice.randrange(600), dice.randrange(256)) for _ in range(dice.randint(1, 4))
        ]
        fuzz.attempt(meter, sound, edits, other, tally)
    print(
        f"{name}: {tally.frames} frames, {tally.refused} gave nothing, {tally.let_through} have a right checksum again"
    )
    assert tally.wrong == []
    assert tally.let_through <= tally.frames / (1000 if name == "modbus" else 30)


@pytest.mark.parametrize("name", fuzz.exchange_drivers())
def test_f23_f26_f32_atheris_finds_nothing(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(FOLDER / "fuzz_exchanges.py"), name, f"-runs={RUNS}", "-max_len=1024", "-timeout=10"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    assert f"Done {RUNS} runs" in done.stderr
