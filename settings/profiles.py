"""Meter profiles: the shipped ones by name (`vendor/model`), a plant's own by file."""

from pathlib import Path

from metering.errors import SettingsError, SettingsFaults
from metering.profile import Profile
from metering.text import Text
from settings.document import read
from settings.faults import nearest
from settings.places import config_dir


def load_profile(name: str | Path) -> Profile:
    """Return the profile `vendor/model` of `config/profiles`, or that of a file (`*.yaml`).

    Raises:
        SettingsFaults: no such profile (the nearest is named), or the file is wrong.
    """
    return read(profile_path(name)).check(Profile)


def profile_path(name: str | Path) -> Path:
    """Return the file of a profile.

    Raises:
        SettingsFaults: there is none; the nearest name is the remedy.
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        return path
    known = list_profiles()
    if str(name) not in known:
        near = nearest(str(name), known)
        remedy = _DID_YOU_MEAN if near else _LIST
        raise SettingsFaults([SettingsError(str(name), _UNKNOWN, remedy, near=near)])
    return _folder() / f"{name}.yaml"


def list_profiles() -> list[str]:
    """Return the names of the shipped profiles, `vendor/model`, in order."""
    return sorted(file.relative_to(_folder()).with_suffix("").as_posix() for file in _folder().glob("*/*.yaml"))


def _folder() -> Path:
    return config_dir() / "profiles"


_UNKNOWN = Text("没有这个仪表模型", "there is no such meter profile")
_DID_YOU_MEAN = Text("是不是 {near}？", "Did you mean {near}?")
_LIST = Text(
    "用 tanbiao profile list 查看，或写自己的文件（*.yaml）的路径",
    "See tanbiao profile list, or give the path of a file of your own (*.yaml)",
)
