"""One module per engine: reads requests, runs them all, prints one result. Each runs in an environment of its own."""
