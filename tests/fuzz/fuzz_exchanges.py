"""Fuzz an exchange driver's parsers with atheris: fuzz_exchanges.py DRIVER -runs=N [libFuzzer's options].

Coverage leads the way to what no sample shows. Whatever breaks the promises of `exchanges` ends the run with a crash file.
"""

import sys

import atheris

_NAME, _OPTIONS = sys.argv[1], sys.argv[2:]
with atheris.instrument_imports(include=["drivers"]):
    import exchanges

    METERS = exchanges.meters(_NAME)  # which imports the driver
POOL = [(meter, sound) for meter in METERS for sound in list(exchanges.sound_replies(meter, b"\x12\x34\x56"))[:8]]


def one_input(data: bytes) -> None:
    """The first byte chooses: bytes as they are into a dialogue, or edits of a right reply."""
    given = atheris.FuzzedDataProvider(data)
    if given.ConsumeBool() or not POOL:
        meter = METERS[given.ConsumeIntInRange(0, len(METERS) - 1)]
        request = meter.requests[given.ConsumeIntInRange(0, len(meter.requests) - 1)]
        exchanges.feed(request, [given.ConsumeBytes(given.ConsumeIntInRange(0, 300)) for _ in range(3)])
        return
    meter, sound = POOL[given.ConsumeIntInRange(0, len(POOL) - 1)]
    _, other = POOL[given.ConsumeIntInRange(0, len(POOL) - 1)]
    edits = [
        (
            given.ConsumeIntInRange(0, exchanges.KINDS - 1),
            given.ConsumeIntInRange(0, 600),
            given.ConsumeIntInRange(0, 255),
        )
        for _ in range(given.ConsumeIntInRange(1, 6))
    ]
    tally = exchanges.Tally()
    exchanges.attempt(meter, sound, edits, other.frame, tally)
    assert tally.wrong == [], tally.wrong


atheris.Setup([sys.argv[0], *_OPTIONS], one_input)
atheris.Fuzz()
