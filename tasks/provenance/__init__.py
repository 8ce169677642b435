"""Where a model version comes from: its bill of materials, its signature, what checks them, and making it again."""
