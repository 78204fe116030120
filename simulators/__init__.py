"""Meters, lines and servers that misbehave on purpose, and the demo's plant."""
