"""Tests of tools/benchmark/peers.py, on a small network, without the peers."""

import json
import os
import subprocess
import sys
from unittest import mock

import tensorflow as tf
from absl.testing import flagsaver

from tools.benchmark import peers, peers_variants

SETTINGS = {
  'variant': 'ours',
  'model': 'coatnet_test',
  'image_size': 32,
  'batch_size': 2,
  'threads': 1,
}


class VariantsTest(tf.test.TestCase):
  def test_examples(self):
    settings = peers_variants.Settings(**SETTINGS)
    images, labels = settings.examples()
    self.assertEqual((images.shape, images.dtype), ((2, 32, 32, 3), 'float32'))
    self.assertEqual(labels.shape, (2,))
    self.assertBetween(labels.min(), 0, 999)
    # Every process makes the same.
    self.assertAllEqual(images, settings.examples()[0])

  def test_serve_does_as_it_is_told(self):
    done, answers = [], []
    works = {
      'training': lambda: done.append('t'),
      'inference': lambda: done.append('i'),
    }
    lines = [
      json.dumps({'work': work, 'repeats': repeats})
      for work, repeats in (('training', 2), ('inference', 1))
    ]
    peers_variants.serve(works, lines=lines, answer=answers.append)
    self.assertEqual(done, ['t', 't', 'i'])
    for answer in answers:
      self.assertEqual(set(answer), {'cpu_seconds', 'seconds'})
      self.assertGreaterEqual(min(answer.values()), 0.0)

  def test_training_is_training(self):
    # Threads are set before TensorFlow starts: in a process of its own.
    program = f"""
import sys
sys.argv = ['x']
from tools.benchmark import peers_variants as v
works = v.make_ours(v.Settings(**{SETTINGS}, works=('training',)))
import tensorflow as tf
print(*(works['training']() for _ in range(8)))
"""
    result = subprocess.run(
      [sys.executable, '-c', program],
      env={'PYTHONPATH': ':'.join(sys.path)},
      capture_output=True,
      text=True,
      check=False,
    )
    self.assertEqual(result.returncode, 0, result.stderr)
    losses = [float(each) for each in result.stdout.split()]
    self.assertAllClose(losses[0], 6.9, atol=0.5)  # ln 1000
    self.assertLess(losses[-1], losses[0])


class PeersTest(tf.test.TestCase):
  def test_processes_take_turns(self):
    class Fake:
      def __init__(self, cpu):
        self.cpu = iter(cpu)

      def run(self, work, *, repeats):
        order.append((work, repeats))
        cpu = next(self.cpu)
        return cpu, 3 * cpu

    order = []
    fakes = {'ours': Fake([99.0, 2.0, 4.0]), 'theirs': Fake([99.0, 6.0, 8.0])}
    by_cpu, by_wall = peers.compare(fakes, 'training', rounds=2, steps=2)
    self.assertEqual(order, [('training', 2)] * 6)
    self.assertEqual(by_cpu.seconds['ours'], (1.0, 2.0))
    self.assertEqual(by_wall.seconds['theirs'], (9.0, 12.0))
    self.assertEqual(by_cpu.ratio('ours', to='theirs'), 2.5)

  def test_a_process_answers(self):
    process = peers.Process(sys.executable, {**SETTINGS, 'works': []})
    self.assertEqual(process.wait(), {'ready': True})
    process.close()

  def test_a_process_that_fails_says_why(self):
    process = peers.Process(sys.executable, {**SETTINGS, 'variant': 'x'})
    with self.assertRaisesRegex(RuntimeError, "'x' has ended(.|\n)*KeyError"):
      process.wait()
    process.close()

  def test_what_is_chosen_for_our_tensorflow_is_not_for_that_of_others(self):
    python = self.create_tempfile(
      'python', '#!/bin/sh\necho "<$OTHER$TF_USE_LEGACY_KERAS>" >&2\n'
    )
    os.chmod(python.full_path, 0o700)
    with mock.patch.dict(os.environ, TF_USE_LEGACY_KERAS='1', OTHER='stays'):
      process = peers.Process(python.full_path, SETTINGS)
    with self.assertRaises(RuntimeError) as raised:
      process.wait()
    process.close()
    self.assertIn('<stays>', str(raised.exception))

  @flagsaver.flagsaver(peers_python='/nowhere/python')
  def test_without_the_environment_it_says_how_to_make_it(self):
    with self.assertRaisesRegex(FileNotFoundError, '/nowhere.*make peers'):
      peers.main(['peers.py'])


if __name__ == '__main__':
  tf.test.main()
