from wit_world import exports
from wit_world.imports.monotonic_clock import wait_for

from clock import Clock

SECOND = 1_000_000_000
NAPS = 20
clock = Clock()
stopping = False


class Hook(exports.Hook):
    # The hook: called once, beside `run`, which ends when told so. Raise Err("why") to say that it failed.
    async def shutdown(self, notice):
        global stopping
        stopping = True
        print(clock.report())


class Run(exports.Run):
    async def run(self):
        while not stopping:
            print(clock.next())
            # In naps, so that the stop need not wait for the second: an `await` cannot be given up.
            for _ in range(NAPS):
                if not stopping:
                    await wait_for(SECOND // NAPS)
