"""The program `seam`: the package has seen to it that it can be stopped while it imports what it needs."""

from __future__ import annotations


def main() -> None:
    """Entry point."""
    import flows.app
    import flows.cli  # the commands; takes half a second

    flows.app.main()


if __name__ == "__main__":
    main()
