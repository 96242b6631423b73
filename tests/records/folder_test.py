"""Tests of official_coatnet.records.folder."""

import hashlib
import io
import json
import os

import tensorflow as tf
from absl.testing import parameterized
from PIL import Image

from official_coatnet.data import schema, split_files
from official_coatnet.records import corpus, folder as folder_lib
from tests.fixtures import shard_files


def encode(picture, image_format='JPEG', **options):
  buffer = io.BytesIO()
  picture.save(buffer, image_format, **options)
  return buffer.getvalue()


def make_picture(color=(200, 100, 50), size=(12, 8)):
  return Image.new('RGB', size, color)


class FolderTestCase(parameterized.TestCase, tf.test.TestCase):
  def setUp(self):
    super().setUp()
    self.input_dir = self.create_tempdir().full_path
    self.output_dir = self.create_tempdir().full_path

  def add(self, name, contents):
    path = os.path.join(self.input_dir, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'wb') as file:
      file.write(contents)

  def read(self, each):
    paths = [os.path.join(self.output_dir, file.name) for file in each.files]
    for record in tf.data.TFRecordDataset(paths):
      features = tf.train.Example.FromString(record.numpy()).features.feature
      yield (
        features['image/filename'].bytes_list.value[0].decode(),
        features['image/class/text'].bytes_list.value[0].decode(),
        schema.parse(record, schema='imagenet'),
      )


class WriteFolderTest(FolderTestCase):
  def test_classes_labels_and_bytes(self):
    red = encode(make_picture((255, 0, 0)))
    self.add('rose/b.jpg', red)
    self.add('rose/a.JPEG', encode(make_picture((250, 0, 0))))
    self.add('daisy/a.jpg', encode(make_picture((0, 0, 255))))
    self.add('daisy/notes.txt', b'no image')
    self.add('daisy/.hidden.jpg', b'no image')
    self.add('.git/x.jpg', b'no image')
    self.add('top.jpg', red)
    manifests = shard_files.write_folder(self.input_dir, self.output_dir)
    self.assertEqual(list(manifests), ['train'])
    train = manifests['train']
    self.assertEqual(train.class_names, ('daisy', 'rose'))
    self.assertEqual(train.label_counts, {1: 1, 2: 2})
    self.assertEqual((train.num_classes, train.label_offset), (2, -1))
    self.assertEmpty(train.failures)
    examples = {name: (text, e) for name, text, e in self.read(train)}
    self.assertCountEqual(
      examples, ['rose/b.jpg', 'rose/a.JPEG', 'daisy/a.jpg']
    )
    for name, (text, example) in examples.items():
      self.assertEqual(name.split('/')[0], text)
      self.assertAllEqual(example['labels'], [1 if text == 'daisy' else 2])
    # An RGB JPEG is not touched.
    self.assertEqual(examples['rose/b.jpg'][1]['encoded'], red)

  def test_broken_images_are_listed_and_left_out(self):
    good = encode(make_picture(size=(64, 64)))
    self.add('a/good.jpg', good)
    self.add('a/empty.jpg', b'')
    self.add('a/text.png', b'no image')
    self.add('a/cut.jpg', good[: len(good) // 2])
    train = shard_files.write_folder(self.input_dir, self.output_dir)['train']
    self.assertEqual([name for name, _, _ in self.read(train)], ['a/good.jpg'])
    reasons = {failure.name: failure.reason for failure in train.failures}
    self.assertCountEqual(reasons, ['a/empty.jpg', 'a/text.png', 'a/cut.jpg'])
    self.assertEqual(reasons['a/text.png'], 'no image of a known format')
    self.assertRegex(reasons['a/cut.jpg'], '(?i)trunc')

  def test_what_cannot_be_read_is_left_out_by_name(self):
    self.add('a/good.jpg', encode(make_picture()))
    os.mkdir(os.path.join(self.input_dir, 'a', 'folder.jpg'))
    os.mkfifo(os.path.join(self.input_dir, 'a', 'pipe.jpg'))
    os.symlink('gone', os.path.join(self.input_dir, 'a', 'link.jpg'))
    latin = os.fsdecode(b'a/\xe4\n.jpg')
    self.add(latin, encode(make_picture()))
    names = ['folder.jpg', 'good.jpg', 'link.jpg', 'pipe.jpg', 'gone.jpg']
    entries = [
      folder_lib.ImageFileEntry(name, label=0, size=1)
      for name in (*(f'a/{name}' for name in names), latin)
    ]
    images = folder_lib.FolderImages(self.input_dir, tuple(entries), ('a',))
    items = list(images)
    self.assertEqual(
      [(item.name, item.reason) for item in items if hasattr(item, 'reason')],
      [
        ('a/folder.jpg', 'it is a folder'),
        ('a/link.jpg', 'its link leads nowhere'),
        ('a/pipe.jpg', 'it is no plain file'),
        ('a/gone.jpg', f'there is no {self.input_dir}/a/gone.jpg'),
        (r'a/\xe4\n.jpg', 'its name is not UTF-8; rename it'),
      ],
    )
    self.assertLen(items, 6)

  def test_no_line_break_in_the_name_of_a_class(self):
    self.add('a/x.jpg', encode(make_picture()))
    self.add('b\nc/x.jpg', encode(make_picture()))
    with self.assertRaisesRegex(ValueError, r"'b\\nc', class number 1 from 0"):
      shard_files.write_folder(self.input_dir, self.output_dir)
    self.assertEmpty(os.listdir(self.output_dir))

  def test_validation_by_hash_of_the_name(self):
    for i in range(200):
      self.add(f'c{i % 2}/{i}.jpg', encode(make_picture((i, 0, 0))))
    listing = folder_lib.list_folder(self.input_dir, validation_fraction=0.25)
    held_out = {entry.name for entry in listing.images['validation']}
    # Binomial(200, 1/4): deviation 6.1.
    self.assertBetween(len(held_out), 30, 70)
    self.assertLen(listing.images['train'], 200 - len(held_out))
    # Another image changes nothing for those there are.
    self.add('c0/new.jpg', encode(make_picture()))
    again = folder_lib.list_folder(self.input_dir, validation_fraction=0.25)
    self.assertEqual(
      {entry.name for entry in again.images['validation']} - {'c0/new.jpg'},
      held_out,
    )
    # A larger share holds out more, and all of those.
    more = folder_lib.list_folder(self.input_dir, validation_fraction=0.5)
    self.assertContainsSubset(
      held_out, {entry.name for entry in more.images['validation']}
    )

  def test_what_is_left_out_stands_in_the_manifests(self):
    self.add('a/1.jpg', encode(make_picture((1, 0, 0))))
    self.add('a/2.jfif', encode(make_picture((2, 0, 0))))
    self.add('a/3', encode(make_picture((3, 0, 0)), 'AVIF'))
    self.add('a/4.txt', b'no image')
    splits = folder_lib.folder_splits(self.input_dir, validation_fraction=0.5)
    manifests = corpus.write_corpus(splits, self.output_dir)
    self.assertEqual(sum(each.num_examples for each in manifests.values()), 3)
    for split in manifests:
      stored = split_files.read_manifest(self.output_dir, split)
      (left_out,) = stored.build.left_out
      self.assertEqual((left_out.count, left_out.names), (1, ('a/4.txt',)))
      self.assertEqual(
        stored.build.splits,
        {name: each.num_examples for name, each in manifests.items()},
      )

  def test_fingerprints_are_those_of_version_0_1(self):
    """What it has finished is not written again."""
    self.add('b/1.jpg', encode(make_picture()))
    self.add('a/2.png', b'12')
    self.add('a/.3.png', b'12')
    (split,) = folder_lib.folder_splits(self.input_dir)
    size = len(encode(make_picture()))
    entries = [['a/2.png', 0, 2], ['b/1.jpg', 1, size]]
    expected = hashlib.sha256(b'95["a", "b"]\n')
    expected.update(json.dumps(entries).encode() + b'\n')
    self.assertEqual(split.fingerprint, expected.hexdigest())

  def test_shards_mix_classes(self):
    for i in range(60):
      self.add(f'c{i // 20}/{i:02d}.jpg', encode(make_picture((i, 0, 0))))
    train = shard_files.write_folder(
      self.input_dir, self.output_dir, num_shards=3
    )['train']
    self.assertEqual([file.records for file in train.files], [20, 20, 20])
    texts = [text for _, text, _ in self.read(train)]
    for start in (0, 20, 40):
      self.assertLen(set(texts[start : start + 20]), 3)

  def test_reused_until_something_changes(self):
    self.add('a/0.jpg', encode(make_picture()))
    self.add('b/1.jpg', encode(make_picture()))
    calls = []

    def write(**options):
      calls.clear()
      return shard_files.write_folder(
        self.input_dir,
        self.output_dir,
        progress=lambda *call: calls.append(call),
        **options,
      )['train']

    first = write()
    self.assertEqual(calls, [(1, 2), (2, 2)])
    self.assertEqual(write(), first)
    self.assertEmpty(calls)
    self.add('b/2.jpg', encode(make_picture()))
    with self.assertRaisesRegex(ValueError, "'train' made from something"):
      write()
    self.assertEqual(write(overwrite=True).num_examples, 3)
    self.assertEqual(write(overwrite=True, num_shards=1).num_examples, 3)
    self.assertLen(calls, 3)
    self.assertCountEqual(
      os.listdir(self.output_dir),
      ['train-00000-of-00001', 'manifest-train.json'],
    )
    self.assertIsNotNone(
      split_files.complete_manifest(self.output_dir, 'train')
    )

  def test_errors(self):
    with self.assertRaisesRegex(ValueError, "nowhere'.*no such folder"):
      folder_lib.list_folder('/nowhere')
    with self.assertRaisesRegex(ValueError, 'holds no images'):
      folder_lib.list_folder(self.input_dir)
    with self.assertRaisesRegex(ValueError, r'validation_fraction is 1'):
      folder_lib.list_folder(self.input_dir, validation_fraction=1.0)
    self.add('a/x.jpg', b'no image')
    with self.assertRaisesRegex(
      ValueError, 'none of the 1 images.*a/x.jpg: no image of a known'
    ):
      shard_files.write_folder(self.input_dir, self.output_dir)


if __name__ == '__main__':
  tf.test.main()
