"""What every tool imports first: where it is, how it starts and how it ends.

    python tools/train.py ...       from a clone, in any folder
    python -m tools.train ...       in the clone
    bazel run //tools:train -- ...
    from tools import train         in tests

Of these only the first needs help to find the library: tools/tools.py gives it.

`run(main)` at a tool's end is absl's `app.run`, with one kind of end for each
kind of trouble: `Exit` has their codes. What the user can mend is one message;
Ctrl-C and SIGTERM are one line; a fault of ours keeps its traceback.
"""

import contextlib
import difflib
import enum
import functools
import os
import re
import select
import signal
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn

from tools import stopping

# What is imported from here on takes seconds.
STARTED = time.time()

# The folder that holds gin/, docs/ and the library.
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# Without it TensorFlow's import prints warnings about CUDA that concern nobody
# here. Errors come as Python exceptions all the same.
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

# To import TensorFlow takes seconds, in which a tool can be stopped as well.
# Not where a test imports it, nor in a process that a tool has started. Bazel
# has links in the place of files.
_main = getattr(sys.modules.get('__main__'), '__file__', None) or ''
_tools = os.path.dirname(os.path.realpath(__file__))
if os.path.realpath(_main).startswith(_tools + os.sep):
  stopping.end_while_starting()
  # It asks for a TensorFlow that it runs on; what it says is for the user.
  try:
    import official_coatnet  # noqa: F401
  except ImportError as error:
    sys.exit(f'{os.path.basename(sys.argv[0])}: {error}')

from official_coatnet.training import stop as stop_lib  # noqa: E402
from tools import watch  # noqa: E402

# Asked by what takes long; from the start of `run` on it hears of signals.
STOP = watch.Watch()


class Exit(enum.IntEnum):
  """With which codes all tools end; docs/training.md tells of them."""

  DONE = 0
  # What a person must mend, or what a check has found.
  MEND = 1
  # As EX_TEMPFAIL of sysexits.h: the same command goes on.
  AGAIN = 75
  # An evaluation whose loss is no number.
  NOT_FINITE = 76
  # Those that shells make of a process that died of a signal.
  INTERRUPTED = 130
  BROKEN_PIPE = 141
  TERMINATED = 143


# Ends of their own, by name: to import these modules takes seconds.
_EXITS = {
  'official_coatnet.training.devices.WorkerLostError': Exit.AGAIN,
  'official_coatnet.training.guard.NonFiniteEvaluationError': Exit.NOT_FINITE,
}
# What comes of wrong values, files and machines, and not of wrong code.
_MENDABLE: tuple[type[Exception], ...] = (
  ValueError,
  OSError,
  ImportError,
  FloatingPointError,
  MemoryError,
)
_OURS = ('__main__', 'tools', 'official_coatnet')

Main = Callable[[list[str]], Any]


def run(main: Main, *, mendable: tuple[type[Exception], ...] = ()) -> None:
  """Runs a tool and ends the process.

  Args:
    main: Called with what the flags leave of the command line. What it returns
      is the exit code.
    mendable: Errors that the user can mend, beside those of any tool: wrong
      values, files, machines, and what TensorFlow says of them.
  """
  # Here, since some environments in which a tool starts others have no absl.
  from absl import app, flags

  from tools import terminal

  # So that --help of the tool shows them.
  flags.disclaim_key_flags()
  flags.declare_key_flag('log')
  flags.declare_key_flag('verbose')
  flags.DEFINE_bool(
    'traceback', False, 'Whether to print where in the code an error came from.'
  )
  guarded = guard(main, mendable=mendable)

  def run_main(argv: list[str]) -> Any:
    terminal.set_up()
    try:
      return guarded(argv)
    except app.UsageError as error:
      sys.exit(_usage(error))
    except SystemExit as end:
      if not isinstance(end.code, str) or terminal.style() != terminal.JSON:
        raise
      terminal.end_words(end.code)
      sys.exit(Exit.MEND)

  STOP.start()
  try:
    app.run(run_main, flags_parser=_parse_flags)
  except _EndsAtOnce as at_once:
    _flush()
    os._exit(at_once.number)
  finally:
    # Whatever came of it: libraries may have caught it, or changed its name.
    if STOP.received is not None:
      _flush()
      STOP.finish(STOP.received)


def guard(main: Main, *, mendable: tuple[type[Exception], ...] = ()) -> Main:
  """Returns a `main` whose errors are messages: SystemExit with the words.

  A UsageError goes through: how a tool is used, only a command line is told.

  Args:
    main: As of `run`.
    mendable: Likewise.
  """
  from absl import app, flags

  @functools.wraps(main)
  def guarded(argv: list[str]) -> Any:
    try:
      code = main(argv)
      # Here, and not when Python ends, where its error could not be caught.
      sys.stdout.flush()
      return code
    except app.UsageError:
      raise
    except Exception as error:
      if _reader_has_gone(error):
        _end_quietly()
      own_end = _end_of_its_own(error)
      if own_end is not None:
        raise own_end from error
      kinds = _MENDABLE + _tensorflow_errors() + mendable
      known = flags.FLAGS.flag_values_dict()
      if known.get('traceback') or not isinstance(error, kinds):
        raise
      sys.exit(f'{program()}: {explain(error)}')

  return guarded


class _EndsAtOnce(SystemExit):
  """Python's clean-up would wait for another machine, which has gone."""

  def __init__(self, number: int):
    super().__init__(number)
    self.number = number


def _end_of_its_own(error: Exception) -> SystemExit | None:
  """Returns how a tool ends by an error that has its own exit code."""
  names = [f'{kind.__module__}.{kind.__name__}' for kind in type(error).__mro__]
  code = next((_EXITS[name] for name in names if name in _EXITS), None)
  words = explain(error)
  if isinstance(error, stop_lib.StoppedError):
    code, words = _explain_stop(error)
  if code is None:
    return None
  from tools import terminal

  terminal.end_words(f'{program()}: {words}')
  return (_EndsAtOnce if isinstance(error, ConnectionError) else SystemExit)(
    int(code)
  )


def _explain_stop(error: stop_lib.StoppedError) -> tuple[Exit, str]:
  """Returns exit code and words of what has ended where it could."""
  is_again = error.reason == stop_lib.Reason.AGAIN
  number = signal.SIGTERM if is_again else signal.SIGINT
  words = f'stopped by {stopping.name(number)}'
  if error.step is None:
    return (Exit.TERMINATED if is_again else Exit.INTERRUPTED), f'{words}.'
  words += f' at step {error.step}, which is saved'
  if is_again:
    return Exit.AGAIN, f'{words}: start the same command again.'
  return Exit.INTERRUPTED, f'{words}: the same command goes on from there.'


def program() -> str:
  """Returns the name of the tool, such as 'train.py'."""
  return os.path.basename(sys.argv[0])


def explain(error: Exception) -> str:
  """Returns what an error says, for people.

  Args:
    error: As it was caught, with its traceback: of an error that none of our
      modules has raised, kind and remedy are added.
  """
  kind = type(error).__name__
  if isinstance(error, _tensorflow_errors()):
    from official_coatnet.data import messages

    text = messages.plain(error)
  elif isinstance(error, OSError) and error.filename and error.strerror:
    text = f'{error.filename}: {error.strerror}'
  else:
    text = str(error).strip() or kind
  if _is_ours(error):
    return text
  if isinstance(error, _tensorflow_errors()):
    # Its kind is a status code. Of a file, the path comes first.
    text = re.sub(r'^([^;\n]+); (?=[A-Z][^;]*$)', r'\1: ', text)
    return f'{text} (--traceback says where it came from.)'
  return f'{text} ({kind}; --traceback says where it came from.)'


def _is_ours(error: Exception) -> bool:
  """Whether one of our modules raised it, or has called what did."""
  traceback = error.__traceback__
  if traceback is None:
    return True
  while traceback.tb_next is not None:
    traceback = traceback.tb_next
  name = traceback.tb_frame.f_globals.get('__name__', '')
  return name.split('.')[0] in _OURS


def _tensorflow_errors() -> tuple[type[Exception], ...]:
  # Some tools do without TensorFlow, and then nothing raises its errors.
  tensorflow = sys.modules.get('tensorflow')
  return (tensorflow.errors.OpError,) if tensorflow else ()


def _reader_has_gone(error: Exception) -> bool:
  """Whether it is our output that nobody reads, and not another connection."""
  if not isinstance(error, BrokenPipeError):
    return False
  poll = select.poll()
  for descriptor in (1, 2):
    poll.register(descriptor, 0)
  return any(event & select.POLLERR for _, event in poll.poll(0))


def _end_quietly() -> NoReturn:
  # What is buffered would be written again when Python ends.
  os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
  sys.exit(Exit.BROKEN_PIPE)


def _flush() -> None:
  # Perhaps nobody reads, or it is closed.
  with contextlib.suppress(OSError, ValueError):
    sys.stdout.flush()


def _usage(error: object) -> str:
  return f'{program()}: {error}\n{program()} --help says what it takes.'


def _parse_flags(argv: list[str]) -> list[str]:
  """Parses the command line; ends the process where a flag is wrong."""
  from absl import flags

  try:
    return flags.FLAGS(argv)
  except flags.UnrecognizedFlagError as error:
    words = f'there is no flag --{error.flagname}.'
    near = difflib.get_close_matches(error.flagname, _flag_names(), n=1)
    if near:
      words += f' Did you mean --{near[0]}?'
    sys.exit(_usage(words))
  except flags.Error as error:
    sys.exit(_usage(_explain_flag(str(error))))


def _flag_names() -> list[str]:
  """Returns the flags of the tool, and not the hundreds of the libraries."""
  from absl import flags

  return [
    flag.name
    for module, defined in flags.FLAGS.flags_by_module_dict().items()
    if module == sys.argv[0] or module.startswith(('tools', 'official.common'))
    for flag in defined
  ]


def _alternatives(match: re.Match) -> str:
  return f'it must be one of {match.group(1).replace("|", ", ")}.'


def _of_sign(match: re.Match) -> str:
  if match.group(1) == 'non-negative':
    return 'it must be 0 or more.'
  least = '1 or more' if match.group(2) == 'integer' else 'more than 0'
  return f'it must be {least}.'


def _one_of(match: re.Match) -> str:
  names = match.group(2).split(', ')
  return f'{match.group(1)} one of {" and ".join(f"--{n}" for n in names)}'


def _explain_flag(text: str) -> str:
  """Says in our words what absl says of a flag."""
  from absl import flags

  if match := re.search(r'Flag --(\w+) must have a value other than', text):
    name = match.group(1)
    # absl adds to the help that some flags may be given several times.
    help_text = (flags.FLAGS[name].help or '').split(';\n')[0]
    return f'--{name} is missing: {help_text}'
  for pattern, replacement in (
    (r'(?s)^flags? .*((?:Exactly|At most) one of.*)', r'\1'),
    (r'(Exactly|At most) one of \(([\w, ]+)\)', _one_of),
    (r'must have a value other than None', 'must be given'),
    (r'invalid literal for int\(\) .*', 'it is no whole number.'),
    (r'could not convert string to float: .*', 'it is no number.'),
    (
      r"\('Non-boolean argument to boolean flag', .*\)",
      'it must be true or false.',
    ),
    (r'value should be one of <(.*)>', _alternatives),
    (r'Missing value for flag (--\w+)', r'\1 needs a value, as in \1=VALUE.'),
    (
      r'[-\w.]+ is not (?:a |an )?(?:number|integer) >= (.*)',
      r'it must be at least \1.',
    ),
    (
      r'[-\w.]+ is not an? (integer|number) in the range \[(.*), (.*)\]',
      r'it must lie between \2 and \3.',
    ),
    (r'[-\w.]+ is not an? (positive|non-negative) (\w+)', _of_sign),
    (r'^flag (--)', r'\1'),
    (r'(?s)\n.*', ''),
  ):
    text = re.sub(pattern, replacement, text)
  return text
