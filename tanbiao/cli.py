"""The command line. Rooms are imported where a command needs them, so that `--help` is quick.

Exit codes: 0 fine, 1 a problem was found, 2 wrong usage, 78 wrong configuration.
"""

import os
import signal
import sys

import typer

from metering.errors import MeteringError, SettingsError, SettingsFaults
from tanbiao.service import PARENT
from tanbiao.speech import ARGUMENTS, fail, say, tell

WRONG_CONFIGURATION = 78

app = typer.Typer(
    name="tanbiao",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help=say(
        "碳表：从仪表寄存器到审核员认可的一吨二氧化碳。任何命令可加 --lang zh|en。",
        "Tanbiao: from the register of a meter to a tonne of CO2 an auditor accepts. --lang zh|en goes with any command.",
    ),
)


@app.callback(invoke_without_command=True)
def front(version: bool = typer.Option(False, "--version", help=say("显示版本", "Show the version."))) -> None:
    if version:
        from tanbiao import __version__

        print(f"tanbiao {__version__}")
        raise typer.Exit


def _rooms() -> None:
    from tanbiao.agent_cli import attach as attach_agent
    from tanbiao.catalogue_cli import attach as attach_catalogues
    from tanbiao.demo_cli import attach as attach_demo
    from tanbiao.ingester_cli import attach as attach_ingester
    from tanbiao.profile_cli import attach as attach_profiles
    from tanbiao.report_cli import attach as attach_reports

    for attach in (attach_demo, attach_agent, attach_ingester, attach_reports, attach_profiles, attach_catalogues):
        attach(app)


def main() -> None:
    """Run one command; turn our errors into a sentence and an exit code."""
    if PARENT in os.environ:
        _live_with_the_parent()
    _rooms()
    try:
        app(args=ARGUMENTS, prog_name="tanbiao", standalone_mode=True)
    except SettingsFaults as error:
        for fault in error.faults:
            fail(tell(fault))
        sys.exit(WRONG_CONFIGURATION)
    except SettingsError as error:
        fail(tell(error))
        sys.exit(WRONG_CONFIGURATION)
    except MeteringError as error:
        fail(tell(error))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _live_with_the_parent() -> None:
    """Ignore Ctrl-C and SIGHUP, which reach the whole group, and ask the kernel for SIGTERM when the parent is gone."""
    import ctypes

    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    set_parent_death_signal = 1
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)
    if os.getppid() != int(os.environ[PARENT]):
        sys.exit(1)
