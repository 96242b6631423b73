"""Tests of official_coatnet.records.imagenet."""

import io
import os
import tarfile

import numpy as np
import tensorflow as tf
from scipy import io as scipy_io

from official_coatnet.records import corpus, imagenet
from tests.fixtures import image_files

SYNSETS = ['n01440764', 'n02105855', 'n07583066']
VALIDATION_SYNSETS = ['n07583066', 'n01440764', 'n01440764', 'n02105855']
# The development kit numbers classes in another order.
KIT_NUMBERS = {'n07583066': 1, 'n01440764': 2, 'n02105855': 3}


def make_images(number=6):
  images = {
    synset: {
      f'{synset}_{i}.JPEG': image_files.encode(10 * c + i)
      for i in range(number)
    }
    for c, synset in enumerate(SYNSETS)
  }
  # The known oddities of ImageNet-1K.
  images['n02105855']['n02105855_2933.JPEG'] = image_files.encode(77, 'PNG')
  images['n07583066']['n07583066_647.JPEG'] = image_files.encode(
    78, mode='CMYK'
  )
  return images


def validation_name(index):
  return f'ILSVRC2012_val_{index + 1:08d}.JPEG'


def make_kit(synsets):
  buffer = io.BytesIO()
  rows = np.zeros(
    len(KIT_NUMBERS),
    [('ILSVRC2012_ID', object), ('WNID', object), ('words', object)],
  )
  for row, (synset, number) in zip(rows, KIT_NUMBERS.items()):
    row['ILSVRC2012_ID'], row['WNID'], row['words'] = number, synset, 'word'
  scipy_io.savemat(buffer, {'synsets': rows})
  truth = ''.join(f'{KIT_NUMBERS[each]}\n' for each in synsets).encode()
  kit = io.BytesIO()
  with tarfile.open(fileobj=kit, mode='w:gz') as archive:
    for name, contents in (
      ('ILSVRC2012_devkit_t12/data/meta.mat', buffer.getvalue()),
      (
        'ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt',
        truth,
      ),
    ):
      info = tarfile.TarInfo(name)
      info.size = len(contents)
      archive.addfile(info, io.BytesIO(contents))
  return kit.getvalue()


class ImagenetTestCase(tf.test.TestCase):
  def setUp(self):
    super().setUp()
    self.input_dir = self.create_tempdir().full_path
    self.output_dir = self.create_tempdir().full_path
    self.images = make_images()
    self.validation = [image_files.encode(100 + i) for i in range(4)]

  def add(self, name, contents):
    path = os.path.join(self.input_dir, name)
    with open(path, 'wb') as file:
      file.write(contents)
    return path

  def add_imagenet1k(self):
    self.add(
      imagenet.TRAIN_ARCHIVE, image_files.make_class_archives(self.images)
    )
    self.add(
      imagenet.VALIDATION_ARCHIVE,
      # In an order that is not that of the names.
      image_files.make_tar(
        (validation_name(i), self.validation[i]) for i in (2, 0, 3, 1)
      ),
    )

  def read(self, manifest):
    """Returns names, in order, and by name: label, synset, image."""
    paths = [
      os.path.join(self.output_dir, each.name) for each in manifest.files
    ]
    names, examples = [], {}
    for record in tf.data.TFRecordDataset(paths):
      values = tf.train.Example.FromString(record.numpy()).features.feature
      name = values['image/filename'].bytes_list.value[0].decode()
      names.append(name)
      examples[name] = (
        values['image/class/label'].int64_list.value[0],
        values['image/class/synset'].bytes_list.value[0].decode(),
        values['image/encoded'].bytes_list.value[0],
      )
    return names, examples


class Imagenet1kTest(ImagenetTestCase):
  def build(self, **options):
    splits = imagenet.imagenet1k_splits(
      self.input_dir, num_classes=3, **options
    )
    return corpus.write_corpus(
      splits, self.output_dir, num_shards=4, overwrite=True
    )

  def test_records(self):
    self.add_imagenet1k()
    self.add(imagenet.DEVELOPMENT_KIT, make_kit(VALIDATION_SYNSETS))
    manifests = self.build()
    train = manifests['train']
    self.assertEqual(train.label_counts, {1: 6, 2: 7, 3: 7})
    self.assertEqual(train.class_names, tuple(SYNSETS))
    self.assertEqual((train.schema, train.label_offset), ('imagenet', -1))
    self.assertLen(train.files, 4)
    _, examples = self.read(train)
    for label, (synset, images) in enumerate(self.images.items(), start=1):
      for name, contents in images.items():
        got = examples[name]
        self.assertEqual(got[:2], (label, synset))
        if name in ('n02105855_2933.JPEG', 'n07583066_647.JPEG'):
          self.assertNotEqual(got[2], contents)
          self.assertTrue(tf.io.is_jpeg(got[2]))
          self.assertEqual(tf.io.decode_jpeg(got[2]).shape, (12, 16, 3))
        else:
          self.assertEqual(got[2], contents)
    _, examples = self.read(manifests['validation'])
    for index, synset in enumerate(VALIDATION_SYNSETS):
      self.assertEqual(
        examples[validation_name(index)],
        (SYNSETS.index(synset) + 1, synset, self.validation[index]),
      )

  def test_order_is_mixed_by_the_seed(self):
    self.add_imagenet1k()
    self.add(imagenet.DEVELOPMENT_KIT, make_kit(VALIDATION_SYNSETS))
    in_order = sorted(
      name for images in self.images.values() for name in images
    )
    for seed in (0, 1):
      names, _ = self.read(self.build(seed=seed)['train'])
      expected = np.random.RandomState(seed).permutation(len(in_order))
      self.assertEqual(names, [in_order[i] for i in expected])

  def test_labels_from_a_text_file(self):
    self.add_imagenet1k()
    self.add(imagenet.DEVELOPMENT_KIT, make_kit(VALIDATION_SYNSETS))
    expected = self.build()['validation'].files
    rows = [
      f'{validation_name(i)} {synset}'
      for i, synset in enumerate(VALIDATION_SYNSETS)
    ]
    for lines in (VALIDATION_SYNSETS, rows[::-1]):
      # With a byte order mark, as some editors write it.
      contents = '\n'.join([*lines, '']).encode('utf-8-sig')
      path = self.add('labels.txt', contents)
      got = self.build(validation_labels=path)
      self.assertEqual(got['validation'].files, expected)

  def test_labels_that_do_not_fit(self):
    self.add_imagenet1k()
    with self.assertRaisesRegex(ValueError, 'devkit.*validation_labels'):
      self.build()
    path = self.add('labels.txt', b'n01440764\n' * 3)
    with self.assertRaisesRegex(ValueError, 'line 1: .*for 4 images.*3 lines'):
      self.build(validation_labels=path)
    path = self.add('labels.txt', b'ILSVRC2012_val_00000002 n01440764\n')
    with self.assertRaisesRegex(ValueError, 'val_00000001.JPEG and 2 others'):
      self.build(validation_labels=path)
    path = self.add(
      'labels.txt', b'\na.JPEG n01440764\nb n01440764\n\na n02105855\n'
    )
    with self.assertRaisesRegex(
      ValueError, "line 5: a.JPEG is of 'n02105855' here, and of 'n01440764' in"
    ):
      self.build(validation_labels=path)
    with self.assertRaisesRegex(ValueError, "validation_labels is '/nowhere'"):
      self.build(validation_labels='/nowhere')
    path = self.add('labels.txt', b'n00000000\n' * 4)
    with self.assertRaisesRegex(ValueError, "of .'n00000000'.*no such classes"):
      self.build(validation_labels=path)
    self.add(imagenet.DEVELOPMENT_KIT, make_kit(VALIDATION_SYNSETS[1:]))
    with self.assertRaisesRegex(ValueError, 'classes of 3 images.*holds 4'):
      self.build()
    self.add(imagenet.DEVELOPMENT_KIT, b'nonsense')
    with self.assertRaisesRegex(ValueError, 'is not the development kit'):
      self.build()

  def test_wrong_number_of_classes(self):
    self.add_imagenet1k()
    with self.assertRaisesRegex(ValueError, '3 classes, but num_classes is 10'):
      imagenet.imagenet1k_splits(self.input_dir)

  def test_image_in_the_archive_of_another_class(self):
    images = self.images['n01440764']
    images['n02105855_1.JPEG'] = images.pop('n01440764_1.JPEG')
    self.add_imagenet1k()
    with self.assertRaisesRegex(
      ValueError, r"n01440764.tar: 'n02105855_1.JPEG' .*does not match"
    ):
      self.build()

  def test_broken_image_is_listed(self):
    self.images['n01440764']['n01440764_1.JPEG'] = b'text'
    self.add_imagenet1k()
    self.add(imagenet.DEVELOPMENT_KIT, make_kit(VALIDATION_SYNSETS))
    (failure,) = self.build()['train'].failures
    self.assertEqual(failure.name, 'n01440764_1.JPEG')
    self.assertEqual(failure.reason, 'no image of a known format')


class Imagenet21kTest(ImagenetTestCase):
  def test_held_out_by_a_hash_of_the_name(self):
    self.images = make_images(number=30)
    path = self.add(
      imagenet.IMAGENET21K_ARCHIVE,
      image_files.make_class_archives(self.images),
    )
    for where in (path, self.input_dir):
      splits = imagenet.imagenet21k_splits(
        where, num_classes=3, validation_fraction=0.2
      )
    manifests = corpus.write_corpus(splits, self.output_dir, num_shards=2)
    train, _ = self.read(manifests['train'])
    validation, examples = self.read(manifests['validation'])
    everything = [name for images in self.images.values() for name in images]
    self.assertCountEqual(train + validation, everything)
    self.assertCountEqual(
      validation,
      [name for name in everything if corpus.hash_fraction(name) < 0.2],
    )
    for name, (label, synset, _) in examples.items():
      self.assertEqual(synset, name.split('_')[0])
      self.assertEqual(label, SYNSETS.index(synset) + 1)

  def test_number_of_classes_and_default_share(self):
    path = self.add('fall.tar', image_files.make_class_archives(self.images))
    with self.assertRaisesRegex(ValueError, 'num_classes is 21841'):
      imagenet.imagenet21k_splits(path)
    splits = imagenet.imagenet21k_splits(path, num_classes=3)
    names = [name for images in self.images.values() for name in images]
    held_out = sum(corpus.hash_fraction(name) < 0.01 for name in names)
    self.assertEqual(splits[0].num_examples, len(names) - held_out)

  def test_image_twice(self):
    twice = image_files.make_tar(
      [('n01440764_1.JPEG', b'x'), ('n01440764_1.JPEG', b'y')]
    )
    path = self.add('x.tar', image_files.make_tar([('n01440764.tar', twice)]))
    with self.assertRaisesRegex(ValueError, 'image twice'):
      imagenet.imagenet21k_splits(path, num_classes=1)


if __name__ == '__main__':
  tf.test.main()
