"""Which weights are kept: masks over single weights and over channels, unsearched masks, mask packs."""
