"""Two workers train; one is told to end, one is killed; both always go on.

multi_worker_resume_test compares the end with a run that was never killed.
"""

import os
import signal

from absl.testing import absltest

from official_coatnet.training import model_dir as model_dir_lib
from tests.fixtures import workers as fixture


class MultiWorkerTest(absltest.TestCase):
  def _start(self, model_dir, last):
    return fixture.start(
      model_dir, '--mode=train', f'--gin_bindings=TRAIN_STEPS = {last}'
    )

  def _last_step(self, model_dir):
    return model_dir_lib.checkpoint_step(
      model_dir_lib.find_checkpoint(model_dir)
    )

  def test_worker_that_is_told_to_end_and_worker_that_is_killed(self):
    model_dir = os.path.join(self.create_tempdir().full_path, 'run')
    workers = self._start(model_dir, 100_000)  # Far longer than it gets.
    try:
      fixture.wait_for_checkpoint(model_dir, 2, workers)
      # Not the one that writes the files; both end, with one and the same step.
      workers[1].send_signal(signal.SIGTERM)
      codes = [worker.wait(fixture.TIMEOUT) for worker in workers]
    finally:
      fixture.stop(workers)
    self.assertEqual(codes, [75, 75], fixture.words(model_dir, 1))
    step = self._last_step(model_dir)
    for index in (0, 1):
      self.assertIn(
        f'train.py: stopped by SIGTERM at step {step}, which is saved: start '
        'the same command again.\n',
        fixture.words(model_dir, index),
      )

    workers = self._start(model_dir, 100_000)
    try:
      fixture.wait_for_checkpoint(model_dir, step + 4, workers)
      workers[1].kill()
      # The survivor notices, says what to do and does not hang.
      self.assertEqual(workers[0].wait(fixture.TIMEOUT), fixture.WORKER_LOST)
    finally:
      fixture.stop(workers)
    said = fixture.words(model_dir, 0)
    self.assertIn('2 x CPU (MultiWorkerMirroredStrategy), 2 host(s)', said)
    self.assertIn(f'Resumed at step {step} of', said)
    self.assertIn('train.py: A worker has gone', said)
    self.assertIn('Start the same command again', said)

    step = self._last_step(model_dir)
    last = step + 4
    workers = self._start(model_dir, last)
    try:
      fixture.finish(model_dir, workers)
    finally:
      fixture.stop(workers)
    for index in (0, 1):
      self.assertIn(
        f'Resumed at step {step} of {last}', fixture.words(model_dir, index)
      )
    # One worker writes, and no step is there twice.
    self.assertEqual(fixture.steps_of(model_dir), list(range(2, last + 1, 2)))
    self.assertEndsWith(
      model_dir_lib.find_checkpoint(model_dir), f'ckpt-{last}'
    )


if __name__ == '__main__':
  absltest.main()
