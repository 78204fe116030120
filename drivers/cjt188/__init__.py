"""CJ/T 188-2004 and -2018, the protocol of Chinese water, gas and heat meters: RS-485 or M-Bus wiring. Reads only."""

from drivers.cjt188.driver import Cjt188Driver

DRIVER = Cjt188Driver()
