"""Which of our languages a browser or program would rather read."""

from metering.text import Lang


def preferred(accept_language: str) -> Lang:
    """Return the first of our languages by the client's order of preference; English where it names neither."""
    wishes = []
    for place, wish in enumerate(accept_language.lower().split(",")):
        tag, _, rest = wish.strip().partition(";")
        wishes.append((-_quality(rest), place, tag.split("-")[0]))
    for _, _, language in sorted(wishes):
        if language in ("zh", "en"):
            return "zh" if language == "zh" else "en"
    return "en"


def _quality(parameters: str) -> float:
    quality = parameters.strip().removeprefix("q=")
    try:
        return float(quality) if quality else 1.0
    except ValueError:
        return 0.0
