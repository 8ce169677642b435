"""Inference: export, engines, 8-bit weights, latency."""
