"""What stages read: data, checkpoints, the models and images of a problem or target."""
