"""`python -m metakg`, and the command `metakg`: the way into `metakg.cli`, whose imports take a good part of a second."""

import sys


def main() -> None:
    """Run the command line. Whoever stops it while it is still being imported is told nothing either."""
    try:
        from metakg.cli.main import run
    except KeyboardInterrupt:
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
