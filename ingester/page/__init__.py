"""The page people look at: pure functions say what it shows, panels put it there and change only what changed."""
