"""What agent and ingester both need of the world outside: clock, transport, broker, control socket, systemd."""
