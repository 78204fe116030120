"""The front door: the command line and the demo's wiring."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("tanbiao")
except PackageNotFoundError:  # run from a tree that was never installed
    __version__ = "0"
