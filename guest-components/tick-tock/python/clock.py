"""What the clock says: plain Python, so that it can be tested anywhere."""


class Clock:
    ticks = 0

    def next(self) -> str:
        self.ticks += 1
        return f"tick {self.ticks}" if self.ticks % 2 == 1 else f"tock {self.ticks}"

    def report(self) -> str:
        return f"ticked {self.ticks} times"
