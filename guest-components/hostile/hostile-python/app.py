"""Misbehaves as its arguments say, in Python with WASI 0.2. Arguments: `run=BEHAVIOUR hook=BEHAVIOUR`, both `good`
unless given, and for some of them `ms=N`. The names are those of hostile-classic; `raise` is Python's own."""

import os
import sys

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import environment, host, monotonic_clock

MILLISECOND = 1_000_000
HOUR = 3_600_000 * MILLISECOND


def option(key, default):
    # Not `sys.argv`: that is the one of the build.
    return dict(argument.split("=", 1) for argument in environment.get_arguments() if "=" in argument).get(key, default)


def wait_for(nanoseconds):
    monotonic_clock.subscribe_duration(nanoseconds).block()


def good():
    host.subscribe_stop().block()


def spin():
    while True:
        pass


def extend():
    while True:
        host.extend_grace(HOUR)
        wait_for(10 * MILLISECOND)


def fail(error):
    raise error


def recurse(depth=0):
    return recurse(depth + 1) + 1


def grow():
    blocks = []
    while True:
        blocks.append(bytearray(1024 * 1024))


def good_then(error):
    good()
    raise error


def flood(until):
    while not until():
        print("x" * 1023)


# What run and hook have in common.
BOTH = {
    "good": lambda: None,
    "spin": spin,
    "extend": extend,
    "park": lambda: wait_for(HOUR),
    "raise": lambda: fail(RuntimeError("an error on purpose")),
    "recurse": recurse,
    "grow": grow,
    "exit0": lambda: sys.exit(0),
    "exit3": lambda: sys.exit(3),
    "os-exit3": lambda: os._exit(3),
    "abort": os.abort,
}

RUN = BOTH | {
    "good": good,
    "never-ready": good,
    "return": lambda: None,
    "error": lambda: fail(Err(None)),
    "raise-on-stop": lambda: good_then(RuntimeError("an error on purpose, when asked to stop")),
    "error-on-stop": lambda: good_then(Err(None)),
    "flood": lambda: flood(host.stop_notice),
    "flood-forever": lambda: flood(lambda: False),
}

HOOK = BOTH | {
    "error": lambda: fail(Err("the hook failed on purpose")),
    "slow": lambda: wait_for(int(option("ms", "100")) * MILLISECOND),
}


class Run(exports.Run):
    def run(self):
        behaviour = option("run", "good")
        print("run entered")
        if behaviour != "never-ready":
            host.ready()
        RUN[behaviour]()


class Hook(exports.Hook):
    def shutdown(self, notice):
        print("hook called")
        HOOK[option("hook", "good")]()
        print("hook done")
