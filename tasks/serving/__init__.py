"""A registered model behind REST: what is asked of it is understood whole, or refused in one line."""
