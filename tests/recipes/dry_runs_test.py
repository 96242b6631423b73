"""Dry-runs one gin file of each kind; dry_runs_all_test does all of them."""

import os
import re
import unittest

import tensorflow as tf
from absl import flags
from absl.testing import parameterized

from tests.fixtures import dry_runs, graphs, repository

# Each recipe and each kind of data once. The others change sizes, numbers or
# the network: the tests of gradients and of folding have each such network.
_FILES = (
  'demo',
  'imagenet1k_coatnet3_384',
  'imagenet21k_coatnet4_ptra_e150',
  'imagenet21k_coatnet2_384',
  'jft_coatnet3',
  'ablations/figure1_jft_ccct',
  'ablations/figure1_jft_cttt_384',
  'ablations/figure1_vit_rel',
)


def setUpModule():
  unittest.enterModuleContext(graphs.unoptimized())


def _included(path):
  """Returns all files that a gin file reads, itself among them."""
  with open(os.path.join(repository.ROOT, path)) as f:
    found = re.findall(r"^include '(.*)'", f.read(), re.MULTILINE)
  return {path}.union(*map(_included, found))


class DryRunsTest(tf.test.TestCase, parameterized.TestCase):
  @parameterized.parameters(*_FILES)
  def test_trains_evaluates_and_exports(self, name):
    dry_runs.dry_run(self, f'gin/{name}.gin')

  def test_every_recipe_is_among_them(self):
    read = set().union(*(_included(f'gin/{name}.gin') for name in _FILES))
    folder = os.path.join(repository.ROOT, 'gin')
    for kind in ('recipes', 'data'):
      for name in os.listdir(os.path.join(folder, kind)):
        self.assertIn(f'gin/{kind}/{name}', read)


if __name__ == '__main__':
  flags.FLAGS.mark_as_parsed()
  tf.test.main()
