"""When an evaluation is stopped."""


class StopAfter:
    """A ``stop`` that is false the first ``times`` it is asked; ``asked`` counts all."""

    def __init__(self, times: int) -> None:
        self.times = times
        self.asked = 0

    def __call__(self) -> bool:
        self.asked += 1
        return self.asked > self.times
