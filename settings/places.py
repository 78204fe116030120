"""Where the shipped data is: profiles, factor sets, samples."""

import sys
from functools import cache
from pathlib import Path


@cache
def config_dir() -> Path:
    """Return `config/` beside the package (a checkout), else `share/tanbiao/config` of this environment."""
    beside = Path(__file__).resolve().parent.parent / "config"
    return beside if (beside / "factors").is_dir() else Path(sys.prefix) / "share" / "tanbiao" / "config"
