"""Says all that a program can see of its surroundings; recording may change none of it."""

import argparse
import dataclasses
import inspect
import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import warnings

first_names = sorted(globals())


@dataclasses.dataclass
class Point:
    x: int = 1
    y: list = dataclasses.field(default_factory=list)

    def grow(self):
        for each in range(3):
            self.y.append(each)
        return self


def looped(limit):
    total = 0
    for number in range(limit):  # a comment that getsource shows
        total += len(str(number))
    while total > 100:
        total = abs(total - 7)
    return total


def child(number, pipe):
    out = []
    for each in range(2):
        out.append((number + each, __name__, Point(each).grow()))
    pipe.send(out)


def children(method):
    context = multiprocessing.get_context(method)
    ours, theirs = context.Pipe()
    process = context.Process(target=child, args=(5, theirs))
    process.start()
    got = ours.recv()
    process.join()
    return [repr(got), process.exitcode]


def warned():
    for _ in range(3):
        warnings.warn("shown once", UserWarning)  # noqa: B028


def see():
    yield "argv", sys.argv
    yield (
        "main",
        [
            __name__,
            __file__,
            __spec__ and __spec__.name,
            __package__,
            sys.modules["__main__"].__dict__ is globals(),
        ],
    )
    yield "first names", first_names
    yield "names", sorted(globals())
    yield "module", [sorted(vars(sys.modules["__main__"])), str(type(__loader__)), __doc__[:4]]
    yield (
        "builtins",
        [
            type(__builtins__).__name__,
            len(vars(__builtins__)),
            sorted(n for n in vars(__builtins__) if "flor" in n),
        ],
    )
    yield (
        "tty",
        [
            sys.stdout.isatty(),
            sys.stdin.isatty(),
            sys.stdout.fileno(),
            sys.stdout is sys.__stdout__,
            sys.stdout.encoding,
        ],
    )
    yield (
        "stdout",
        [type(sys.stdout).__name__, sys.stdout.line_buffering, sys.stderr is sys.__stderr__],
    )
    yield "source", [inspect.getsource(looped), inspect.getsourcelines(Point.grow)[1]]
    yield (
        "code",
        [
            looped.__code__.co_firstlineno,
            looped.__code__.co_names,
            looped.__code__.co_varnames,
            looped.__code__.co_filename,
        ],
    )
    yield (
        "pickled",
        [pickle.dumps(Point(2).grow()).hex(), repr(pickle.loads(pickle.dumps(Point(3))))],
    )
    yield "path", [sys.path[0], os.getcwd()]
    yield "environment", sorted(name for name in os.environ if name not in ("FLOR_STORE", "_"))
    yield "hash seed", os.environ.get("PYTHONHASHSEED")
    yield (
        "child environment",
        subprocess.run(
            [sys.executable, "-c", "import os; print(sorted(os.environ))"],
            capture_output=True,
            text=True,
        ).stdout.replace("'FLOR_STORE', ", ""),
    )
    yield (
        "child hash",
        subprocess.run(
            [sys.executable, "-c", "import sys; print(sys.flags.hash_randomization)"],
            capture_output=True,
            text=True,
        ).stdout,
    )
    yield "flags", [tuple(sys.flags), sys.dont_write_bytecode]
    yield "hooks", [sys.displayhook is sys.__displayhook__, sys.gettrace(), sys.getprofile()]
    yield (
        "signals",
        [
            str(signal.getsignal(getattr(signal, name)))
            for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGPIPE", "SIGCHLD")
        ],
    )
    yield "threads", len([t for t in __import__("threading").enumerate()])
    yield "recursion", sys.getrecursionlimit()
    yield "warnings", warned()
    yield "spawn", children("spawn")
    yield "fork", children("fork")
    yield "looped", looped(200)


def compiled():
    import torch

    @torch.compile(fullgraph=True, backend="eager")
    def doubled(values):
        for _ in range(3):
            values = values + values.sin()
        return values

    def plain(values):
        for _ in range(3):
            values = values + torch.cos(values)
        return values

    whole = torch.compile(plain, fullgraph=True, backend="eager")
    traced = torch.jit.script(scripted)
    values = torch.ones(2)
    yield "compiled", [doubled(values).tolist(), whole(values).tolist(), traced(values).tolist()]


def scripted(values):
    for _ in range(2):
        values = values.relu() + 1
    return values


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("how", nargs="?")
    parser.add_argument("--torch", action="store_true")
    given = parser.parse_args()
    if given.torch:
        scripted.__annotations__ = {}
    for what, value in compiled() if given.torch else see():
        print(what, json.dumps(value, default=str))
    if given.how == "exit":
        sys.exit(3)
    if given.how == "text":
        sys.exit("a last word")
    if given.how == "raise":
        for number in range(3):
            print(1 / (1 - number))
    if given.how == "interrupt":
        for _ in range(100):
            os.kill(os.getpid(), signal.SIGINT)
    if given.how == "kill":
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
    if given.how == "syntax":
        exec("for x in (: pass")
