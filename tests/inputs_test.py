"""Tests of training.inputs: what a run says of damaged data."""

import os

import numpy as np
import tensorflow as tf

from official_coatnet.data import records, schema
from official_coatnet.training import controller
from tests import experiment_fixture as fixture

_PNG = tf.io.encode_png(
  np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
).numpy()
_CUT = _PNG[: len(_PNG) // 2]
# Its beginning and its end are as they should be.
_BROKEN = _PNG[:500] + bytes(40) + _PNG[540:]


def write(folder, *, split, bad=(), image=_CUT):
  """Writes 24 examples in two shards; those numbered `bad` have `image`."""

  def make_shard(shard):
    for i in records.shard_range(shard, 2, num_examples=24):
      record = schema.serialize_imagenet(
        image if i in bad else _PNG, label=i % 5 + 1, height=40, width=40
      )
      yield records.Record(record, [i % 5 + 1])

  records.write_split(
    make_shard,
    folder,
    split=split,
    num_shards=2,
    schema='imagenet',
    num_classes=5,
    label_offset=-1,
  )


class InputsTest(tf.test.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path

  def run_it(self, *, mode='train_and_eval', **fields):
    data = {
      'source': 'tfrecord',
      'data_dir': self.folder,
      'num_examples': None,
      **fields,
    }
    experiment = fixture.make_experiment(
      train_data=data, eval_data=data, run={'train_steps': 6}
    )
    return controller.run(
      experiment,
      mode=mode,
      model_dir=self.create_tempdir().full_path,
      strategy=tf.distribute.OneDeviceStrategy('CPU:0'),
    )

  def test_damaged_record(self):
    write(self.folder, split='train')
    write(self.folder, split='validation')
    path = os.path.join(self.folder, 'train-00001-of-00002')
    with open(path, 'r+b') as file:
      file.seek(os.path.getsize(path) - 50)  # The last record.
      file.write(b'?')
    with self.assertRaisesRegex(
      ValueError,
      rf'^The input stopped the run. {path}, record 11 cannot be read.*'
      '`tools/tfrecords.py repair`',
    ):
      self.run_it()

  def test_image_that_is_cut_off(self):
    write(self.folder, split='train', bad=[14])
    with self.assertRaisesRegex(
      ValueError, 'train-00001-of-00002, record 2: the image, of .* bytes'
    ):
      self.run_it(mode='train')

  def test_image_that_is_damaged_within(self):
    """The decoder does not say which image it was: the batch is made again."""
    write(self.folder, split='train', bad=[5], image=_BROKEN)
    with self.assertRaisesRegex(
      ValueError, 'train-00000-of-00002, record 5: the image, of .* bytes'
    ):
      self.run_it(mode='train')

  def test_image_of_the_evaluation(self):
    write(self.folder, split='train')
    write(self.folder, split='validation', bad=[17], image=_BROKEN)
    with self.assertRaisesRegex(
      ValueError, 'validation-00001-of-00002, record 5: the image'
    ):
      self.run_it()

  def test_images_left_out(self):
    write(self.folder, split='train', bad=[3, 20])
    write(self.folder, split='validation', bad=[0, 1, 2, 3, 23], image=_BROKEN)
    skip = {'on_error': 'skip', 'max_skipped': 0.25}
    results = self.run_it(**skip)
    self.assertEqual(results['examples'], 19)
    self.assertEqual(results['skipped_images'], 5)
    self.assertTrue(np.isfinite(results['loss']))
    with self.assertRaisesRegex(
      ValueError,
      '`eval_data`: 5 images do not decode.*max_skipped = 0.1 of 24.*validate',
    ):
      self.run_it(**{**skip, 'max_skipped': 0.1})

  def test_too_many_left_out_in_training(self):
    write(self.folder, split='train', bad=[3, 20])
    with self.assertRaisesRegex(
      ValueError, '`train_data`: [12] images do not decode.*max_skipped = 0.03'
    ):
      self.run_it(mode='train', on_error='skip', max_skipped=0.03)


if __name__ == '__main__':
  tf.test.main()
