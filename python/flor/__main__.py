"""``python -m flor``."""

from flor.cli.main import main

if __name__ == "__main__":
    main()
