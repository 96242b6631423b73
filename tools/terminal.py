"""How a tool speaks: --log, --verbose, and where its lines go.

On a terminal one thing at a time is drawn at the bottom of it, by rich, and
every line that is written stays above. Elsewhere there are lines alone: plain
ones, or objects of JSON. All of it goes to standard error; standard output is
for results.
"""

import contextlib
import json
import logging as python_logging
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import rich.console
import rich.live
from absl import flags, logging

from tools import stopping

PLAIN, RICH, JSON = 'plain', 'rich', 'json'

_LOG = flags.DEFINE_enum(
  'log',
  None,
  (PLAIN, RICH, JSON),
  'How to tell what goes on: in lines, in a block that is drawn anew (on a '
  'terminal), or as one object of JSON a line. By default rich on a terminal '
  'and plain elsewhere.',
)
_VERBOSE = flags.DEFINE_bool(
  'verbose',
  False,
  'Whether to show what TensorFlow, orbit and Keras have to say, too.',
)

_OURS = (f'{os.sep}official_coatnet{os.sep}', f'{os.sep}tools{os.sep}')
_LEVELS = ((python_logging.ERROR, 'error'), (python_logging.WARNING, 'warning'))


def style() -> str:
  """Returns how the tool speaks: PLAIN, RICH or JSON."""
  # A test may call a tool's parts, without a command line.
  chosen = _LOG.value if flags.FLAGS.is_parsed() else None
  if chosen in (PLAIN, JSON):
    return chosen
  return RICH if can_draw() else PLAIN


def can_draw() -> bool:
  """Whether standard error is a terminal on which lines can be redrawn."""
  dumb = os.environ.get('TERM', '') in ('', 'dumb', 'unknown')
  return sys.stderr.isatty() and not dumb


def is_verbose() -> bool:
  """Whether all is to be shown."""
  known = flags.FLAGS
  # Tests of one process take the flags of one tool away for those of the next.
  return known.is_parsed() and _VERBOSE.name in known and bool(_VERBOSE.value)


def set_up() -> None:
  """Sends the lines of all loggers where, and in the form, that --log says."""
  handler = logging.get_absl_handler()
  formatter = _JsonFormatter() if style() == JSON else _Formatter()
  handler.setFormatter(formatter)
  handler.addFilter(_concerns_the_user)
  streams = [handler.python_handler]
  tensorflow = python_logging.getLogger('tensorflow')
  tensorflow.addFilter(_concerns_the_user)
  for each in tensorflow.handlers:
    each.setFormatter(formatter)
    streams.append(each)
  for each in streams:
    if isinstance(each, python_logging.StreamHandler):
      each.setStream(_Stderr())
  if style() == JSON:
    python_logging.captureWarnings(True)
  if flags.FLAGS.is_parsed() and _LOG.value == RICH and not can_draw():
    logging.warning(
      '--log=rich needs a terminal, and standard error is none that can redraw '
      'lines: plain ones follow.'
    )


def start_verbosity() -> int:
  """Returns from which level on a tool that tells much logs."""
  return logging.DEBUG if is_verbose() else logging.INFO


def write_json(event: str, **values: Any) -> None:
  """Writes one object as a line."""
  line = {'time': round(time.time(), 3), 'event': event, **values}
  print(json.dumps(line), file=sys.stderr, flush=True)


def end_words(words: str) -> None:
  """Writes the last words of a tool that ends with an error."""
  if style() == JSON:
    write_json('end', level='error', message=words)
  else:
    print(words, file=sys.stderr, flush=True)


class Drawing(stopping.Screen):
  """Draws one thing at the bottom of the terminal, from `start` to `stop`."""

  def __init__(self, renderable: Any, *, is_still: bool = False):
    """Takes what to draw, anew four times a second.

    Args:
      renderable: What is drawn.
      is_still: Whether it is drawn anew by `refresh` alone.
    """
    self._live = rich.live.Live(
      renderable,
      auto_refresh=not is_still,
      console=rich.console.Console(file=sys.stderr, highlight=False),
      # Where results go to a file, they stay what they are.
      redirect_stdout=sys.stdout.isatty(),
    )

  def start(self) -> None:
    """Begins to draw."""
    self._live.start(refresh=True)

  def refresh(self) -> None:
    """Draws what is new at once."""
    self._live.refresh()

  def stop(self) -> None:
    """Draws for the last time; lines follow below."""
    self._live.stop()

  def say(self, words: str) -> None:
    self._live.console.print(stopping.line(words), end='', markup=False)

  def leave(self) -> None:
    # Not `stop`: who draws may wait for what is being ended.
    if self._live.is_started:
      with contextlib.suppress(OSError):
        os.write(self._live.console.file.fileno(), b'\r\n\x1b[?25h')


@contextlib.contextmanager
def drawn(drawing: Drawing) -> Iterator[Drawing]:
  """Within it, the drawing is there, and signals are told to it."""
  from tools import prologue

  with prologue.STOP.shown_on(drawing):
    drawing.start()
    try:
      yield drawing
    finally:
      drawing.stop()


def _concerns_the_user(record: python_logging.LogRecord) -> bool:
  """Leaves out what other libraries say and is no warning."""
  if record.levelno >= python_logging.WARNING or is_verbose():
    return True
  return any(folder in record.pathname for folder in _OURS)


def _level(record: python_logging.LogRecord) -> str:
  for level, name in _LEVELS:
    if record.levelno >= level:
      return name
  return 'info'


class _Formatter(python_logging.Formatter):
  """Lines without dates and process numbers."""

  def format(self, record: python_logging.LogRecord) -> str:
    words = super().format(record)
    level = _level(record)
    return words if level == 'info' else f'{level}: {words}'


class _JsonFormatter(python_logging.Formatter):
  def format(self, record: python_logging.LogRecord) -> str:
    line = {
      'time': round(record.created, 3),
      'event': 'note',
      'level': _level(record),
      'message': super().format(record),
    }
    return json.dumps(line)


class _Stderr:
  """Standard error, which rich exchanges while it draws."""

  def write(self, text: str) -> int:
    return sys.stderr.write(text)

  def flush(self) -> None:
    sys.stderr.flush()

  def isatty(self) -> bool:
    return sys.stderr.isatty()

  def close(self) -> None:
    """Leaves it open: it is the process's own."""
