"""Tests of data.facts."""

import dataclasses
import hashlib
import json
import os

from absl.testing import absltest

from official_coatnet.data import (
  facts,
  manifest as manifest_lib,
  sources,
)
from official_coatnet.data.config import DataConfig


def make_config(**fields):
  return DataConfig(
    **{'num_classes': 3, 'image_size': 8, 'batch_size': 2, **fields}
  )


def make_manifest(**fields):
  return manifest_lib.Manifest(
    **{
      'split': 'train',
      'schema': 'imagenet',
      'num_classes': 3,
      'label_offset': -1,
      'files': (manifest_lib.FileEntry('x', records=7, bytes=1, sha256='0'),),
      'label_counts': {},
      **fields,
    }
  )


def make_source(**fields):
  source = sources.tfrecord_source(
    ['x'], schema='imagenet', counts=[7], label_offset=-1
  )
  return dataclasses.replace(source, **{'num_classes': 3, **fields})


def make_facts(**fields):
  names = fields.pop('names', ('a', 'b', 'c'))
  return facts.SplitFacts(
    **{
      'source': 'tfrecord',
      'split': 'train',
      'num_classes': 3,
      'known_from': 'manifest',
      'class_names': names,
      'class_digest': names and facts.digest(names),
      'schema': 'imagenet',
      'label_offset': -1,
      'num_examples': 7,
      **fields,
    }
  )


class FactsTest(absltest.TestCase):
  def test_what_a_manifest_tells(self):
    for exif in (True, False):
      manifest = make_manifest(exif_orientation=exif)
      source = make_source(class_names=('a', 'b', 'c'), manifest=manifest)
      self.assertEqual(
        facts.describe(make_config(), source),
        make_facts(exif_orientation=exif, content=manifest.content),
      )

  def test_what_tfds_tells(self):
    config = make_config(source='tfds', tfds_name='pets', split='test')
    source = make_source(class_names=('a', 'b', 'c'), label_offset=0)
    self.assertEqual(
      facts.describe(config, source),
      make_facts(
        source='tfds',
        split='test',
        known_from='tfds',
        schema=None,
        label_offset=0,
      ),
    )

  def test_what_the_configuration_alone_tells(self):
    expected = make_facts(names=None, known_from=None)
    source = make_source(num_classes=None)
    self.assertEqual(facts.describe(make_config(), source), expected)
    config = make_config(num_examples=7)
    self.assertEqual(
      facts.describe(config, None),
      dataclasses.replace(expected, label_offset=None),
    )

  def test_round_trip(self):
    both = facts.DataFacts(
      make_facts(names=('a "b"', 'ä\u2028', 'c')),
      make_facts(names=None, split='validation', exif_orientation=True),
    )
    text = both.to_json()
    self.assertEqual(facts.DataFacts.from_json(text, origin='x'), both)
    values = json.loads(text)
    self.assertEqual(values['train']['class_names'], ['a "b"', 'ä\u2028', 'c'])
    self.assertIs(values['validation']['exif_orientation'], True)
    # What a later version adds is left aside.
    values['train']['colours'] = 3
    values['more'] = {}
    self.assertEqual(
      facts.DataFacts.from_json(json.dumps(values), origin='x'), both
    )

  def test_many_names_are_a_checksum(self):
    names = tuple(f'class {i}' for i in range(2001))
    split = make_facts(names=names, num_classes=2001)
    text = facts.DataFacts(split, split).to_json()
    self.assertNotIn('class 7', text)
    read = facts.DataFacts.from_json(text, origin='x').train
    self.assertIsNone(read.class_names)
    digest = hashlib.sha256(json.dumps([2001, *names]).encode()).hexdigest()
    self.assertEqual(read.class_digest, digest)
    self.assertEqual(read.with_names(names), split)
    self.assertEqual(read.with_names(names[::-1]), read)
    # Without them nobody can say which name differs.
    other = make_facts(names=names[::-1], num_classes=2001)
    self.assertRegex(
      facts.class_difference(read, other), 'list .* was of checksum .* is now'
    )
    self.assertIsNone(facts.class_difference(read, split))

  def test_file_that_cannot_be_read(self):
    path = self.create_tempfile(content='{"train": {').full_path
    with self.assertRaisesRegex(ValueError, f'{path} cannot be read'):
      facts.read(path)
    with open(path, 'w') as f:
      f.write('{"train": {}, "validation": 3}')
    with self.assertRaisesRegex(ValueError, f'{path} cannot be read'):
      facts.read(path)
    self.assertIsNone(facts.read(os.path.join(path, 'none')))

  def test_classes_that_differ(self):
    old = make_facts()
    for names, sentence in (
      (('b', 'c', 'z'), r"class 0 was 'a' and is now 'b' \(3 of 3 classes"),
      (('a', 'b', 'z'), r"class 2 was 'c' and is now 'z' \(1 of 3 classes"),
      (('a', 'c', 'b'), "class 1 was 'b' and .*the same names in another"),
      (('a', 'b'), 'the number of classes was 3 and is now 2'),
    ):
      self.assertRegex(
        facts.class_difference(old, make_facts(names=names)), sentence
      )
    self.assertIsNone(facts.class_difference(old, make_facts()))
    # White space at the end of a line is no part of a name.
    padded = make_facts(names=('a', 'b ', 'c\r'))
    self.assertIsNone(facts.class_difference(old, padded))
    self.assertIsNone(facts.class_difference(old, make_facts(names=None)))

  def test_what_else_differs(self):
    def compare(**fields):
      return facts.other_differences(make_facts(), make_facts(**fields))

    self.assertEqual(compare(), [])
    self.assertEqual(
      compare(num_examples=8, exif_orientation=True, label_offset=0),
      [
        '`label_offset` was -1 and is now 0',
        '`num_examples` was 7 and is now 8',
        '`exif_orientation` was False and is now True',
      ],
    )
    # Parts of one split of TFDS.
    self.assertEqual(
      compare(split='train[:50%]'),
      ["`split` was 'train' and is now 'train[:50%]'"],
    )
    # Another schema numbers its classes in its own way.
    self.assertEqual(
      compare(schema='multilabel', label_offset=0),
      ["`schema` was 'imagenet' and is now 'multilabel'"],
    )
    # What is not known is not compared.
    self.assertEqual(compare(num_examples=None, schema=None), [])
    self.assertEqual(compare(known_from=None, exif_orientation=True), [])
    self.assertEqual(
      compare(source='synthetic', num_examples=1),
      ["`source` was 'tfrecord' and is now 'synthetic'"],
    )


if __name__ == '__main__':
  absltest.main()
