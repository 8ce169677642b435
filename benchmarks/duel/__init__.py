"""The duel: structured re-engineering and the strongest rivals, at the same measured time, in one run."""
