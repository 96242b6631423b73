"""Tests of training.reporting."""

import json
import os

import tensorflow as tf

from official_coatnet.training import (
  model_dir,
  plan as plan_lib,
  reporting,
)


def _plan():
  return plan_lib.Plan(
    total_steps=100,
    warmup_steps=0,
    eval_interval=50,
    checkpoint_interval=50,
    steps_per_loop=10,
    eval_steps=1,
    num_train_examples=400,
    num_eval_examples=40,
    batch_size=40,
    per_replica_batch_size=20,
  )


def _without_goodput(line):
  return {k: v for k, v in line.items() if not k.startswith('goodput/')}


class ReportingTest(tf.test.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path
    self.path = os.path.join(self.folder, 'metrics.jsonl')
    self.time = 0.0
    self.step = tf.Variable(0, dtype=tf.int64)
    self.clock = reporting.Clock(
      num_cores=2, batch_size=40, now=lambda: self.time
    )
    self.reporter = reporting.Reporter(
      plan=_plan(),
      clock=self.clock,
      global_step=self.step,
      metrics_file=model_dir.MetricsFile(self.folder),
    )

  def _loop(self, **output):
    with self.clock.training(10):
      self.time += 2.0
    self.step.assign_add(10)
    with self.assertLogs(level='INFO') as logs:
      self.reporter.after_training_loop(output)
    return logs.output[-1]

  def test_lines_tell_training_from_evaluation(self):
    self._loop(loss=1.5, top1=0.5)
    self.reporter.after_evaluation({'loss': 1.25, 'top1': 0.75})
    with open(self.path) as f:
      lines = [json.loads(line) for line in f]
    self.assertEqual(
      [_without_goodput(line) for line in lines],
      [
        {'step': 10, 'epoch': 1.0, 'train/loss': 1.5, 'train/top1': 0.5},
        {'step': 10, 'epoch': 1.0, 'eval/loss': 1.25, 'eval/top1': 0.75},
      ],
    )

  def test_another_evaluation_is_marked_and_kept(self):
    self._loop(loss=1.5)
    self.reporter.after_evaluation({'loss': 1.25})
    self.reporter.evaluates_otherwise = True
    self.reporter.after_evaluation({'loss': 9.0})
    lines = model_dir.read_metrics(self.folder)
    self.assertEqual(lines[-1]['eval/otherwise'], 1.0)
    self.assertEqual(model_dir.own_evaluations(lines), lines[1:2])
    # What the run evaluates again is its own evaluation.
    model_dir.MetricsFile(self.folder).rewind(10, evaluates=True)
    self.assertEqual(model_dir.read_metrics(self.folder), [lines[0], lines[2]])

  def test_action_of_the_first_loop(self):
    calls = []
    action = reporting.once(lambda: calls.append(1))
    action({})
    action({})
    self.assertEqual(calls, [1])

  def test_progress_line(self):
    self.assertIn('first loop', self._loop(loss=1.5))
    line = self._loop(loss=1.5, top1=0.25)
    self.assertIn('step 20/100 (20.0 %)', line)
    self.assertIn('epoch 2.00', line)
    self.assertIn('loss 1.5, top1 0.25', line)
    # 10 steps of 40 images in 2 s on 2 cores; 80 steps are left.
    self.assertIn('200 images/s (100/s/core)', line)
    self.assertIn('ETA 16 s', line)

  def test_time_stands_in_the_lines_of_a_run_that_trains(self):
    self._loop(loss=1.5)
    self.time += 3.0
    self.reporter.after_evaluation({'loss': 1.25})
    loop, evaluation = model_dir.read_metrics(self.folder)
    self.assertEqual(loop['goodput/compilation'], 2.0)
    self.assertEqual(loop['goodput/cores'], 2.0)
    self.assertEqual(evaluation['goodput/other'], 3.0)
    self.assertEqual(evaluation['goodput/total'], 5.0)
    other = reporting.Reporter(
      plan=_plan(),
      clock=self.clock,
      global_step=self.step,
      metrics_file=model_dir.MetricsFile(self.folder),
      trains=False,
    )
    other.after_evaluation({'loss': 1.25})
    last = model_dir.read_metrics(self.folder)[-1]
    self.assertEqual(last, _without_goodput(last))

  def test_waiting_for_images_is_said_once(self):
    said = []
    for _ in range(20):
      with self.clock.training(10):
        self.time += 4.0
        self.clock.waited(1.0)
      with self.assertLogs(level='INFO') as logs:
        self.reporter.after_training_loop({'loss': 1.0})
      said += [line for line in logs.output if 'Input-bound' in line]
    self.assertLen(said, 1)
    self.assertIn('waits 25 % of its time', said[0])
    self.assertIn('DataConfig.data_service', said[0])

  def test_a_loss_that_is_no_number_leaves_the_file_valid(self):
    self.assertIn('bad_steps 10', self._loop(loss=float('nan'), bad_steps=10.0))
    last = model_dir.read_metrics(self.folder)[-1]
    self.assertIsNone(last['train/loss'])
    # That there was none is not worth a word in the log.
    self.assertNotIn('bad_steps', self._loop(loss=1.0, bad_steps=0.0))
    self.assertEqual(
      model_dir.read_metrics(self.folder)[-1]['train/bad_steps'], 0.0
    )

  def test_rewind_drops_what_will_be_repeated(self):
    for _ in range(3):
      self._loop(loss=1.0)
    with open(self.path, 'a') as f:
      f.write('{"step": 40, "train/lo')  # Killed in the middle of a line.
    model_dir.MetricsFile(self.folder).rewind(20)
    steps = [line['step'] for line in model_dir.read_metrics(self.folder)]
    self.assertEqual(steps, [10, 20])
    self._loop(loss=1.0)
    self.assertLen(model_dir.read_metrics(self.folder), 3)

  def test_rewind_before_another_evaluation(self):
    self._loop(loss=1.0)
    self.reporter.after_evaluation({'loss': 1.25})
    model_dir.MetricsFile(self.folder).rewind(10, evaluates=True)
    (line,) = model_dir.read_metrics(self.folder)
    self.assertIn('train/loss', line)

  def test_rewind_of_a_new_run(self):
    model_dir.MetricsFile(self.folder).rewind(0)
    self.assertFalse(os.path.exists(self.path))


if __name__ == '__main__':
  tf.test.main()
