"""Tests of training.inputs: what a run says of damaged data."""

import os
import unittest
from unittest import mock

import numpy as np
import tensorflow as tf

from official_coatnet.data import schema, sources as sources_lib
from official_coatnet.records import writing
from official_coatnet.training import controller, inputs, model_dir
from tests.fixtures import (
  example_files,
  experiments as fixture,
  graphs,
  image_files,
)

# By Pillow: while modules are imported TensorFlow's devices are yet to be made.
_PNG = image_files.encode_pixels(
  np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8), 'PNG'
)
_CUT = _PNG[: len(_PNG) // 2]
# Its beginning and its end are as they should be.
_BROKEN = _PNG[:500] + bytes(40) + _PNG[540:]


def setUpModule():
  unittest.enterModuleContext(graphs.unoptimized())


def write(folder, *, split, bad=(), image=_CUT):
  """Writes 24 examples in two shards; those numbered `bad` have `image`."""

  def make_shard(shard):
    for i in writing.shard_range(shard, 2, num_examples=24):
      record = schema.serialize_imagenet(
        image if i in bad else _PNG, label=i % 5 + 1, height=40, width=40
      )
      yield writing.Record(record, [i % 5 + 1])

  writing.write_split(
    make_shard,
    folder,
    split=split,
    num_shards=2,
    schema='imagenet',
    num_classes=5,
    label_offset=-1,
  )


class ClassWeightsTest(tf.test.TestCase):
  def test_balanced_by_the_manifest(self):
    experiment = fixture.make_experiment(loss={'class_weights': 'balanced'})
    source = mock.Mock(label_offset=-1)
    source.manifest.label_counts = {1: 6, 2: 2, 3: 0, 4: 1}
    weights = inputs.with_class_weights(experiment, source).loss.class_weights
    # 9 images of 3 classes: 3 over the number of images of the class.
    self.assertAllClose(weights, (0.5, 1.5, 1.0, 3.0, 1.0))
    # Numbers, and None, stay.
    for chosen in (None, (1.0, 2.0, 1.0, 1.0, 1.0)):
      given = fixture.make_experiment(loss={'class_weights': chosen})
      self.assertIs(inputs.with_class_weights(given, None), given)

  def test_balanced_needs_a_manifest(self):
    experiment = fixture.make_experiment(loss={'class_weights': 'balanced'})
    for source in (None, mock.Mock(manifest=None)):
      with self.assertRaisesRegex(ValueError, 'has no manifest that says'):
        inputs.with_class_weights(experiment, source)


class InputsTest(tf.test.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path
    self.strategy = tf.distribute.OneDeviceStrategy('CPU:0')

  def experiment(self, **fields):
    data = {
      'source': 'tfrecord',
      'data_dir': self.folder,
      'num_examples': None,
      'parallel_calls': 1,
      **fields,
    }
    return fixture.make_experiment(
      train_data=data,
      eval_data=data,
      # All are the same image.
      run={'train_steps': 6, 'allow_shared_images': True},
    )

  def run_it(self, experiment, *, mode):
    return controller.run(
      experiment,
      mode=mode,
      model_dir=self.create_tempdir().full_path,
      strategy=self.strategy,
    )

  def read(self, *, is_training, num_steps=6):
    """Reads, as a run would, until something stops it."""
    experiment = self.experiment()
    with inputs.readable_errors(
      experiment,
      self.strategy,
      step=(lambda: 0) if is_training else None,
      num_steps=num_steps,
    ):
      batches = inputs.distribute(
        experiment, self.strategy, is_training=is_training
      )
      for _, batch in zip(range(num_steps), batches):
        del batch

  def test_whole_run_with_an_image_that_is_damaged_within(self):
    """The decoder does not say which image it was: the batch is made again."""
    write(self.folder, split='train', bad=[5], image=_BROKEN)
    with self.assertRaisesRegex(
      ValueError,
      '^The input stopped the run. .*train-00000-of-00002, record 5: the image,'
      ' of .* bytes, does not decode',
    ):
      self.run_it(self.experiment(), mode='train')

  def test_whole_run_with_images_left_out(self):
    write(self.folder, split='train', bad=[3, 20])
    write(self.folder, split='validation', bad=[0, 1, 2, 3, 23], image=_BROKEN)
    experiment = self.experiment(on_error='skip', max_skipped=0.25)
    results = self.run_it(experiment, mode='train_and_eval')
    self.assertEqual(results['examples'], 19)
    # The first batch has no image at all, which does not end the evaluation.
    self.assertEqual(results['skipped_images'], 5)
    self.assertTrue(np.isfinite(results['loss']))

  def counts(self, experiment, sources=(), **kwargs):
    kwargs = {'model_dir': None, **kwargs}
    counted = inputs.with_counts(experiment, dict(sources), **kwargs)
    return counted.train_data.num_examples, counted.eval_data.num_examples

  def test_numbers_of_images(self):
    """Given, or known by the manifest, or left by the run that trained."""
    write(self.folder, split='train')
    self.assertEqual(self.counts(self.experiment()), (24, None))
    self.assertEqual(self.counts(self.experiment(num_examples=3)), (3, 3))
    source = sources_lib.open_source(self.experiment().train_data)
    self.assertEqual(
      self.counts(self.experiment(), {'eval_data': source}), (24, 24)
    )
    folder = self.create_tempdir().full_path
    model_dir.write_experiment(folder, self.experiment(num_examples=5))
    self.assertEqual(self.counts(self.experiment(), model_dir=folder), (24, 5))

  def test_the_manifest_of_a_split_is_read_once(self):
    """In a whole run, from its first look at the data to its last batch."""
    for split in ('train', 'validation'):
      write(self.folder, split=split)
    real, opened = tf.io.gfile.GFile, []

    def open_file(name, *args, **kwargs):
      opened.append(os.path.basename(name))
      return real(name, *args, **kwargs)

    with mock.patch.object(tf.io.gfile, 'GFile', open_file):
      results = self.run_it(self.experiment(), mode='train_and_eval')
    self.assertEqual(results['examples'], 24)
    self.assertCountEqual(
      [name for name in opened if name.startswith('manifest-')],
      ['manifest-train.json', 'manifest-validation.json'],
    )

  def test_damaged_record(self):
    write(self.folder, split='validation')
    path = os.path.join(self.folder, 'validation-00001-of-00002')
    with open(path, 'r+b') as file:
      file.seek(os.path.getsize(path) - 50)  # In the last record.
      file.write(b'?')
    with self.assertRaisesRegex(
      ValueError,
      f'^The input stopped the run. {path}, record 11 cannot be read.*'
      '`tools/tfrecords.py repair`',
    ):
      self.read(is_training=False)

  def test_image_of_the_evaluation(self):
    write(self.folder, split='validation', bad=[17], image=_BROKEN)
    with self.assertRaisesRegex(
      ValueError, 'validation-00001-of-00002, record 5: the image'
    ):
      self.read(is_training=False)

  def test_record_of_another_type(self):
    """Behind those that the preflight looks at; the parser does not name it."""
    write(self.folder, split='validation')
    path = os.path.join(self.folder, 'validation-00001-of-00002')
    records = [each.numpy() for each in tf.data.TFRecordDataset(path)]
    records[8] = example_files.make_example(
      **{'image/encoded': _PNG, 'image/class/label': 3.0}
    )
    with tf.io.TFRecordWriter(path) as writer:
      for record in records:
        writer.write(record)
    with self.assertRaisesRegex(
      ValueError,
      f'^The input stopped the run. {path}, record 8: must have .* but holds '
      r'image/class/label \(float\), image/encoded \(bytes\)\. Build',
    ):
      self.read(is_training=False)

  def test_file_that_vanishes(self):
    write(self.folder, split='train')
    path = os.path.join(self.folder, 'train-00001-of-00002')
    os.remove(path)
    with self.assertRaisesRegex(
      ValueError, f'^The input stopped the run. {path} cannot be opened'
    ):
      self.read(is_training=True)

  def test_other_errors_are_left_alone(self):
    experiment = self.experiment()
    for error in (
      tf.errors.InvalidArgumentError(None, None, 'Shapes do not match.'),
      tf.errors.NotFoundError(None, None, 'ckpt-7'),
    ):
      with self.assertRaises(type(error)):
        with inputs.readable_errors(
          experiment, self.strategy, step=None, num_steps=0
        ):
          raise error


if __name__ == '__main__':
  tf.test.main()
