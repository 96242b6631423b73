"""Tests of official_coatnet.records.tfds_corpus."""

import os

import tensorflow as tf
import tensorflow_datasets as tfds

from official_coatnet.records import corpus, tfds_corpus
from tests.fixtures import image_files

NUM_EXAMPLES = 7


class SmallPictures(tfds.core.GeneratorBasedBuilder):
  """Images of one label, one of them broken."""

  # In a package, TFDS would look for its checksums there.
  code_path = None
  VERSION = tfds.core.Version('1.0.0')

  def _info(self):
    return tfds.core.DatasetInfo(
      builder=self,
      features=tfds.features.FeaturesDict(
        {
          'file_name': tfds.features.Text(),
          'image': tfds.features.Image(encoding_format='jpeg'),
          'label': tfds.features.ClassLabel(names=['cat', 'dog', 'eel']),
        }
      ),
    )

  def _split_generators(self, dl_manager):
    return {'train': self._generate_examples(), 'test': self._one()}

  def _generate_examples(self):
    for i in range(NUM_EXAMPLES):
      yield (
        i,
        {
          # One that is not UTF-8.
          'file_name': b'5.\xe4.jpg' if i == 5 else f'{i}.jpg',
          'image': image_bytes(i),
          'label': i % 3,
        },
      )

  def _one(self):
    yield 0, {'file_name': '', 'image': image_bytes(0), 'label': 2}


class SmallTags(SmallPictures):
  """Images of several labels."""

  def _info(self):
    return tfds.core.DatasetInfo(
      builder=self,
      features=tfds.features.FeaturesDict(
        {
          'image': tfds.features.Image(encoding_format='png'),
          'tags': tfds.features.Sequence(
            tfds.features.ClassLabel(num_classes=9)
          ),
        }
      ),
    )

  def _split_generators(self, dl_manager):
    return {'train': self._tagged()}

  def _tagged(self):
    for i in range(3):
      yield (
        i,
        {
          'image': image_files.encode(i, 'PNG'),
          'tags': list(range(i)),
        },
      )


def image_bytes(index):
  return b'broken' if index == 3 else image_files.encode(index)


class PreparedTest(tf.test.TestCase):
  def setUp(self):
    super().setUp()
    tfds.disable_progress_bar()
    self.data_dir = self.create_tempdir().full_path
    self.output_dir = self.create_tempdir().full_path

  def build(self, builder_class, **options):
    builder_class(data_dir=self.data_dir).download_and_prepare()
    splits = tfds_corpus.tfds_splits(
      builder_class.name, data_dir=self.data_dir, **options
    )
    return corpus.write_corpus(splits, self.output_dir, num_shards=3)

  def read(self, manifest):
    for each in manifest.files:
      path = os.path.join(self.output_dir, each.name)
      for record in tf.data.TFRecordDataset(path):
        yield tf.train.Example.FromString(record.numpy()).features.feature

  def test_one_split_after_the_other_into_one_folder(self):
    train = self.build(SmallPictures, splits=['train'])['train']
    test = self.build(SmallPictures, splits=['test'])['test']
    self.assertEqual(train.build, test.build)
    self.assertEqual(set(train.build.splits), {'train', 'test'})
    with self.assertRaisesRegex(ValueError, "'test' of an earlier build"):
      self.build(SmallTags)

  def test_one_label(self):
    manifests = self.build(SmallPictures)
    self.assertCountEqual(manifests, ['train', 'test'])
    train = manifests['train']
    self.assertEqual(train.class_names, ('cat', 'dog', 'eel'))
    self.assertEqual((train.schema, train.label_offset), ('imagenet', -1))
    (failure,) = train.failures
    self.assertEqual(failure.name, '3.jpg')
    examples = {
      each['image/filename'].bytes_list.value[0].decode(): each
      for each in self.read(train)
    }
    self.assertCountEqual(
      examples,
      ['0.jpg', '1.jpg', '2.jpg', '4.jpg', r'5.\xe4.jpg', '6.jpg'],
    )
    for name, features in examples.items():
      index = int(name.split('.')[0])
      self.assertEqual(
        features['image/encoded'].bytes_list.value[0], image_bytes(index)
      )
      self.assertEqual(
        list(features['image/class/label'].int64_list.value), [index % 3 + 1]
      )
      self.assertEqual(list(features['image/height'].int64_list.value), [12])
      self.assertEqual(list(features['image/width'].int64_list.value), [16])
    # One without a name of its own.
    (features,) = self.read(manifests['test'])
    self.assertEqual(
      features['image/filename'].bytes_list.value, [b'test_00000000']
    )

  def test_several_labels_and_png(self):
    train = self.build(SmallTags, splits=['train'])['train']
    self.assertEqual((train.schema, train.num_classes), ('multilabel', 9))
    images = {
      features['image/encoded'].bytes_list.value[0]: list(
        features['image/class/label'].int64_list.value
      )
      for features in self.read(train)
    }
    self.assertEqual(
      images, {image_files.encode(i, 'PNG'): list(range(i)) for i in range(3)}
    )
    self.assertEqual(train.label_counts, {0: 2, 1: 1})

  def test_unknown_split(self):
    SmallTags(data_dir=self.data_dir).download_and_prepare()
    with self.assertRaisesRegex(ValueError, "'dev'.*has .'train'. only"):
      tfds_corpus.tfds_splits(
        'small_tags', data_dir=self.data_dir, splits=['dev']
      )


if __name__ == '__main__':
  tf.test.main()
