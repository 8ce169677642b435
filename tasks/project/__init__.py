"""The project's parameters, subjects and stage machinery."""
