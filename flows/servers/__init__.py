"""The servers of a team, on one machine: PostgreSQL, an S3 server, MLflow and Prefect; their backup and restore."""
