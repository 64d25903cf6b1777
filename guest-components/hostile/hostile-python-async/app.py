"""Misbehaves as its arguments say, in Python with WASI 0.3. Arguments: `run=BEHAVIOUR hook=BEHAVIOUR`, both `good`
unless given, and for some of them `ms=N`. The names are those of hostile-async; `raise` is Python's own."""

import asyncio
import os
import sys

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import environment, host
from wit_world.imports.monotonic_clock import wait_for

MILLISECOND = 1_000_000
HOUR = 3_600_000 * MILLISECOND


def option(key, default):
    # Not `sys.argv`: that is the one of the build.
    return dict(argument.split("=", 1) for argument in environment.get_arguments() if "=" in argument).get(key, default)


async def good():
    await host.stop_requested()


async def spin():
    while True:
        pass


async def extend():
    while True:
        host.extend_grace(HOUR)
        await wait_for(10 * MILLISECOND)


async def fail(error):
    raise error


async def recurse(depth=0):
    return await recurse(depth + 1) + 1


async def grow():
    blocks = []
    while True:
        blocks.append(bytearray(1024 * 1024))


async def good_then(error):
    await good()
    raise error


async def flood(until):
    while not until():
        print("x" * 1023)


async def nothing():
    pass


async def leave(how, *code):
    how(*code)


async def leave_pending():
    """Returns before what it has begun: componentize-py traps."""
    asyncio.create_task(wait_for(HOUR))
    await wait_for(MILLISECOND)


# What run and hook have in common.
BOTH = {
    "good": nothing,
    "spin": spin,
    "extend": extend,
    "park": lambda: wait_for(HOUR),
    "raise": lambda: fail(RuntimeError("an error on purpose")),
    "recurse": recurse,
    "grow": grow,
    "exit0": lambda: leave(sys.exit, 0),
    "exit3": lambda: leave(sys.exit, 3),
    "os-exit3": lambda: leave(os._exit, 3),
    "abort": lambda: leave(os.abort),
    "leave-pending": leave_pending,
}

RUN = BOTH | {
    "good": good,
    "never-ready": good,
    "return": nothing,
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
    async def run(self):
        behaviour = option("run", "good")
        print("run entered")
        if behaviour != "never-ready":
            host.ready()
        await RUN[behaviour]()


class Hook(exports.Hook):
    async def shutdown(self, notice):
        print("hook called")
        await HOOK[option("hook", "good")]()
        print("hook done")
