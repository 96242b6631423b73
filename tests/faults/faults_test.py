"""The short form of the suite of faults, and tests of how it judges."""

import io
import json
import os
import random
import shutil

import numpy as np
import tensorflow as tf
from absl.testing import absltest

from tests.faults import (
  bench as bench_lib,
  damages,
  disks,
  kills,
  ledger,
  pairs,
  small_run,
  suite,
)


class LedgerTest(absltest.TestCase):
  def _book(self):
    self.log, self.said = io.StringIO(), []
    return ledger.Ledger(log=self.log, total=40.0, say=self.said.append)

  def test_what_is_survived_lost_and_skipped(self):
    def skip(bench):
      del bench
      raise ledger.SkipError('there is no disk')

    def fail(bench):
      del bench
      raise KeyError('of the suite itself')

    book = self._book()
    for case in (
      ledger.Case('kill: one', lambda bench: [], count=3),
      ledger.Case('kill: two', lambda bench: ['it is\nruined'], count=4),
      ledger.Case('disk: three', skip, count=5),
      ledger.Case('disk: four', fail),
    ):
      book.run(case, None)
    self.assertEqual(
      book.last_lines(),
      [
        'disk: 1 tried, 0 survived, 1 lost',
        'kill: 7 tried, 3 survived, 4 lost',
        'skipped: disk: three: there is no disk',
        'Tried 8, survived 3, lost 5.',
      ],
    )
    self.assertIn('it is\n    ruined', self.log.getvalue())
    self.assertIn("KeyError: 'of the suite itself'", self.log.getvalue())
    self.assertRegex(self.said[-1], r'^8 faults, 5 lost, 0 minutes; about 0')

  def test_each_bench_has_one_case_at_a_time(self):
    used = []

    def check(bench):
      bench.append(0)
      used.append(len(bench))
      bench.pop()
      return []

    book = self._book()
    several = [ledger.Case('kill: x', check) for _ in range(20)]
    ledger.run_all(several, book, benches=[[], []])
    self.assertEqual(used, [1] * 20)
    self.assertEqual(book.survived.total(), 20)


class CasesTest(absltest.TestCase):
  def test_all_that_was_promised(self):
    cases = list(suite.all_cases(seed=0, num_kills=200))
    counts = {}
    for case in cases:
      counts[case.part] = counts.get(case.part, 0) + case.count
    self.assertEqual(counts['kill'], 200)
    self.assertGreaterEqual(counts['disk'], 50)
    self.assertEqual(
      counts['damage'], len(damages.damages(0)) * len(damages.READERS)
    )
    self.assertGreater(counts['settings'], 1678)
    names = [case.name for case in cases]
    self.assertEqual(len(names), len(set(names)))
    # Under two hours on two cores.
    self.assertLess(sum(case.seconds for case in cases), 2 * 2 * 3600)

  def test_chance_is_a_function_of_the_seed(self):
    def names(seed):
      return [
        case.name
        for cases in (
          damages.cases(seed=seed),
          disks.cases(count=10, seed=seed),
          pairs.cases(count=4, seed=seed),
        )
        for case in cases
      ]

    self.assertEqual(names(3), names(3))
    self.assertNotEqual(names(3), names(4))


class SmallRunTest(absltest.TestCase):
  """What is compared of two runs."""

  def setUp(self):
    super().setUp()
    self.ours, self.theirs = (
      self._write(os.path.join(self.create_tempdir().full_path, 'run'))
      for _ in range(2)
    )

  def _write(self, folder, *, value=1.0):
    os.makedirs(folder, exist_ok=True)
    checkpoint = tf.train.Checkpoint(weight=tf.Variable([value, 2.0]))
    checkpoint.write(os.path.join(folder, f'ckpt-{small_run.TOTAL_STEPS}'))
    with open(os.path.join(folder, 'metrics.jsonl'), 'w') as f:
      for step in (2, 4):
        line = {'step': step, 'train/loss': 0.5, 'train/core_hours': value}
        f.write(json.dumps(line) + '\n')
    return folder

  def _problems(self):
    return small_run.differences(self.ours, self.theirs)

  def test_equal(self):
    with open(os.path.join(self.ours, 'events.out.tfevents.1'), 'w') as f:
      f.write('of this run alone')
    self.assertEmpty(self._problems())

  def test_a_bit_of_a_variable(self):
    self._write(
      self.ours, value=float(np.nextafter(np.float32(1), np.float32(2)))
    )
    (problem,) = self._problems()
    self.assertRegex(problem, '1 variables differ, such as weight')

  def test_lines_of_metrics(self):
    path = os.path.join(self.ours, 'metrics.jsonl')
    with open(path) as f:
      first, second = f.readlines()
    for lines, expected in (
      (first, 'has 1 lines instead of 2'),
      (first + first + second, 'line 2: .*instead of'),
      (first + second.replace('0.5', '0.50001'), 'line 2'),
      (first + second[:9], "line 2: '{"),
    ):
      with open(path, 'w') as f:
        f.write(lines)
      (problem,) = self._problems()
      self.assertRegex(problem, expected)

  def test_what_is_left_over(self):
    os.mkdir(os.path.join(self.ours, 'ckpt-2_temp'))
    with open(os.path.join(self.ours, 'ckpt-2_temp', 'part'), 'w') as f:
      f.write('x')
    self.assertEqual(self._problems(), ['left over: ckpt-2_temp/part'])

  def test_whole_checkpoints(self):
    for name in ('ckpt-3.index', 'ckpt-5.data-00000-of-00001'):
      with open(os.path.join(self.ours, name), 'w') as f:
        f.write('')
    steps = small_run.whole_checkpoint_steps(self.ours)
    self.assertEqual(steps, [small_run.TOTAL_STEPS])
    self.assertEmpty(small_run.whole_checkpoint_steps('/nowhere'))

  def test_damages_change_what_they_name(self):
    for name, damage in damages.damages(0).items():
      folder = os.path.join(self.create_tempdir().full_path, 'run')
      shutil.copytree(self.ours, folder)
      with open(os.path.join(folder, 'checkpoint'), 'w') as f:
        f.write('model_checkpoint_path: "ckpt-48"\n')
      before = self._contents(folder)
      damage(folder)
      after = self._contents(folder)
      changed = {n for n in before if before[n] != after.get(n)}
      ending = {'data': '.data-', 'index': '.index', 'state': 'checkpoint'}
      self.assertLen(changed, 1, msg=name)
      self.assertIn(ending[name.split()[0]], changed.pop(), msg=name)

  def _contents(self, folder):
    contents = {}
    for name in os.listdir(folder):
      with open(os.path.join(folder, name), 'rb') as f:
        contents[name] = f.read()
    return contents


class ShortFormTest(absltest.TestCase):
  """One fault of each kind that a run may meet, of the long form's own."""

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    folder = cls.create_tempdir(cls()).full_path
    cls.bench = bench_lib.Bench(folder, bench_lib.Shared(folder))

  @classmethod
  def tearDownClass(cls):
    cls.bench.close()
    super().tearDownClass()

  def test_kills(self):
    """A run is killed twice, and comes to its end."""
    chance = random.Random(1)
    self.assertEmpty(kills._kill_training(self.bench, chance, 2))

  def _try(self, cases, name):
    """Tries the first case whose name begins so."""
    case = next(each for each in cases if each.name.startswith(name))
    self.assertEmpty(case.check(self.bench))

  def test_damage(self):
    self._try(damages.cases(seed=0), 'damage: data cut at 30%, eval')

  def test_disk(self):
    self._try(disks.cases(count=5, seed=0), 'disk: no file above')


if __name__ == '__main__':
  absltest.main()
