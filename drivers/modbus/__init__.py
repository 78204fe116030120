"""Modbus over TCP, RTU on a serial port, and RTU inside TCP. Function codes 1 to 4 only: it reads, it cannot write."""

from drivers.modbus.driver import ModbusDriver

DRIVER = ModbusDriver()
