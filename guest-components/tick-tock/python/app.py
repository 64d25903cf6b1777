from wit_world import exports
from wit_world.imports import host, monotonic_clock, poll

from clock import Clock

SECOND = 1_000_000_000
clock = Clock()


class Hook(exports.Hook):
    # The hook: called once, when `run` has returned. Raise Err("why") to say that it failed.
    def shutdown(self, notice):
        print(clock.report())


class Run(exports.Run):
    def run(self):
        with host.subscribe_stop() as stop:
            host.ready()
            while not stop.ready():
                print(clock.next())
                # Until the second is over or the stop is requested, whichever comes first.
                with monotonic_clock.subscribe_duration(SECOND) as timer:
                    poll.poll([stop, timer])
