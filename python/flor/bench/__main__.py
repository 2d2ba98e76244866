"""``python -m flor.bench``."""

from flor.bench.command import main

if __name__ == "__main__":  # subjects run in processes that import this module
    main()
