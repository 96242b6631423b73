"""Two workers train; one is killed; both are started again and go on.

multi_worker_resume_test compares the end with a run that was never killed.
"""

import os

from absl.testing import absltest

from official_coatnet.training import model_dir as model_dir_lib
from tests.fixtures import workers as fixture


class MultiWorkerTest(absltest.TestCase):
  def test_killed_worker(self):
    model_dir = os.path.join(self.create_tempdir().full_path, 'run')
    # Far longer than it gets.
    workers = fixture.start(
      model_dir, '--mode=train', '--gin_bindings=TRAIN_STEPS = 100000'
    )
    try:
      fixture.wait_for_checkpoint(model_dir, 6, workers)
      workers[1].kill()
      # The survivor notices, says what to do and does not hang.
      self.assertEqual(workers[0].wait(fixture.TIMEOUT), fixture.WORKER_LOST)
    finally:
      fixture.stop(workers)
    said = fixture.words(model_dir, 0)
    self.assertIn('2 x CPU (MultiWorkerMirroredStrategy), 2 host(s)', said)
    self.assertIn('train.py: A worker has gone', said)
    self.assertIn('Start the same command again', said)

    step = model_dir_lib.checkpoint_step(
      model_dir_lib.find_checkpoint(model_dir)
    )
    last = step + 4
    workers = fixture.start(
      model_dir, '--mode=train', f'--gin_bindings=TRAIN_STEPS = {last}'
    )
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
