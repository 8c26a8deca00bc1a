"""``python -m tierwise``: the command line without the console script."""

from tierwise.cli.app import main

if __name__ == "__main__":
    main()
