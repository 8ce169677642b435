"""What a network is and where it comes from: architectures, sources, weights, heads, normalisation layers."""
