"""DL/T 645-2007, the protocol of Chinese energy meters: two-wire serial, or a transparent server on TCP. Reads only."""

from drivers.dlt645.driver import Dlt645Driver

DRIVER = Dlt645Driver()
