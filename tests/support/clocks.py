"""Time that passes only when somebody sleeps."""

from datetime import UTC, datetime, timedelta, tzinfo

MONDAY = datetime(2026, 11, 16, tzinfo=UTC)


class Clocks:
    """A clock that counts seconds, and one on a wall, which can be set (`ahead`)."""

    def __init__(self, start: datetime = MONDAY, zone: tzinfo = UTC) -> None:
        self.now = 0.0
        self.pauses: list[float] = []
        self.ahead = timedelta()
        self._start = start
        self._zone = zone

    def clock(self) -> float:
        return self.now

    def local_time(self) -> datetime:
        return (self._start + timedelta(seconds=self.now) + self.ahead).astimezone(self._zone)

    def sleep(self, pause: float) -> None:
        self.now += pause
        self.pauses.append(pause)
