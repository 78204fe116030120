"""OPC UA: values with their status and source time, read from a server. Needs the extra `opcua` (asyncua)."""

from drivers.opcua.driver import OpcUaDriver

DRIVER = OpcUaDriver()
