"""Runs stopped and resumed, from TFRecord and TFDS: the same to the last bit.

With everything that draws at random: order, crop, flip, RandAugment, mixup and
stochastic depth.
"""

import os
import shutil
import tempfile
import unittest

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from absl.testing import parameterized

from official_coatnet.data import pipeline, schema
from official_coatnet.records import writing
from official_coatnet.training import checkpoints, controller
from tests.fixtures import experiments as fixture, graphs

_NUM_EXAMPLES = 22
_NUM_CLASSES = 5
_STEPS = 14  # Of 4 examples: two epochs and a half.


def setUpModule():
  unittest.enterModuleContext(graphs.unoptimized())


def make_images():
  """Returns images of coarse noise."""
  random = np.random.default_rng(0)
  for _ in range(_NUM_EXAMPLES):
    coarse = random.integers(0, 256, (8, 8, 3), np.uint8)
    yield coarse.repeat(5, axis=0).repeat(6, axis=1)


class StripedImages(tfds.core.GeneratorBasedBuilder):
  """The images, as TFDS keeps them."""

  # In a package, TFDS would look for its checksums there.
  code_path = None
  VERSION = tfds.core.Version('1.0.0')

  def _info(self):
    return tfds.core.DatasetInfo(
      builder=self,
      features=tfds.features.FeaturesDict(
        {
          'image': tfds.features.Image(encoding_format='jpeg'),
          'label': tfds.features.ClassLabel(num_classes=_NUM_CLASSES),
        }
      ),
      supervised_keys=('image', 'label'),
    )

  def _split_generators(self, dl_manager):
    del dl_manager
    return {'train': self._generate_examples()}

  def _generate_examples(self):
    for i, image in enumerate(make_images()):
      yield i, {'image': image, 'label': i % _NUM_CLASSES}


def write_records(folder):
  """Writes the images to four files, with a manifest."""
  images = [tf.io.encode_jpeg(image).numpy() for image in make_images()]

  def make_shard(shard):
    for i in writing.shard_range(shard, 4, num_examples=_NUM_EXAMPLES):
      label = i % _NUM_CLASSES + 1
      record = schema.serialize_imagenet(
        images[i], label=label, height=40, width=48
      )
      yield writing.Record(record, [label])

  writing.write_split(
    make_shard,
    folder,
    split='train',
    num_shards=4,
    schema='imagenet',
    num_classes=_NUM_CLASSES,
    label_offset=-1,
  )


class ResumeTest(parameterized.TestCase, tf.test.TestCase):
  def data(self, source, **fields):
    """Prepares the images, and returns fields of their `DataConfig`."""
    folder = self.enter_context(tempfile.TemporaryDirectory())
    if source == 'tfds':
      tfds.disable_progress_bar()
      StripedImages(data_dir=folder).download_and_prepare()
    else:
      write_records(folder)
    return {
      'source': source,
      'tfds_name': 'striped_images' if source == 'tfds' else None,
      'data_dir': folder,
      'split': 'train',
      'num_examples': None,
      'shuffle_buffer': 6,
      'randaugment': (2, 15),
      'mixup_alpha': 0.4,
      **fields,
    }

  @parameterized.parameters('tfrecord', 'tfds')
  def test_same_batches_over_parallel_calls_and_starts(self, source):
    data = self.data(source)

    def batches(parallel_calls, start_step=0):
      dataset = pipeline.make_dataset(
        fixture.make_data(**data, parallel_calls=parallel_calls),
        seed=2,
        is_training=True,
        start_step=start_step,
      )
      return list(dataset.take(_STEPS - start_step).as_numpy_iterator())

    expected = batches(1)
    # Step 5 lies across the end of the first epoch.
    for parallel_calls, start_step in ((4, 0), (16, 5)):
      with self.subTest((parallel_calls, start_step)):
        others = batches(parallel_calls, start_step)
        for batch, other in zip(expected[start_step:], others, strict=True):
          self.assertEqual(batch.keys(), other.keys())
          for key in batch:
            self.assertAllEqual(batch[key], other[key], key)

  # In the second epoch, and in the first.
  @parameterized.parameters(('tfrecord', 6), ('tfds', 4))
  def test_same_weights(self, source, last):
    """The last checkpoint before the run is killed is that of step `last`."""
    data = self.data(source)
    experiment = fixture.make_experiment(
      model={'stochastic_depth': 0.3},
      train_data=data,
      eval_data={**data, 'mixup_alpha': None, 'randaugment': None},
      run={
        'train_steps': _STEPS,
        'checkpoint_interval_steps': 2,
        'max_to_keep': _STEPS,
      },
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
    expected = train(whole)
    # What came after that checkpoint is gone with the process.
    kept = [n for n in os.listdir(whole) if n.startswith(f'ckpt-{last}.')]
    self.assertLen(kept, 3)  # Index, values and digest.
    for name in [*kept, 'experiment.json']:
      shutil.copy(os.path.join(whole, name), stopped)
    tf.compat.v1.train.update_checkpoint_state(
      stopped, os.path.join(stopped, f'ckpt-{last}')
    )
    with self.assertLogs(level='INFO') as logs:
      resumed = train(stopped)
    self.assertIn(f'Resumed at step {last} of {_STEPS}', '\n'.join(logs.output))
    self.assertEqual(expected.keys(), resumed.keys())
    for name, value in expected.items():
      self.assertAllEqual(value, resumed[name], name)


if __name__ == '__main__':
  tf.test.main()
