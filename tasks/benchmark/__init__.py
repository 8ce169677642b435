"""What the latency benchmark measures beside the models themselves."""
