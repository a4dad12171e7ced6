"""`python -m metakg`: the same as the command `metakg`."""

from metakg.cli.main import run

if __name__ == "__main__":
    run()
