"""``python -m kbroker`` and the console script ``kbroker``."""

from kbroker.cli.command import main

if __name__ == "__main__":
    main()
