"""Tests of what cards have in common; their own tests hold the rest."""

import types

from absl.testing import absltest

from official_coatnet.export import card_sections
from tests.fixtures import experiments


class CardSectionsTest(absltest.TestCase):
  def test_metrics_by_the_words_of_a_card(self):
    text = card_sections.metrics(
      experiments.make_experiment(),
      {'step': 1000, 'eval/top1': 0.25, 'eval/top5': None, 'epoch': 2.0},
      stored=types.SimpleNamespace(prefix='x/ckpt-2000', group='ema'),
      source='By somebody',
      weights='These',
    )
    self.assertEqual(
      text,
      '## Metrics\n\nBy somebody, at step 1,000. These are of step 2,000. It '
      'evaluated the weights `raw`; these here are `ema`.\n\n'
      '| | |\n|---|---|\n| top1 | 0.25 |',
    )

  def test_what_evaluation_takes_of_an_image(self):
    data = experiments.make_data(
      eval_crop_fraction=0.95, mean=(0.5, 0.25, 0.0), deviation=(1.0, 0.5, 0.5)
    )
    self.assertEqual(card_sections.crop(data), 'the middle 0.95 of each side')
    self.assertEqual(
      card_sections.normalization(data),
      'red, green and blue in 0..1 less 0.5, 0.25, 0, divided by 1, 0.5, 0.5',
    )


if __name__ == '__main__':
  absltest.main()
