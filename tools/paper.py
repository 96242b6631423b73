"""Compares what is here with what the paper prints.

    python tools/paper.py --counts
    python tools/paper.py --counts --format=json

--counts: parameters and multiply-adds of every row of Tables 4, 5, 9, 12 and 13
that names a CoAtNet, counted from the built networks, and the sizes of Tables 3
and 11. The exit code is 1 if a row that should fit the paper does not.
"""

import json
import os
import sys
import time

# Without it TensorFlow's import prints warnings about CUDA that concern nobody
# here. Errors come as Python exceptions all the same.
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# So that the tool runs from a clone, from any folder, without installation.
sys.path.insert(0, _ROOT)

import tensorflow as tf  # noqa: E402
from absl import app, flags  # noqa: E402

from official_coatnet.analysis import paper_counts  # noqa: E402
from official_coatnet.training import clock  # noqa: E402

_COUNTS = flags.DEFINE_bool(
  'counts', False, 'Compare parameters and multiply-adds.'
)
_FORMAT = flags.DEFINE_enum(
  'format', 'text', ('text', 'json'), 'Of the output.'
)


def _count_networks() -> dict:
  """Counts all networks, and says on standard error how far it is."""
  networks = paper_counts.networks()
  # Building a network takes as long as it has blocks.
  work = [sum(config.blocks) for config in networks]
  counts, start = {}, time.monotonic()
  for i, config in enumerate(networks):
    left = ''
    if i:
      seconds = time.monotonic() - start
      seconds *= sum(work[i:]) / sum(work[:i])
      left = f', {clock.format_duration(seconds)} left'
    print(
      f'Counting {config.name} at {config.image_size}: network {i + 1} of '
      f'{len(networks)}{left}',
      file=sys.stderr,
    )
    counts[config] = paper_counts.count(config)
  return counts


def _compare_counts() -> int:
  comparisons = paper_counts.compare_all(_count_networks())
  if _FORMAT.value == 'json':
    print(json.dumps(paper_counts.to_dict(comparisons), indent=2))
  else:
    print(paper_counts.format_text(comparisons))
  problems = paper_counts.problems(comparisons)
  for problem in problems:
    print(f'{os.path.basename(sys.argv[0])}: {problem}', file=sys.stderr)
  return 1 if problems else 0


def main(argv):
  """Prints a comparison; returns the exit code."""
  if len(argv) > 1:
    raise app.UsageError(f'Unknown argument {argv[1]!r}.')
  if not _COUNTS.value:
    raise app.UsageError('Say what to compare: --counts.')
  tf.get_logger().setLevel('ERROR')
  return _compare_counts()


if __name__ == '__main__':
  app.run(main)
