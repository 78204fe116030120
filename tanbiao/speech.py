"""The language of the command line, chosen once at start: `--lang zh|en` anywhere, else the locale."""

import os
import sys
from collections.abc import Mapping
from typing import Any

from metering.errors import MeteringError
from metering.text import Lang, Text


def chosen(argv: list[str], environ: Mapping[str, str]) -> tuple[Lang, list[str]]:
    """Return the language and the arguments without `--lang`."""
    rest, named, expects = [], "", False
    for argument in argv:
        if expects:
            named, expects = argument, False
        elif argument == "--lang":
            expects = True
        elif argument.startswith("--lang="):
            named = argument.removeprefix("--lang=")
        else:
            rest.append(argument)
    if (named and named not in ("zh", "en")) or expects:
        print("--lang zh | --lang en", file=sys.stderr)
        raise SystemExit(2)
    if not named:
        locale = next((environ[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if environ.get(name)), "")
        named = "zh" if locale.startswith("zh") else "en"
    return ("zh" if named == "zh" else "en"), rest


LANG, ARGUMENTS = chosen(sys.argv[1:], os.environ)


def say(zh: str, en: str, **values: object) -> str:
    """Return a sentence in the language of this run."""
    return Text(zh, en).say(LANG, **values)


def tell(text: Text | MeteringError, **values: object) -> str:
    """Return a text or an error's sentence in the language of this run."""
    return text.say(LANG) if isinstance(text, MeteringError) else text.say(LANG, **values)


def print_json(answer: Any) -> None:
    """Print an answer for scripts."""
    import json

    print(json.dumps(answer, ensure_ascii=False, indent=2))


def fail(message: str) -> None:
    """Print to standard error, plainly: colours and wrapping would spoil a place to click on."""
    print(message, file=sys.stderr)
