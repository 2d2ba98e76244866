"""The command ``flor``, also ``python -m flor``."""

import sys


def main() -> None:
    """Run the verb that the command line names."""
    if sys.argv[1:2] == ["record"]:
        from flor.recording import hash_seed

        hash_seed.pin()  # it may start this interpreter again: before what takes time to import
    from flor.cli.main import main as verbs

    try:
        verbs()
    except SystemExit as end:
        launch = sys.modules.get("flor.recording.launch")
        if launch is not None and end.code == launch.INTERRUPTED:
            launch.leave(end.code)
        raise


if __name__ == "__main__":
    main()
