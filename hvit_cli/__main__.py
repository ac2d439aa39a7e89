"""The command `hvit`, also as `python -m hvit_cli`."""

from __future__ import annotations


def main() -> None:
    """Runs the command line."""
    from hvit_cli.cli.app import app

    app()


if __name__ == "__main__":
    main()
