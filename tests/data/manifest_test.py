"""Tests of official_coatnet.data.manifest."""

import json
import os

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.data import manifest as manifest_lib, sketch


def make_manifest(**changes):
  fields = {
    'split': 'train',
    'schema': 'imagenet',
    'num_classes': 3,
    'label_offset': -1,
    'files': (
      manifest_lib.FileEntry('a', records=2, bytes=3, sha256='00'),
      manifest_lib.FileEntry('b', records=5, bytes=4, sha256='01'),
    ),
    'label_counts': {10: 1, 2: 6},
    'class_names': ('x', 'y', 'z'),
    'failures': (manifest_lib.Failure('c.jpg', 'truncated'),),
  }
  return manifest_lib.Manifest(**{**fields, **changes})


class ManifestTest(parameterized.TestCase, tf.test.TestCase):
  def test_round_trip(self):
    build = manifest_lib.Build(
      'mark', {'train': 9}, (manifest_lib.LeftOut('odd', 12, ('a', 'b')),)
    )
    known = sketch.make([np.array([3, 2**64 - 1], np.uint64)])
    for manifest in (
      make_manifest(),
      make_manifest(class_names=None),
      make_manifest(build=build, sketch=known),
    ):
      text = manifest.to_json()
      self.assertEqual(
        manifest_lib.Manifest.from_json(text, origin='here'), manifest
      )

  def test_content_is_that_of_the_files(self):
    content = make_manifest().content
    self.assertEqual(content, make_manifest(class_names=None).content)
    other = manifest_lib.FileEntry('a', records=2, bytes=3, sha256='02')
    self.assertNotEqual(content, make_manifest(files=(other,)).content)

  def test_text_is_readable_and_sorted_by_label(self):
    fields = json.loads(make_manifest().to_json())
    self.assertEqual(fields['num_examples'], 7)
    self.assertEqual(list(fields['label_counts']), ['2', '10'])

  def test_manifest_of_version_0_1(self):
    fields = json.loads(make_manifest().to_json())
    del fields['build'], fields['sketch']
    self.assertEqual(
      manifest_lib.Manifest.from_json(json.dumps(fields), origin='here'),
      make_manifest(),
    )

  def test_not_a_manifest(self):
    for text in ('{}', 'null', '{"split"', '[]', '{"files": 3}'):
      with self.assertRaisesRegex(ValueError, '/d/manifest.*is not a manifest'):
        manifest_lib.Manifest.from_json(text, origin='/d/manifest-a.json')

  def test_failures_can_be_printed_and_stored(self):
    name = os.fsdecode(b'a/\xff\xe9\n.jpg')
    failure = manifest_lib.Failure(name, f'{name} is broken\x1b[31m')
    self.assertEqual(failure.name, r'a/\xff\xe9\n.jpg')
    self.assertEqual(failure.reason, r'a/\xff\xe9\n.jpg is broken\x1b[31m')
    text = make_manifest(failures=(failure,)).to_json()
    text.encode()
    again = manifest_lib.Manifest.from_json(text, origin='here')
    self.assertEqual(again.failures, (failure,))

  @parameterized.parameters(
    ('Bär 1/\u732b\u3000\\x.jpg', 'Bär 1/\u732b\u3000\\x.jpg'),
    (b'\xc3\xa9\xff.jpg', r'é\xff.jpg'),
    ('a\r\tb\0\x7f\x85\u2028', r'a\r\tb\x00\x7f\x85\u2028'),
    ('\ufeffa\ud800', r'\ufeffa\ud800'),
  )
  def test_printable(self, name, expected):
    self.assertEqual(manifest_lib.printable(name), expected)

  @parameterized.parameters(
    (['a', 'b\nc'], r"'b\nc', class number 1 from 0, holds a line break"),
    (['a\u2028b'], r"'a\u2028b', class number 0 from 0, holds a line break"),
    (['\ufeffcat'], r"'\ufeffcat', class number 0 from 0, holds a line break"),
    ([os.fsdecode(b'b\xe4r')], r"'b\xe4r', class number 0 from 0, holds"),
    (['a', ' '], "' ', class number 1 from 0, is empty"),
    (['a', 'b', 'a'], "'a', class number 2 from 0, is the name of class number "
     '0 as well; each'),
    (['a', 'a '], "'a ', class number 1 from 0, is the name of class number 0 "
     'as well, but for white space at its ends'),
  )  # fmt: skip
  def test_names_that_no_class_can_have(self, names, message):
    with self.assertRaises(ValueError) as caught:
      manifest_lib.check_class_names(names)
    self.assertStartsWith(str(caught.exception), f'class_names: {message}')

  def test_names_of_all_kinds(self):
    manifest_lib.check_class_names(
      ['tench, Tinca tinca', 'Bär', '\u732b\u3000', 'a b', '0', '1', '\\n']
    )


if __name__ == '__main__':
  tf.test.main()
