"""Wrong settings are refused by sentences; `make faults` tries them all."""

import itertools

from absl.testing import absltest

from tests.fixtures import wrong_settings

# Of those that gin has to load, one in so many.
_SHARE = 40


def _lost(cases):
  """Returns the cases that are not refused, or not by a sentence."""
  return [(case.name, why) for case in cases if (why := case.problem())]


class WrongSettingsTest(absltest.TestCase):
  def test_every_field_has_twenty_wrong_values(self):
    for cls, field in wrong_settings.fields():
      values = wrong_settings.wrong_values(field)
      self.assertGreaterEqual(len(values), 20, f'{cls.__name__}.{field.name}')
    self.assertEmpty(wrong_settings.numbers_without_range())

  def test_every_field_refuses_every_wrong_value(self):
    cases = list(wrong_settings.values())
    self.assertGreater(len(cases), 3000)
    self.assertEmpty(_lost(cases))

  def test_as_bindings(self):
    cases = itertools.islice(wrong_settings.gin_values(), 0, None, _SHARE)
    self.assertEmpty(_lost(cases))

  def test_mistyped_names(self):
    for i, path in enumerate(wrong_settings.runs()):
      cases = itertools.islice(wrong_settings.typos(path), i, None, 10 * _SHARE)
      self.assertEmpty(_lost(cases))

  def test_a_case_that_is_accepted_is_a_loss(self):
    """Or there would be no telling that the others are refused."""
    fine = wrong_settings.Case('fine', 'x', lambda: None)
    self.assertEqual(fine.problem(), 'accepted')

    def fail(error):
      raise error

    for error, why in (
      (ValueError('of another name.'), 'does not name'),
      (ValueError("`x` '<' not supported between str and int."), 'raw'),
      (ValueError('`x` is wrong'), 'no sentence'),
      (AttributeError('x'), 'AttributeError'),
    ):
      case = wrong_settings.Case('x', 'x', lambda error=error: fail(error))
      self.assertStartsWith(case.problem(), why)

  def test_ways_to_mistype(self):
    self.assertEqual(
      wrong_settings.mistyped('train'), ['tarin', 'trin', 'traain', 'TRAIN']
    )
    self.assertNotIn('MODEL', wrong_settings.mistyped('model', known=['MODEL']))


if __name__ == '__main__':
  absltest.main()
