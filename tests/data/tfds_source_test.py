"""Tests of official_coatnet.data.tfds_source."""

import tempfile

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from official_coatnet.data import streams, tfds_source


def make_image(index):
  return np.full((10, 12, 3), index * 5, np.uint8)


class TinyImages(tfds.core.GeneratorBasedBuilder):
  """Twenty grey images, each of its own level."""

  # In a package, TFDS would look for its checksums there.
  code_path = None
  VERSION = tfds.core.Version('1.0.0')

  def _info(self):
    return tfds.core.DatasetInfo(
      builder=self,
      features=tfds.features.FeaturesDict(
        {
          'name': tfds.features.Text(),
          'image': tfds.features.Image(encoding_format='png'),
          'label': tfds.features.ClassLabel(names=['cat', 'dog', 'eel']),
        }
      ),
      supervised_keys=('image', 'label'),
    )

  def _split_generators(self, dl_manager):
    del dl_manager
    return {'train': self._generate_examples()}

  def _generate_examples(self):
    for i in range(20):
      yield i, {'name': f'n{i}', 'image': make_image(i), 'label': i % 3}


class TinyTags(tfds.core.GeneratorBasedBuilder):
  """Images with several labels, and no supervised keys."""

  # In a package, TFDS would look for its checksums there.
  code_path = None
  VERSION = tfds.core.Version('1.0.0')

  def _info(self):
    return tfds.core.DatasetInfo(
      builder=self,
      features=tfds.features.FeaturesDict(
        {
          'picture': tfds.features.Image(encoding_format='jpeg'),
          'tags': tfds.features.Sequence(
            tfds.features.ClassLabel(num_classes=9)
          ),
        }
      ),
    )

  def _split_generators(self, dl_manager):
    del dl_manager
    return {'train': self._generate_examples()}

  def _generate_examples(self):
    for i in range(4):
      yield i, {'picture': make_image(i), 'tags': list(range(i))}


class TinyText(tfds.core.GeneratorBasedBuilder):
  """No images at all."""

  # In a package, TFDS would look for its checksums there.
  code_path = None
  VERSION = tfds.core.Version('1.0.0')

  def _info(self):
    return tfds.core.DatasetInfo(
      builder=self, features=tfds.features.FeaturesDict({'n': tf.int64})
    )

  def _split_generators(self, dl_manager):
    del dl_manager
    return {'train': [(0, {'n': 0})]}

  def _generate_examples(self):
    yield 0, {'n': 0}


class TfdsTest(tf.test.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    tfds.disable_progress_bar()
    cls.data_dir = cls.enterClassContext(tempfile.TemporaryDirectory())
    for builder in (TinyImages, TinyTags, TinyText):
      builder(data_dir=cls.data_dir).download_and_prepare()

  def read(self, source):
    for record in streams.evaluation_records(source):
      yield source.parse(record['record']), record

  def test_same_examples_as_tfds(self):
    source = tfds_source.open_tfds(
      'tiny_images', split='train', data_dir=self.data_dir
    )
    self.assertEqual(source.num_examples, 20)
    self.assertEqual(source.label_offset, 0)
    self.assertTrue(source.single_label)
    expected = tfds.load('tiny_images', split='train', data_dir=self.data_dir)
    seen = 0
    for (example, record), reference in zip(self.read(source), expected):
      # The bytes as stored: PNG, without loss.
      self.assertStartsWith(example['encoded'].numpy(), b'\x89PNG')
      self.assertAllEqual(
        tf.io.decode_png(example['encoded']), reference['image']
      )
      self.assertAllEqual(example['labels'], [reference['label']])
      self.assertEqual(record['position'], seen)
      self.assertIn(b'tiny_images-train', record['file'].numpy())
      seen += 1
    self.assertEqual(seen, 20)

  def test_part_of_a_split(self):
    source = tfds_source.open_tfds(
      'tiny_images', split='train[5:12]', data_dir=self.data_dir
    )
    expected = tfds.load(
      'tiny_images', split='train[5:12]', data_dir=self.data_dir
    )
    self.assertEqual(source.num_examples, 7)
    levels = [
      tf.io.decode_png(example['encoded'])[0, 0, 0].numpy()
      for example, _ in self.read(source)
    ]
    self.assertEqual(levels, [e['image'][0, 0, 0].numpy() for e in expected])

  def test_lists_of_labels(self):
    source = tfds_source.open_tfds(
      'tiny_tags', split='train', data_dir=self.data_dir
    )
    self.assertFalse(source.single_label)
    labels = [e['labels'].numpy().tolist() for e, _ in self.read(source)]
    self.assertCountEqual(labels, [[], [0], [0, 1], [0, 1, 2]])

  def test_classes(self):
    for name, expected in (
      ('tiny_images', (3, ('cat', 'dog', 'eel'))),
      ('tiny_tags', (9, tuple(str(i) for i in range(9)))),
    ):
      builder = tfds_source.open_builder(name, data_dir=self.data_dir)
      number, names = tfds_source.class_names(builder)
      self.assertEqual(number, expected[0])
      if names is not None:
        self.assertEqual(names, expected[1])

  def test_errors(self):
    for name, split, message in (
      ('no_such_images', 'train', "'no_such_images'.*check the spelling"),
      ('mnist', 'train', "'mnist'.*not prepared.*tfds build"),
      ('tiny_images', 'test', r"split is 'test'.*\['train'\]"),
      ('tiny_text', 'train', "'tiny_text'.*none is an image"),
    ):
      with self.assertRaisesRegex(ValueError, message):
        tfds_source.open_tfds(name, split=split, data_dir=self.data_dir)


if __name__ == '__main__':
  tf.test.main()
