"""First contact with a meter: which edition of its model it is, and what it says of itself.

Where a profile has variants and none is set, their probes are read before anything else, and only the one variant that fits
is used; until it is known no value is delivered. The identity (serial number, maker, firmware) is read in the line's idle time, and
so are the probes of the model itself: one that was read and does not fit is told, and the values go on.
All this is done again after a silence, because a meter may have been replaced in it.
"""

import logging
from collections.abc import AsyncIterator, Mapping

from agent.answer import Answer, Wire
from agent.counters import MeterCounters
from agent.memory import Memory
from agent.refusals import ABSENT
from agent.wiring import Meter
from drivers.contract import Value
from metering.errors import MeterError, MeterRefused, MeterSilent
from metering.profile import Probe, Profile
from metering.text import Text

log = logging.getLogger(__name__)

MOST_TEXTS = 20
CONTACTS = 2
"""A meter that has not answered so often when its protocol was asked who it is, is not asked so again."""
_LONGEST_TEXT = 120


class UnknownVariant(MeterError):
    """The probes do not tell which edition of its model a meter is."""

    cause = "variant"
    text = Text("不能确定型式：{detail}", "unknown variant: {detail}")


async def decided(wire: Wire, meter: Meter) -> Meter:
    """Return a meter as the edition of its model that its probes tell it is.

    Raises:
        MeterError: it did not answer, or no variant fits, or several do.
        LineDown: the line could not be opened.
    """
    profile = meter.plan.profile
    found: dict[str, dict[str, float | str | None]] = {name: {} for name in profile.variants}
    for name, variant in profile.variants.items():
        for at, probe in variant.probe.items():
            async for answer in wire.read(meter, {at: probe}):
                if answer.error is not None and not _is_absence(answer.error):
                    raise answer.error
                for value in answer.values:
                    told = _shown(value)
                    if told is not None or answer.error is not None:  # a sentinel is neither a value nor an absence
                        found[name][value.point] = told
    chosen = profile.variant_of(found)
    if chosen is None:
        raise UnknownVariant(_found(profile, found))
    return meter.variants[chosen]


def _is_absence(error: MeterError) -> bool:
    """Return whether a meter says that it has no such place; that it is busy tells nothing."""
    return isinstance(error, MeterRefused) and error.code in ABSENT


def variant_name(whole: Meter, meter: Meter) -> str:
    """Return the name of the edition that a meter was found to be, or nothing."""
    return next((name for name, variant in whole.variants.items() if variant is meter), "")


def _shown(value: Value) -> float | str | None:
    return value.text if value.text is not None else value.value


def _found(profile: Profile, found: Mapping[str, Mapping[str, float | str | None]]) -> Text:
    told = [
        (f"{at} = {_said(found[name].get(at))}", name, _wanted(probe))
        for name, variant in profile.variants.items()
        for at, probe in variant.probe.items()
    ]
    return Text(
        "；".join(f"{what}，{name} 应为 {wanted}" for what, name, wanted in told) + "。请在该仪表写 variant",
        "; ".join(f"{what}, {name} has {wanted}" for what, name, wanted in told) + ". Set variant: on the meter",
    )


async def likened(wire: Wire, meter: Meter, counters: MeterCounters) -> AsyncIterator[float]:
    """Read what tells that a meter is of its model, one request a step."""
    profile = meter.plan.profile
    found: dict[str, float | str] = {}
    try:
        for at, probe in profile.probe.items():
            async for answer in wire.read(meter, {at: probe}):
                for told in map(_shown, answer.values):
                    if told is not None:
                        found[at] = told
                yield 0.0
    except Exception as error:  # noqa: BLE001 - a meter whose probes cannot be read is read all the same
        log.info("meter %s: the probes of its model cannot be read: %r", meter.id, error)
    unlike = _unlike(profile, found)
    if unlike is not None and unlike != counters.unlike:
        log.warning("meter %s: %s", meter.id, unlike.en)
    if found:
        counters.unlike = unlike


def _unlike(profile: Profile, found: Mapping[str, float | str]) -> Text | None:
    """Return what was read and does not fit the model, if anything."""
    wrong = {at: probe for at, probe in profile.probe.items() if at in found and not probe.fits(found[at])}
    if not wrong:
        return None
    zh = "；".join(f"{at} 读到 {_said(found[at])}，应为 {_expected(probe).zh}" for at, probe in wrong.items())
    en = "; ".join(f"{at} read {_said(found[at])}, expected {_expected(probe).en}" for at, probe in wrong.items())
    return Text(f"不像 {profile.model}：{zh}", f"this does not look like a {profile.model}: {en}")


def _said(found: float | str | None) -> str:
    return "-" if found is None else f"{found:g}" if isinstance(found, float) else str(found)


def _wanted(probe: Probe) -> str:
    if probe.within is not None:
        return f"[{probe.within[0]}..{probe.within[1]}]"
    return "-" if probe.absent else " | ".join(str(value) for value in probe.among)


def _expected(probe: Probe) -> Text:
    if probe.absent:
        return Text("没有此项", "no such place")
    wanted = _wanted(probe) if probe.within is None else f"{probe.within[0]}..{probe.within[1]}"
    return Text(wanted, wanted)


async def introduced(wire: Wire, meter: Meter, counters: MeterCounters, memory: Memory) -> AsyncIterator[float]:
    """Read what a meter says of itself, one request a step."""
    told: dict[str, str] = {}
    try:
        places, known = meter.plan.profile.identity, memory.of(meter)
        async for answer in wire.read(meter, places) if places else _nothing():
            _take(told, answer)
            yield 0.0
        async for answer in wire.identify(meter) if known.unanswered < CONTACTS else _nothing():
            _take(told, answer)
            silent = isinstance(answer.error, MeterSilent)
            if silent or known.unanswered:
                known.unanswered = known.unanswered + 1 if silent else 0
                memory.save()
            yield 0.0
    except Exception as error:  # noqa: BLE001 - a meter that tells nothing of itself is read all the same
        log.info("meter %s tells nothing of itself: %r", meter.id, error)
    if told:
        counters.identity = told
        _compare(meter, counters, memory, told)


async def _nothing() -> AsyncIterator[Answer]:
    return
    yield


def _take(told: dict[str, str], answer: Answer) -> None:
    for value in answer.values:
        text = _text(value)
        if text and len(told) < MOST_TEXTS:
            told.setdefault(value.point, text)


def _text(value: Value) -> str:
    found = _shown(value)
    if isinstance(found, float) and found.is_integer():
        found = int(found)
    return "" if found is None else "".join(char for char in str(found) if char.isprintable()).strip()[:_LONGEST_TEXT]


def _compare(meter: Meter, counters: MeterCounters, memory: Memory, told: dict[str, str]) -> None:
    """Notice another serial number than at the last contact: what the other one refused says nothing of this one."""
    known = memory.of(meter)
    before, now = known.identity.get("serial", ""), told.get("serial", "")
    if before and now and before != now:
        counters.replaced = (before, now)
        known.forbidden.clear()
        known.unanswered = 0
        log.warning("meter %s had serial number %s, now %s: replaced?", meter.id, before, now)
    if known.identity != told:
        known.identity = known.identity | told
        memory.save()
