"""Instruments, their certificates, and what their state means for the figures that rest on them."""
