"""Words, figures and pages that people read."""
