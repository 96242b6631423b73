"""How fast CoAtNet-0 is on this CPU, against other packages' CoAtNet-0.

    make peers      # once: the other packages, in an environment of their own
    python tools/benchmark/peers.py --threads=1

times inference and training steps (forward, backward, AdamW) of one batch, for
this package, keras-cv-attention-models (on the same TensorFlow) and timm (on
PyTorch's CPU build). Each has a process of its own; they take turns, and the
others wait meanwhile. Ours is what is meant for a CPU: in inference, what
tools/export.py exports; in training, ModelConfig.implementation = 'cpu'. The
network without either is 'ours, reference'.

It prints milliseconds a batch, in CPU seconds of the process (all threads) and
by the clock, and last how many times as fast ours is: medians over the rounds.
On a busy machine the CPU seconds of one thread are the figures to trust. With
several threads PyTorch's wait in a loop, which counts as CPU time: there the
clock says more, on an idle machine. A process takes 2 to 3.5 GB at 8 images of
224: with --variants some at a time.
"""

import tools.prologue

import itertools
import json
import os
import subprocess
import sys
import tempfile

from absl import app, flags

from official_coatnet import stack
from tools import path_flags, progress
from tools.benchmark import peers_variants, timing

_PEERS_PYTHON = path_flags.DEFINE_path(
  'peers_python',
  os.path.join(tools.prologue.ROOT, '.venv_peers', 'bin', 'python'),
  'Python of the environment of the other packages.',
)
_VARIANTS = flags.DEFINE_list(
  'variants', None, 'Some of the variants beside "ours"; None for all.'
)
_WORKS = flags.DEFINE_list(
  'works', ['inference', 'training'], 'What to time, of these two.'
)
_IMAGE_SIZE = flags.DEFINE_integer(
  'image_size', 224, 'In pixels.', lower_bound=32
)
_BATCH_SIZE = flags.DEFINE_integer(
  'batch_size', 8, 'Images of a step and of a request.', lower_bound=1
)
_THREADS = flags.DEFINE_integer(
  'threads', 1, 'Threads that share an operation.', lower_bound=1
)
_ROUNDS = flags.DEFINE_integer(
  'rounds', 5, 'Rounds in which the variants take turns.', lower_bound=1
)
_STEPS = flags.DEFINE_integer(
  'steps', 2, 'Steps of a variant in a round.', lower_bound=1
)

OURS = 'ours'
_MIN_KECAM, _MIN_TIMM = 1.0, 1.3
# Name, how its process makes it, and the ratio to reach, or None.
_PEERS = {
  'ours, reference': (
    {
      'variant': 'ours',
      'model': 'coatnet_0',
      'implementation': 'reference',
    },
    None,
  ),
  'keras-cv-attention-models CoAtNet0': (
    {'variant': 'kecam', 'model': 'CoAtNet0'},
    _MIN_KECAM,
  ),
  'timm coatnet_0_224': (
    {'variant': 'timm', 'model': 'coatnet_0_224'},
    _MIN_TIMM,
  ),
  'timm coatnet_0_224, channels last': (
    {
      'variant': 'timm',
      'model': 'coatnet_0_224',
      'implementation': 'channels_last',
    },
    _MIN_TIMM,
  ),
  'timm coatnet_0_rw_224': (
    {'variant': 'timm', 'model': 'coatnet_0_rw_224'},
    _MIN_TIMM,
  ),
  'timm coatnet_0_rw_224, channels last': (
    {
      'variant': 'timm',
      'model': 'coatnet_0_rw_224',
      'implementation': 'channels_last',
    },
    _MIN_TIMM,
  ),
}


class Process:
  """A variant in a process of its own, which does as it is told."""

  def __init__(self, python: str, settings: dict):
    """Starts the process; `wait` says when it is ready.

    Args:
      python: Interpreter of its environment.
      settings: Of `peers_variants.Settings`.
    """
    self._name = settings['variant']
    # Open as long as the process is: `close` closes it.
    self._errors = tempfile.TemporaryFile('w+')  # noqa: SIM115
    self._process = subprocess.Popen(
      [python, peers_variants.__file__, json.dumps(settings)],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=self._errors,
      text=True,
      env=stack.environment_of_others(),
    )

  def wait(self) -> dict:
    """Returns the next answer.

    Raises:
      RuntimeError: If the process has ended, with what it last said.
    """
    assert self._process.stdout is not None  # It is a pipe.
    line = self._process.stdout.readline()
    if not line:
      code = self._process.wait()
      self._errors.seek(0)
      tail = '\n'.join(self._errors.read().splitlines()[-5:])
      raise RuntimeError(
        f'The process of {self._name!r} has ended with code {code}. {tail}'
      )
    return json.loads(line)

  def run(self, work: str, *, repeats: int) -> tuple[float, float]:
    """Returns CPU seconds and seconds of `repeats` times `work`."""
    print(
      json.dumps({'work': work, 'repeats': repeats}),
      file=self._process.stdin,
      flush=True,
    )
    answer = self.wait()
    return answer['cpu_seconds'], answer['seconds']

  def close(self):
    """Ends the process."""
    self._process.stdin.close()
    self._process.wait()
    self._process.stdout.close()
    self._errors.close()


def compare(
  processes: dict[str, Process], work: str, *, rounds: int, steps: int
) -> tuple[timing.Comparison, timing.Comparison]:
  """Lets the processes take turns; returns CPU seconds and seconds a step.

  A first round, which traces and fills caches, is not counted.
  """
  by_cpu: dict[str, tuple[float, ...]] = {name: () for name in processes}
  by_wall: dict[str, tuple[float, ...]] = {name: () for name in processes}
  turns = itertools.product((False, *[True] * rounds), processes.items())
  total = (1 + rounds) * len(processes)
  for counts, (name, process) in progress.counted(
    turns, total=total, what=f'turns of {work}', is_still=True
  ):
    cpu, wall = process.run(work, repeats=steps)
    if counts:
      by_cpu[name] += (cpu / steps,)
      by_wall[name] += (wall / steps,)
  return timing.Comparison(by_cpu), timing.Comparison(by_wall)


def _start(work: str, *, peers: dict) -> dict[str, Process]:
  common = {
    'image_size': _IMAGE_SIZE.value,
    'batch_size': _BATCH_SIZE.value,
    'threads': _THREADS.value,
    'works': [work],
  }
  variants = {
    OURS: {
      'variant': 'ours',
      'model': 'coatnet_0',
      'implementation': 'cpu',
    },
    **{name: settings for name, (settings, _) in peers.items()},
  }
  processes = {}
  for name, settings in variants.items():
    python = _PEERS_PYTHON.value
    if settings['variant'] == 'ours':
      python = sys.executable
    processes[name] = Process(python, {**settings, **common})
    processes[name].wait()
  return processes


def _chosen() -> dict:
  names = _PEERS if _VARIANTS.value is None else _VARIANTS.value
  unknown = sorted(set(names) - set(_PEERS))
  if unknown:
    raise app.UsageError(
      f'--variants names {unknown}; there are {list(_PEERS)}.'
    )
  return {name: _PEERS[name] for name in names}


def main(argv):
  """Runs the benchmark."""
  if len(argv) > 1:
    raise app.UsageError(f'Unexpected arguments: {argv[1:]}')
  peers, ratios = _chosen(), []
  unknown = sorted(set(_WORKS.value) - {'inference', 'training'})
  if unknown:
    raise app.UsageError(
      f"--works names {unknown}; there are 'inference' and 'training'."
    )
  python = _PEERS_PYTHON.value
  if os.path.isdir(python) or not os.access(python, os.X_OK):
    raise FileNotFoundError(
      f'{python} is no Python that can be run; run `make peers` once, or give '
      '--peers_python.'
    )
  for work in _WORKS.value:
    processes = _start(work, peers=peers)
    by_cpu, by_wall = compare(
      processes, work, rounds=_ROUNDS.value, steps=_STEPS.value
    )
    for process in processes.values():
      process.close()
    print(f'{work + ", ms a batch":38s} {"CPU":>8s} {"wall":>8s}')
    for name in processes:
      cells = [1e3 / each.rate(name) for each in (by_cpu, by_wall)]
      print(f'{name:38s} {cells[0]:8.0f} {cells[1]:8.0f}', flush=True)
    for name, (_, target) in peers.items():
      cpu, wall = (each.ratio(OURS, to=name) for each in (by_cpu, by_wall))
      line = (
        f'{work}, ours / {name}: {cpu:.2f} by CPU time, {wall:.2f} by the clock'
      )
      if target is not None:
        line += f'  (at least {target})' + ('' if cpu >= target else '  BELOW')
      ratios.append(line)
  print(
    f'\nbatch {_BATCH_SIZE.value}, {_THREADS.value} thread(s)',
    *ratios,
    sep='\n',
  )


if __name__ == '__main__':
  tools.prologue.run(main, mendable=(RuntimeError,))
