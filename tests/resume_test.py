"""A run from a TFDS data set, stopped and resumed: the same to the last bit."""

import os
import shutil
import tempfile

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from official_coatnet.data import pipeline
from official_coatnet.training import checkpoints, controller
from tests import experiment_fixture as fixture

_NUM_EXAMPLES = 22


class StripedImages(tfds.core.GeneratorBasedBuilder):
  """Images of noise, as JPEG."""

  VERSION = tfds.core.Version('1.0.0')

  def _info(self):
    return tfds.core.DatasetInfo(
      builder=self,
      features=tfds.features.FeaturesDict(
        {
          'image': tfds.features.Image(encoding_format='jpeg'),
          'label': tfds.features.ClassLabel(num_classes=5),
        }
      ),
      supervised_keys=('image', 'label'),
    )

  def _split_generators(self, dl_manager):
    del dl_manager
    return {'train': self._generate_examples()}

  def _generate_examples(self):
    random = np.random.default_rng(0)
    for i in range(_NUM_EXAMPLES):
      coarse = random.integers(0, 256, (8, 8, 3), np.uint8)
      image = coarse.repeat(5, axis=0).repeat(6, axis=1)
      yield i, {'image': image, 'label': i % 5}


class ResumeTest(tf.test.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    tfds.disable_progress_bar()
    cls.data_dir = cls.enterClassContext(tempfile.TemporaryDirectory())
    StripedImages(data_dir=cls.data_dir).download_and_prepare()

  def data(self, **fields):
    return {
      'source': 'tfds',
      'tfds_name': 'striped_images',
      'data_dir': self.data_dir,
      'num_examples': None,
      'mixup_alpha': 0.4,
      **fields,
    }

  def test_same_batches_over_parallel_calls_and_starts(self):
    def batches(parallel_calls, start_step=0):
      config = fixture.make_data(**self.data(parallel_calls=parallel_calls))
      dataset = pipeline.make_dataset(
        config, seed=2, is_training=True, start_step=start_step
      )
      return list(dataset.take(14 - start_step).as_numpy_iterator())

    expected = batches(1)
    for parallel_calls, start_step in ((4, 0), (16, 7)):
      with self.subTest((parallel_calls, start_step)):
        others = batches(parallel_calls, start_step)
        for batch, other in zip(expected[start_step:], others, strict=True):
          for key in batch:
            self.assertAllEqual(batch[key], other[key], key)

  def test_same_weights(self):
    """Two epochs and a bit, stopped in the first."""
    experiment = fixture.make_experiment(
      train_data=self.data(),
      eval_data=self.data(mixup_alpha=None, split='train'),
      run={'train_steps': 12, 'checkpoint_interval_steps': 3},
    )

    def train(folder):
      controller.run(
        experiment,
        mode='train',
        model_dir=folder,
        strategy=tf.distribute.OneDeviceStrategy('CPU:0'),
      )
      stored = checkpoints.StoredWeights(folder, weights='raw')
      return {name: stored.read(name) for name in stored.shapes}

    whole, stopped = (self.create_tempdir().full_path for _ in range(2))
    # Checkpoints beyond the third are gone with the process.
    expected = train(whole)
    kept = sorted(n for n in os.listdir(whole) if n.startswith('ckpt-6.'))
    for name in [*kept, 'experiment.json']:
      shutil.copy(os.path.join(whole, name), stopped)
    tf.compat.v1.train.update_checkpoint_state(
      stopped, os.path.join(stopped, 'ckpt-6')
    )
    with self.assertLogs(level='INFO') as logs:
      resumed = train(stopped)
    self.assertIn('Resumed at step 6 of 12', '\n'.join(logs.output))
    for name, value in expected.items():
      self.assertAllEqual(value, resumed[name], name)


if __name__ == '__main__':
  tf.test.main()
