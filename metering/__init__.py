"""The words and sums of metering. Pure: no I/O, no clock, no logging."""
