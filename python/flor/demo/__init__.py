"""The main job, shown on real data: record a training run, ask afterwards, get the exact answer."""

from flor.demo.story import run_demo

__all__ = ["run_demo"]
