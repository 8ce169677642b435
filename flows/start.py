"""The program `seam`: told to stop while it still imports what it needs, it ends like any time later."""

from __future__ import annotations

from tasks.project import stopping


def main() -> None:
    """Entry point."""
    stopping.guard()
    import flows.app
    import flows.cli

    flows.app.main()


if __name__ == "__main__":
    main()
