"""MLflow: runs, versions, gates. Nothing else talks to it."""
