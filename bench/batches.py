"""Batches as a plant sends them: 20 points, counters that rise and gauges that wander, each in the steps a meter shows."""

from random import Random

from metering.wire import Batch

T0 = 1_763_884_800_000
POINTS = 20


def batch(
    readings: int, *, agent: str = "bench", stream: str = "", seq: int = 0, seed: int = 0, every_ms: int = 1000
) -> Batch:
    """Return a batch of `readings`, the points in turn. Half of the points are counters."""
    dice = Random(seed)
    points = [(f"{agent}-m{i}/{_name(i)}", "kWh" if i % 2 else "kW") for i in range(POINTS)]
    shown = [dice.randrange(10**7) for _ in range(POINTS)]
    return Batch(
        site="demo", agent=agent, stream=stream, seq=seq, prev="", boot="b", up=0, clock="synced", config="c",
        points=points, t0=T0 + seq * 10_000, t=[i // POINTS * every_ms + i % POINTS * 3 for i in range(readings)],
        p=[i % POINTS for i in range(readings)], x=[_next(shown, i % POINTS, dice) for i in range(readings)],
        q=[0] * readings,
    )  # fmt: skip


def _name(i: int) -> str:
    return "energy" if i % 2 else "power"


def _next(shown: list[int], i: int, dice: Random) -> float:
    shown[i] = max(0, shown[i] + (dice.randrange(30) if i % 2 else dice.randrange(-500, 501)))
    return shown[i] / 100


def drafts(count: int, readings: int, seed: int = 0) -> list[Batch]:
    """Return batches without an identity, no two alike."""
    return [batch(readings, seed=seed + number) for number in range(count)]
