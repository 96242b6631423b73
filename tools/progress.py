"""How far a long job is, for people who wait for it."""

import sys
import time


class Progress:
  """Prints how far a job is, how fast it goes and when it will be done."""

  def __init__(self, what: str = 'images'):
    self._what = what
    self._first = 0
    self._last: int | None = None  # Until the first call.
    self._start = self._last_print = time.monotonic()
    self._interval = 0.5 if sys.stderr.isatty() else 10.0

  def __call__(self, done: int, total: int | None) -> None:
    """Takes note of `done` of `total` images; prints now and then."""
    now = time.monotonic()
    if self._last is None or done < self._last:  # A new split.
      self._first, self._start = done, now
    self._last = done
    if now - self._last_print < self._interval and done != total:
      return
    self._last_print = now
    # What an earlier run has done is no measure of this one's speed.
    rate = (done - self._first) / max(now - self._start, 1e-6)
    line = f'{done:,} {self._what}'
    if total:
      line = f'{done:,} of {total:,} {self._what}'
    if rate:
      slow = f', {1 / rate:,.0f} s each'
      line += f', {rate:,.0f}/s' if rate >= 1 else slow
      if total and done < total:
        line += f', {_duration((total - done) / rate)} to go'
    end = '\r' if sys.stderr.isatty() and done != total else '\n'
    print(f'{line:<60}', end=end, file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
  """Returns a duration for people, such as 1:02:03."""
  minutes, seconds = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  return f'{hours}:{minutes:02d}:{seconds:02d}'
