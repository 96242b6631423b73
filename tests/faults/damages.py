"""Checkpoints that are damaged, and all that reads checkpoints.

Of a finished run the latest checkpoint is cut, flipped, emptied or deleted in
part, or the file that names it is. Each reader has to use the newest whole one,
say which was left out, and answer as if the damaged one had never been.
"""

import os
import random
import re
import shutil
from collections.abc import Callable, Iterator

import tensorflow as tf

from tests.faults import bench as bench_lib, ledger, small_run

_LAST = small_run.TOTAL_STEPS
_DATA = f'ckpt-{_LAST}.data-00000-of-00001'
_INDEX = f'ckpt-{_LAST}.index'
_STATE = 'checkpoint'

# What damages the folder of a run.
Damage = Callable[[str], None]
# Reads a folder; returns the exit code, what is to be equal, and the words.
Reading = tuple[int, object, str]


def damages(seed: int) -> dict[str, Damage]:
  """Returns ways to damage the latest checkpoint, by name."""
  found: dict[str, Damage] = {}
  chance = random.Random(f'{seed} damage')
  for name, what in ((_DATA, 'data'), (_INDEX, 'index')):
    for share in (0.0, 0.3, 0.9999):
      found[f'{what} cut at {share:.0%}'] = _cut(name, share)
    for _ in range(3):
      share, bit = chance.random(), chance.randrange(8)
      key = f'{what} flipped, bit {bit} at {share:.2%}'
      found[key] = _flip(name, share, bit)
    found[f'{what} deleted'] = _delete(name)
    found[f'{what} all zeros'] = _write(name, bytes(20_000))
  found['state lost'] = _delete(_STATE)
  for what, contents in (
    ('empty', b''),
    ('garbage', bytes(range(128, 250))),
    ('words', b'it was here yesterday\n'),
    ('naming a missing one', b'model_checkpoint_path: "ckpt-99"\n'),
  ):
    found[f'state {what}'] = _write(_STATE, contents)
  return found


def _cut(name: str, share: float) -> Damage:
  def apply(folder: str) -> None:
    path = os.path.join(folder, name)
    os.truncate(path, int(os.path.getsize(path) * share))

  return apply


def _flip(name: str, share: float, bit: int) -> Damage:
  def apply(folder: str) -> None:
    path = os.path.join(folder, name)
    with open(path, 'r+b') as f:
      contents = bytearray(f.read())
      contents[int(len(contents) * share)] ^= 1 << bit
      f.seek(0)
      f.write(contents)

  return apply


def _delete(name: str) -> Damage:
  return lambda folder: os.remove(os.path.join(folder, name))


def _write(name: str, contents: bytes) -> Damage:
  def apply(folder: str) -> None:
    with open(os.path.join(folder, name), 'wb') as f:
      f.write(contents)

  return apply


def cases(*, seed: int) -> Iterator[ledger.Case]:
  """Every damage with every reader."""
  for name, damage in damages(seed).items():
    for reader in READERS:
      yield ledger.Case(
        f'damage: {name}, {reader}',
        _check(damage, reader, of_state=name.startswith('state')),
        seconds=12.0,
      )


def _check(damage: Damage, reader: str, *, of_state: bool):
  def check(bench: bench_lib.Bench) -> list[str]:
    read = READERS[reader]
    whole = small_run.whole(bench)
    step = _LAST
    if not of_state:
      step = small_run.whole_checkpoint_steps(whole)[-2]
    expected = _expected(bench, reader, step)
    with bench.folder() as folder:
      run = os.path.join(folder, 'run')
      shutil.copytree(whole, run)
      damage(run)
      code, found, words = read(bench, run, folder)
    if code:
      return [f'exit code {code}:\n{small_run.tail(words)}']
    problems = [] if found == expected else [f'{found} instead of {expected}']
    if 'Traceback' in words:
      problems.append(small_run.tail(words, 30))
    if reader != 'summarize' and not _warned(words, of_state=of_state):
      problems.append(f'no warning:\n{small_run.tail(words)}')
    return problems

  return check


def _warned(words: str, *, of_state: bool) -> bool:
  """Whether a warning names what is damaged."""
  name = _STATE if of_state else f'ckpt-{_LAST}'
  return any(
    line.startswith('warning: ') and name in line for line in words.splitlines()
  )


def _expected(bench: bench_lib.Bench, reader: str, step: int) -> object:
  """Returns what a reader answers where there is no later checkpoint."""
  whole = small_run.whole(bench)

  def make(folder: str) -> None:
    run = os.path.join(folder, 'run')
    shutil.copytree(whole, run)
    _forget_after(run, step)
    code, found, words = READERS[reader](bench, run, folder)
    if code:
      raise AssertionError(small_run.tail(words))
    shutil.rmtree(run)
    with open(os.path.join(folder, 'answer'), 'w') as f:
      f.write(repr(found))

  made = bench.shared.get(f'expected_{reader}_{step}', make)
  with open(os.path.join(made, 'answer')) as f:
    return _Written(f.read())


class _Written(str):
  """What was found, as it was written down."""

  def __eq__(self, other: object) -> bool:
    return str(self) == repr(other)

  __hash__ = str.__hash__


def _forget_after(run: str, step: int) -> None:
  """Removes the checkpoints after a step as if they had never been."""
  kept = []
  for each in small_run.whole_checkpoint_steps(run):
    if each <= step:
      kept.append(f'ckpt-{each}')
      continue
    for name in os.listdir(run):
      if name.startswith(f'ckpt-{each}.'):
        os.remove(os.path.join(run, name))
  tf.compat.v1.train.update_checkpoint_state(
    run, kept[-1], all_model_checkpoint_paths=kept
  )


def _resume(bench: bench_lib.Bench, run: str, folder: str) -> Reading:
  del folder
  result = bench.run('train', small_run.arguments(run))
  found = None
  if not result.code:
    found = small_run.differences(run, small_run.whole(bench))
  return result.code, found, result.errors


def _eval(bench: bench_lib.Bench, run: str, folder: str) -> Reading:
  del folder
  result = bench.run('train', [*small_run.arguments(run), '--mode=eval'])
  return result.code, _evaluation(result.errors), result.errors


def _continuous(bench: bench_lib.Bench, run: str, folder: str) -> Reading:
  """It waits for a checkpoint of the last step, where that one is damaged."""
  del folder
  arguments = [*small_run.arguments(run), '--mode=continuous_eval']
  call = bench.start('train', arguments)
  bench_lib.wait_until(
    lambda: _evaluation(call.words()[1]) is not None, call, seconds=120
  )
  result = bench_lib.kill(call, 9)
  found = _evaluation(result.errors)
  code = result.code if found is None else 0
  return code, found, result.errors


def _evaluation(words: str) -> str | None:
  found = re.search(r'evaluated at step .*', words)
  return found[0] if found else None


def _export(bench: bench_lib.Bench, run: str, folder: str) -> Reading:
  exports = os.path.join(folder, 'exports')
  result = bench.run(
    'export',
    [
      *(f'--model_dir={run}', f'--export_dir={exports}', '--batch_sizes=1'),
      '--notime_warmup',
    ],
  )
  found = None
  if not result.code:
    (version,) = os.listdir(exports)
    found = _bundle(os.path.join(exports, version, 'variables', 'variables'))
  return result.code, found, result.errors


def _initialize(bench: bench_lib.Bench, run: str, folder: str) -> Reading:
  """Starts another run from its weights, and looks at them after two steps."""
  other = os.path.join(folder, 'other')
  settings = {
    'RunConfig__init_checkpoint': repr(run),
    'RunConfig__accept_other_data': 'True',
    'TRAIN_STEPS': '2',
  }
  result = bench.run(
    'train', [*small_run.arguments(other, **settings), '--mode=train']
  )
  found = None
  if not result.code:
    found = _bundle(os.path.join(other, 'ckpt-2'), without='clock|save_counter')
  return result.code, found, result.errors


def _summarize(bench: bench_lib.Bench, run: str, folder: str) -> Reading:
  del folder
  result = bench.run('summarize', [f'--model_dir={run}'])
  found = result.output.replace(run, 'run')
  return result.code, found, result.errors


def _bundle(prefix: str, *, without: str = r'^$') -> str:
  """Returns the sha256 of the values of a bundle of variables."""
  reader = tf.train.load_checkpoint(prefix)
  values = []
  for name in sorted(reader.get_variable_to_shape_map()):
    if name != '_CHECKPOINTABLE_OBJECT_GRAPH' and not re.search(without, name):
      values.append(reader.get_tensor(name))
  return small_run.digest(values)


READERS: dict[str, Callable[[bench_lib.Bench, str, str], Reading]] = {
  'resume': _resume,
  'eval': _eval,
  'continuous_eval': _continuous,
  'export': _export,
  'init_checkpoint': _initialize,
  'summarize': _summarize,
}
