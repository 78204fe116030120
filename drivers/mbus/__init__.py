"""M-Bus (EN 13757-2 and -3), the wired bus of heat, water, gas and electricity meters. Reads only."""

from drivers.mbus.driver import MBusDriver

DRIVER = MBusDriver()
