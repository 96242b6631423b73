"""Tests of official_coatnet.extras."""

import sys
from unittest import mock

from absl.testing import absltest

from official_coatnet import extras


class ExtrasTest(absltest.TestCase):
  def test_what_is_there(self):
    self.assertIs(
      extras.load('unittest.mock', extra='demo', purpose='This'), mock
    )

  def test_what_is_missing(self):
    with mock.patch.dict(sys.modules, {'no_such.part': None, 'no_such': None}):
      with self.assertRaisesRegex(
        ImportError,
        r'^This takes the package no_such, which cannot be imported \(.*\); '
        r'run `pip install "official_coatnet\[demo\]"`\.$',
      ):
        extras.load('no_such.part', extra='demo', purpose='This')
      with self.assertRaisesRegex(ImportError, r'\]"`, or do without\.$'):
        extras.load(
          'no_such', extra='demo', purpose='This', instead='do without'
        )


if __name__ == '__main__':
  absltest.main()
