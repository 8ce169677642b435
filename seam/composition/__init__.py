"""Networks taken apart into a module a class, and put together again."""
