"""The one training loop, fine-tuning, batches, and what makes a step cheaper."""
