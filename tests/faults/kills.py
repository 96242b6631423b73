"""Runs that are killed again and again, and have to come to the same end.

A run is started, killed at a moment that chance has chosen, and started again
by the same command until it is through. Then it is compared with one that was
never killed. A process costs ten seconds, and so a kill costs no more.
"""

import contextlib
import glob
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

from tests.faults import bench as bench_lib, ledger, small_run
from tests.fixtures import image_files, repository, tool_calls

SIGNALS = (signal.SIGKILL, signal.SIGTERM)
# What a run has said or done when a phase begins, and how long it lasts in
# seconds: the signal comes at a random moment of it.
_PHASES = {
  'start': (None, 2.0),
  'compile': (r'train \| step:', 6.0),
  'training': (r'step \d+/', 0.4),
  'evaluation': (r'eval \| step:', 0.2),
  'saving': ('ckpt-', 0.0),
  'end': (rf'step {small_run.TOTAL_STEPS}/', 1.0),
}
# Exit codes that a signal may have: what shells make of it; one that asks to be
# started again; nothing at all, where it came too late; and that of a process
# that had not come to its first line, where nobody else could see to it.
_CODES = {signal.SIGKILL: (-9, 0), signal.SIGTERM: (143, 75, 0)}
_CODES_OF_START = {signal.SIGKILL: (-9, 0), signal.SIGTERM: (143, -15, 0)}
# Kills of one run, so that a run that is lost does not take many with it.
_IN_A_ROW = 8


def cases(*, count: int, seed: int) -> Iterator[ledger.Case]:
  """Makes `count` kills: of training mostly, of export and tfrecords."""
  of_export = count // 8
  of_records = count // 5
  of_start = count // 20
  of_training = count - of_export - of_records - of_start
  for number, size in enumerate(_split(of_training, _IN_A_ROW)):
    yield _case('training', number, size, seed=seed, kill=_kill_training)
  for number, size in enumerate(_split(of_start, 5)):
    yield _case('imports', number, size, seed=seed, kill=_kill_imports)
  for number, size in enumerate(_split(of_export, 5)):
    yield _case('export', number, size, seed=seed, kill=_kill_export)
  for number, size in enumerate(_split(of_records, 10)):
    yield _case('tfrecords', number, size, seed=seed, kill=_kill_records)


def _split(count: int, size: int) -> list[int]:
  return [min(size, count - at) for at in range(0, count, size)]


def _case(what, number, count, *, seed, kill) -> ledger.Case:
  name = f'kill: {what}, row {number} of {count} signals'

  def check(bench: bench_lib.Bench) -> list[str]:
    # Of all three, so that a row can be tried alone.
    return kill(bench, random.Random(f'{seed} {what} {number}'), count)

  return ledger.Case(name, check, count=count, seconds=14.0 * (count + 1))


def _kill_training(
  bench: bench_lib.Bench, chance: random.Random, count: int
) -> list[str]:
  """Kills a run in phases that chance chooses."""
  expected = small_run.whole(bench)
  problems, done = [], 0
  while done < count:
    with bench.folder() as folder:
      model_dir, history = os.path.join(folder, 'run'), []
      while done < count and small_run.TOTAL_STEPS not in (
        small_run.whole_checkpoint_steps(model_dir)
      ):
        phase = chance.choice(list(_PHASES))
        number = chance.choice(SIGNALS)
        before = small_run.whole_checkpoint_steps(model_dir)
        # With it orbit says when it begins to train and to evaluate.
        arguments = ['--verbose', *small_run.arguments(model_dir)]
        call = bench.start('train', arguments)
        _wait_for(phase, call, model_dir, chance=chance)
        result = bench_lib.kill(call, number)
        done += 1
        history.append(f'{signal.Signals(number).name} in {phase}')
        problems += _after(result, number, before, model_dir, history)
      problems += _to_the_end(bench, model_dir, expected, history)
  return problems


def _wait_for(
  phase: str, call: tool_calls.Call, model_dir: str, *, chance: random.Random
) -> None:
  """Waits for a random moment of a phase, or for the end of the run."""
  pattern, length = _PHASES[phase]
  times = 1 if phase in ('start', 'compile', 'end') else chance.randint(1, 6)

  def has_come() -> bool:
    if phase == 'saving':
      return _is_saving(model_dir)
    return len(re.findall(pattern, call.words()[1])) >= times

  if pattern is not None:
    for _ in range(times if phase == 'saving' else 1):
      if not bench_lib.wait_until(has_come, call, seconds=120):
        return
  delay = chance.uniform(0, length)
  bench_lib.wait_until(lambda: False, call, seconds=delay)


def _is_saving(model_dir: str) -> bool:
  """Whether files of a checkpoint are there that are not in their place."""
  pattern = os.path.join(model_dir, '*temp*')
  return bool(glob.glob(pattern) or glob.glob(f'{model_dir}/.*saving*'))


def _after(result, number, before, model_dir, history) -> list[str]:
  """Checks what a killed run has left."""
  problems = []
  codes = _CODES_OF_START if history[-1].endswith('start') else _CODES
  if result.code not in codes[number]:
    problems.append(f'exit code {result.code} after {history[-1]}')
  if 'Traceback' in result.errors:
    problems.append(
      f'a traceback after {history[-1]}:\n{small_run.tail(result.errors, 30)}'
    )
  steps = small_run.whole_checkpoint_steps(model_dir)
  if before and not (steps and steps[-1] >= before[-1]):
    problems.append(f'{history[-1]} took checkpoint {before[-1]} away')
  if result.code == 75:
    # It has been said that nothing is lost.
    trained = [int(s) for s in re.findall(r'step (\d+)/', result.errors)]
    if trained and (not steps or steps[-1] < trained[-1]):
      problems.append(f'{history[-1]}: step {trained[-1]} was not saved')
  return problems


def _to_the_end(bench, model_dir, expected, history) -> list[str]:
  result = bench.run('train', small_run.arguments(model_dir))
  if result.code:
    problems = [f'exit code {result.code}:\n{small_run.tail(result.errors)}']
  else:
    problems = small_run.differences(model_dir, expected)
  return [f'after {", ".join(history)}: {p}' for p in problems]


def _kill_imports(
  bench: bench_lib.Bench, chance: random.Random, count: int
) -> list[str]:
  """Kills processes that have just begun, while they import TensorFlow."""
  del bench
  problems = []
  command = [
    *(sys.executable, os.path.join(repository.ROOT, 'tools', 'train.py')),
    *small_run.arguments('/nowhere/run'),
    '--dry_run',
  ]
  for _ in range(count):
    number = chance.choice(SIGNALS)
    process = subprocess.Popen(
      command, cwd='/', stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    # From the first lines of the tool on, which see to signals.
    time.sleep(chance.uniform(0.4, 3.0))
    process.send_signal(number)
    words = process.communicate()[0].decode()
    if process.returncode not in _CODES_OF_START[number]:
      problems.append(f'exit code {process.returncode} after {number}: {words}')
    if 'Traceback' in words:
      problems.append(f'a traceback after {number}: {words}')
  return problems


def _kill_export(
  bench: bench_lib.Bench, chance: random.Random, count: int
) -> list[str]:
  """Kills an export, and makes it in the end."""
  run = small_run.whole(bench)
  problems = []
  with bench.folder() as folder:
    exports = os.path.join(folder, 'exports')
    arguments = [
      *(f'--model_dir={run}', f'--export_dir={exports}', '--batch_sizes=1'),
      '--notime_warmup',
    ]
    for _ in range(count):
      number = chance.choice(SIGNALS)
      call = bench.start('export', arguments)
      problems += _kill_within(call, number, seconds=chance.uniform(0, 12))
      for version in _versions(exports):
        if not os.path.exists(os.path.join(version, 'saved_model.pb')):
          problems.append(f'{version} is not whole after {number}')
    result = bench.run('export', arguments)
    if result.code:
      problems.append(small_run.tail(result.errors))
    else:
      problems += _unequal_exports(_versions(exports))
      left = set(os.listdir(exports)) - {
        os.path.basename(v) for v in _versions(exports)
      }
      if left:
        problems.append(f'left over: {sorted(left)}')
  return problems


def _kill_within(call, number, *, seconds: float) -> list[str]:
  """Sends a signal after so long; returns what is wrong with its end."""
  bench_lib.wait_until(lambda: False, call, seconds=seconds)
  result = bench_lib.kill(call, number)
  problems = []
  if result.code not in (*_CODES[number], *_CODES_OF_START[number]):
    problems.append(f'exit code {result.code} after {number}')
  if 'Traceback' in result.errors:
    problems.append(small_run.tail(result.errors, 30))
  return problems


def _versions(exports: str) -> list[str]:
  return sorted(glob.glob(os.path.join(exports, '[0-9]*')))


def _unequal_exports(versions: list[str]) -> list[str]:
  """Compares the weights of the last export with those of all before."""
  contents = []
  for version in versions:
    path = os.path.join(version, 'variables', 'variables.data-00000-of-00001')
    with open(path, 'rb') as f:
      contents.append(f.read())
  return [
    f'{version} has other weights'
    for version, each in zip(versions, contents)
    if each != contents[-1]
  ]


def _kill_records(
  bench: bench_lib.Bench, chance: random.Random, count: int
) -> list[str]:
  """Kills a build of records, and makes it in the end."""
  source = bench.shared.get('pictures', _write_pictures)

  def arguments(folder: str) -> list[str]:
    return [
      *('folder', f'--input_dir={source}', f'--output_dir={folder}'),
      *('--num_processes=2', '--num_shards=20'),
    ]

  def build(folder: str) -> None:
    result = bench.run('tfrecords', arguments(folder))
    if result.code:
      raise AssertionError(small_run.tail(result.errors))

  expected = bench.shared.get('records', build)
  problems = []
  with bench.folder() as folder:
    built = os.path.join(folder, 'records')
    for _ in range(count):
      number = chance.choice(SIGNALS)
      call = bench.start('tfrecords', arguments(built))
      problems += _kill_within(call, number, seconds=chance.uniform(0, 1.5))
    result = bench.run('tfrecords', arguments(built))
    if result.code:
      problems.append(small_run.tail(result.errors))
    problems += _unequal_folders(built, expected)
  return problems


def _write_pictures(folder: str) -> None:
  for i in range(120):
    path = os.path.join(folder, f'c{i % 2}', f'{i}.png')
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'wb') as f:
      f.write(image_files.encode(i, 'PNG', size=(400, 300)))


def _unequal_folders(folder: str, expected: str) -> list[str]:
  names = set(os.listdir(expected))
  found = set(os.listdir(folder)) if os.path.isdir(folder) else set()
  problems = [f'other files: {sorted(names ^ found)}'] if names ^ found else []
  for name in sorted(names & found):
    contents = []
    for path in (folder, expected):
      with (
        contextlib.suppress(IsADirectoryError),
        open(os.path.join(path, name), 'rb') as f,
      ):
        contents.append(f.read())
    if len(set(contents)) > 1:
      problems.append(f'{name} is another')
  return problems
