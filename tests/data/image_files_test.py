"""Tests of official_coatnet.data.image_files, format by format."""

import io
import itertools
import os
import re
import sys
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from PIL import ExifTags, Image

from official_coatnet.data import (
  image_files,
  image_formats,
  images,
  pixel_values,
)
from tests.fixtures import format_files as files, format_page, repository
from tests.fixtures.format_files import GREY, RGB, as_rgb, save, tiff

TABLE = format_page.table()


def difference(pixels, expected):
  """Largest difference of two images."""
  return np.abs(np.asarray(pixels).astype(int) - expected).max()


class TableTest(parameterized.TestCase, tf.test.TestCase):
  """A file of each line of docs/formats.md."""

  @parameterized.named_parameters(
    (re.sub(r'\W+', '_', f'{i}_{row.format}_{row.pixels}'), row)
    for i, row in enumerate(TABLE)
  )
  def test_line(self, row):
    contents = row.make()
    if row.tools:
      self.check_refused(contents, row.tools)
    if row.expected is not None:
      options = image_files.Options(value_range=row.value_range)
      self.check_pixels(contents, options, row)
    head = contents[: image_formats.HEAD]
    if row.expected is not None:
      self.assertTrue(image_formats.can_open(head, name=row.name))
    self.check_raw(contents, row)

  def check_refused(self, contents, words):
    """Everybody refuses, in words that name what is wrong."""
    for read in (
      image_files.to_jpeg,
      image_files.to_graph,
      image_files.decode,
    ):
      with self.assertRaisesRegex(ValueError, words):
        read(contents)

  def check_pixels(self, contents, options, row):
    """All who read it have the pixels that it was made of."""
    decoded = image_files.decode(contents, options)
    self.assertLessEqual(difference(decoded, row.expected), row.tolerance)
    sent = images.decode_whole(image_files.to_graph(contents, options))
    self.assertLessEqual(difference(sent, row.expected), row.tolerance)
    jpeg, width, height = image_files.to_jpeg(contents, options)
    self.assertEqual((width, height), decoded.size)
    if jpeg != contents:
      # What JPEG loses, and nothing else.
      sent = images.decode_whole(save(decoded, 'JPEG', quality=95))
    self.assertAllEqual(images.decode_whole(jpeg), sent)

  def check_raw(self, contents, row):
    """A graph decodes the file as it is, or does not, as the line says."""
    if row.raw is not None:
      with self.assertRaisesRegex(tf.errors.InvalidArgumentError, row.raw):
        images.decode_whole(contents)
      return
    pixels = images.decode_whole(contents).numpy()
    if not row.raw_other:
      self.assertLessEqual(difference(pixels, row.expected), row.tolerance)
    elif pixels.shape == row.expected.shape:
      self.assertGreater(difference(pixels, row.expected), 50)

  def test_page_is_current(self):
    path = os.path.join(repository.ROOT, format_page.PATH)
    with open(path, encoding='utf-8') as file:
      text = file.read()
    self.assertEqual(
      text,
      format_page.page(text),
      'Run `python -m tests.fixtures.format_page --write`.',
    )


if __name__ == '__main__':
  tf.test.main()
