"""The agent: polls the meters of its lines, keeps what they said in the outbox, and delivers it to the ingester."""
