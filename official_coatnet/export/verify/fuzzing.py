"""Sends an export what no honest client sends, and counts what it costs.

Damaged images without number, and a few that are made to cost much: all of them
are to be answered or refused, in memory and CPU time that have a limit. Time is
that of the CPU, which other work on the machine does not change.
"""

import subprocess
import time
from collections.abc import Callable, Sequence

import numpy as np

from official_coatnet.export import versions
from official_coatnet.export.verify import bombs, c_api, runners, samples
from official_coatnet.export.verify.comparison import Check, Reply, Request

# Damaged images that one process answers, and how many seconds by the clock and
# bytes of memory it may take for them, the network included.
_CHUNK = 500
_TIMEOUT = 1200
_MEMORY = 2e9
# Seconds of CPU that an image may take more than an honest one does.
CPU_SECONDS = 2.0
# Honest images to begin with: the first warms up, the last is the measure.
_HONEST = 3


def send_damaged(
  path: str,
  *,
  count: int,
  seed: int = 0,
  progress: Callable[[int, int], None] | None = None,
) -> Check:
  """Sends damaged images, each in a request of its own, to TensorFlow's C++.

  Args:
    path: The export.
    count: How many.
    seed: Of the damage.
    progress: Called with how many are answered, of how many.
  """
  originals = samples.make_images(16, side=64)
  originals += bombs.make_small()
  problems, refused, peak, slowest = [], 0, 0, 0.0
  for start in range(0, count, _CHUNK):
    numbers = range(start, min(start + _CHUNK, count))
    images = [samples.make_damaged(i, originals, seed=seed) for i in numbers]
    try:
      replies, memory, seconds = _ask_cpp(path, images)
    except (c_api.LoadError, subprocess.TimeoutExpired) as e:
      problems.append(f'images {numbers[0]} to {numbers[-1]}: {e}')
      continue
    peak, slowest = max(peak, memory), max(slowest, *seconds)
    names = [f'image {i}' for i in numbers]
    problems += _find_problems(names, replies, seconds)
    refused += sum(map(_is_refused, replies))
    if progress is not None:
      progress(numbers[-1] + 1, count)
  if peak > _MEMORY:
    problems.append(f'{peak / 1e9:.2f} GB of memory')
  name = f'C++: {count} damaged images, {refused} refused'
  limits = f'at most {peak / 1e9:.2f} GB and {slowest:.2f} s of CPU'
  return Check(f'{name}, {limits}', problems)


def send_bombs(path: str) -> list[Check]:
  """Sends small files that are made to cost much, to Python and to C++.

  Args:
    path: The export.

  Returns:
    A check of each way to run it.
  """
  options = versions.read_provenance(path).options
  made = bombs.make(max_pixels=options.max_pixels)
  ways = {'Python': _ask_python, 'C++': _ask_cpp}
  checks = []
  for way, ask in ways.items():
    try:
      replies, _, seconds = ask(path, list(made.values()))
    except (c_api.LoadError, subprocess.TimeoutExpired) as e:
      checks.append(Check(f'{way}: files made to cost much', [str(e)]))
      continue
    problems = _find_problems(list(made), replies, seconds)
    name = f'{way}: {len(made)} files made to cost much, '
    name += f'{sum(map(_is_refused, replies))} refused, '
    name += f'at most {max(seconds):.2f} s of CPU'
    checks.append(Check(name, problems))
  return checks


def _is_refused(reply: Reply | str) -> bool:
  return isinstance(reply, str) or not reply.get('ok', np.ones(1)).all()


def _find_problems(
  names: Sequence[str],
  replies: Sequence[Reply | str],
  seconds: Sequence[float],
) -> list[str]:
  """Says which images took too long, or were answered by no number."""
  problems = []
  for name, reply, taken in zip(names, replies, seconds):
    if taken > CPU_SECONDS:
      problems.append(f'{name}: {taken:.1f} s of CPU')
    if isinstance(reply, str):
      continue
    if not np.isfinite(reply['logits']).all():
      problems.append(f'{name}: the logits are not finite')
  return problems


def _requests(images: Sequence[bytes]) -> list[Request]:
  """Makes a request of each, behind honest ones."""
  requests = []
  for image in (*samples.make_images(1, side=64) * _HONEST, *images):
    value = np.empty([1], object)
    value[0] = image
    requests.append(Request('serving_default', 'image_bytes', value))
  return requests


def _above_honest(seconds: Sequence[float]) -> list[float]:
  """Returns what each image takes more than the last of the honest ones."""
  honest = seconds[_HONEST - 1]
  return [max(each - honest, 0.0) for each in seconds[_HONEST:]]


def _ask_cpp(
  path: str, images: Sequence[bytes]
) -> tuple[list[Reply | str], int, list[float]]:
  replies, memory, seconds = runners.cost_in_cpp(
    path, _requests(images), timeout=_TIMEOUT
  )
  return replies[_HONEST:], memory, _above_honest(seconds)


def _ask_python(
  path: str, images: Sequence[bytes]
) -> tuple[list[Reply | str], int, list[float]]:
  answer, replies, seconds = runners.run_in_python(path), [], []
  for request in _requests(images):
    start = time.process_time()
    replies += answer([request])
    seconds.append(time.process_time() - start)
  return replies[_HONEST:], 0, _above_honest(seconds)
