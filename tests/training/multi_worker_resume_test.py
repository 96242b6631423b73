"""A run of two workers, killed and resumed, ends as one that was not.

Heavy, so not among `bazel test //...`.
"""

import os

import numpy as np
from absl.testing import absltest

from official_coatnet.training import checkpoints
from tests.fixtures import workers as fixture


class MultiWorkerResumeTest(absltest.TestCase):
  def test_same_end(self):
    folder = self.create_tempdir().full_path
    killed, whole = (os.path.join(folder, name) for name in ('killed', 'whole'))
    steps = '--gin_bindings=TRAIN_STEPS = 30'
    workers = fixture.start(killed, steps)
    try:
      fixture.wait_for_checkpoint(killed, 6, workers)
    finally:
      fixture.stop(workers)
    for model_dir in (killed, whole):
      workers = fixture.start(model_dir, steps)
      try:
        fixture.finish(model_dir, workers)
      finally:
        fixture.stop(workers)
      # 22 images, of which each of two workers has 11 in batches of 2: the
      # last batch of an evaluation is not full.
      self.assertIn("'examples': 22.0", fixture.words(model_dir, 0))
    self.assertIn('Resumed at step', fixture.words(killed, 0))
    for weights in ('raw', 'ema'):
      a, b = (
        checkpoints.StoredWeights(f, weights=weights) for f in (killed, whole)
      )
      for name in a.shapes:
        np.testing.assert_array_equal(a.read(name), b.read(name), name)


if __name__ == '__main__':
  absltest.main()
