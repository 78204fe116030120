"""YAML into typed settings: every fault with its file:line:column, the value, and what to do about it."""
