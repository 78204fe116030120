"""IEC 62056-21 (formerly IEC 1107), modes A, B and C: the optical port and serial interfaces of meters. Reads only."""

from drivers.iec62056.driver import Iec62056Driver

DRIVER = Iec62056Driver()
