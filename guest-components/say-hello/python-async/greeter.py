"""Who is greeted, and how often: plain Python, so that it can be tested anywhere."""


class Greeter:
    count = 0

    def greet(self) -> str:
        self.count += 1
        return f"Hello, you are number {self.count}\n"

    def report(self) -> str:
        return f"said hello {self.count} times"
