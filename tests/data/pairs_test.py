"""Tests of official_coatnet.data.pairs."""

import os

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.data import (
  manifest as manifest_lib,
  pairs,
  pipeline,
  sketch,
)


def make_sketch(*images):
  return sketch.make([np.array(images, np.uint64)])


def side(folder='/d', split='train', *, config_offset=None, **changes):
  config = pipeline.DataConfig(
    data_dir=folder,
    split=split,
    num_classes=2,
    image_size=32,
    batch_size=4,
    label_offset=config_offset,
  )
  fields = {
    'split': split,
    'schema': 'imagenet',
    'num_classes': 2,
    'label_offset': -1,
    'files': (manifest_lib.FileEntry('f', records=4, bytes=1, sha256=''),),
    'label_counts': {1: 4},
    'class_names': ('a', 'b'),
    **changes,
  }
  return config, manifest_lib.Manifest(**fields)


def build(mark):
  return manifest_lib.Build(mark, {'train': 4, 'validation': 4})


class PairsTest(parameterized.TestCase, tf.test.TestCase):
  def assert_problem(self, pattern, train, evaluation, **options):
    (problem,) = pairs.find_problems(train, evaluation, **options)
    self.assertRegex(problem, pattern)

  def test_one_build(self):
    for folder in ('/d', '/copied'):
      self.assertEmpty(
        pairs.find_problems(
          side(build=build('x'), sketch=make_sketch(1, 2)),
          # A duplicate within a build is said when it is built.
          side(
            folder, 'validation', build=build('x'), sketch=make_sketch(2, 3)
          ),
        )
      )

  def test_two_builds_in_one_folder(self):
    self.assert_problem(
      '/d/manifest-train.json and /d/manifest-validation.json are of different '
      'builds.*--overwrite',
      side(build=build('x')),
      side(os.path.join('/d', ''), 'validation', build=build('y')),
    )

  def test_images_in_both(self):
    train = side(build=build('x'), sketch=make_sketch(1, 2, 3))
    for other in (build('y'), None):
      evaluation = side(
        '/e', 'validation', build=other, sketch=make_sketch(3, 9)
      )
      self.assert_problem(
        '^1 of the 4 images of /e/manifest-validation.json stand in /d/man.*'
        'allow_shared_images = True',
        train,
        evaluation,
      )
      self.assertEmpty(
        pairs.find_problems(train, evaluation, allow_shared_images=True)
      )

  def test_other_images_from_elsewhere(self):
    self.assertEmpty(
      pairs.find_problems(
        side(build=build('x'), sketch=make_sketch(1, 2)),
        side('/e', 'validation', build=build('y'), sketch=make_sketch(3)),
      )
    )

  def test_manifests_of_version_0_1_are_compared_as_far_as_they_go(self):
    self.assertEmpty(pairs.find_problems(side(), side(split='validation')))
    self.assertEmpty(
      pairs.find_problems(
        side(), side(split='validation', build=build('x'), sketch=make_sketch())
      )
    )

  def test_training_images_on_purpose(self):
    self.assertEmpty(
      pairs.find_problems(side(sketch=make_sketch(1)), side('/d/../d'))
    )

  @parameterized.parameters(
    (
      {'class_names': ('a', 'c')},
      "class 1 from 0 is 'b' in the first and 'c' in the second",
    ),
    ({'class_names': ('b', 'a')}, "class 0 from 0 is 'a' .* 'b' in the second"),
    ({'num_classes': 3, 'class_names': None}, 'have 2 and 3 classes'),
    ({'label_offset': 0}, r'another class in each \(label_offset -1 and 0\)'),
  )
  def test_other_classes(self, changes, pattern):
    for folder in ('/d', '/e'):
      self.assert_problem(
        f'do not belong together: .*{pattern}',
        side(),
        side(folder, 'validation', **changes),
      )

  def test_labels_that_are_stored_otherwise_on_purpose(self):
    other = {'label_offset': 0, 'schema': 'multilabel'}
    self.assertEmpty(
      pairs.find_problems(side(), side(split='validation', **other))
    )
    stated = side(split='validation', label_offset=0, config_offset=-1)
    self.assertEmpty(pairs.find_problems(side(), stated))

  def test_what_is_not_there_is_read_quietly(self):
    folder = self.create_tempdir()
    config, manifest = side(folder.full_path)
    self.assertIsNone(pairs.read_quietly(config))
    folder.create_file('manifest-train.json', content='{}')
    self.assertIsNone(pairs.read_quietly(config))
    folder.create_file('manifest-train.json', content=manifest.to_json())
    self.assertEqual(pairs.read_quietly(config), manifest)


if __name__ == '__main__':
  tf.test.main()
