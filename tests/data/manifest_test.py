"""Tests of official_coatnet.data.manifest."""

import json

import tensorflow as tf

from official_coatnet.data import manifest as manifest_lib


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


class ManifestTest(tf.test.TestCase):
  def test_round_trip(self):
    for manifest in (make_manifest(), make_manifest(class_names=None)):
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

  def test_not_a_manifest(self):
    for text in ('{}', 'null', '{"split"', '[]', '{"files": 3}'):
      with self.assertRaisesRegex(ValueError, '/d/manifest.*is not a manifest'):
        manifest_lib.Manifest.from_json(text, origin='/d/manifest-a.json')


if __name__ == '__main__':
  tf.test.main()
