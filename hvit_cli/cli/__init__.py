"""The command line: the only part of hvit that knows Typer and Rich."""
