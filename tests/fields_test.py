"""Tests of official_coatnet.fields."""

import dataclasses

from absl.testing import absltest, parameterized

from official_coatnet import fields, kinds
from official_coatnet.data import config as data_config
from official_coatnet.training import gin_config


@fields.rules(
  rate=kinds.Number('[0, 1)'),
  steps=kinds.Whole(1, 99, none='for no end', fix='Ask the plan.'),
  flip=kinds.Flag(),
  sides=kinds.Several(kinds.Whole(1), 'a tuple of integers'),
  form=kinds.Either((kinds.Choice(('long', 'short')),), fix='Be brief.'),
  path=kinds.Path(none='for nowhere'),
)
@dataclasses.dataclass(frozen=True)
class _Config:
  """A configuration.

  Attributes:
    rate: Of what is
      left out.
    steps: How many.

  What follows is of no field.
  """

  rate: float
  steps: int | None = None
  flip: bool = False
  sides: tuple[int, ...] = (1,)
  form: str = 'long'
  path: str | None = None

  def __post_init__(self):
    fields.check(self)


class CheckTest(parameterized.TestCase):
  @parameterized.parameters(
    (
      {'rate': 2},
      '`_Config.rate` is 2; it must be a number in [0, 1). Set it.',
    ),
    (
      {'rate': '5e-1'},
      "`_Config.rate` is '5e-1', a text; it must be a number in [0, 1). Write "
      'rate = 0.5, without quotes.',
    ),
    (
      {'flip': 'false'},
      "`_Config.flip` is 'false', a text; it must be True or False. Write "
      'flip = False, without quotes.',
    ),
    (
      {'flip': 1},
      '`_Config.flip` is 1; it must be True or False. Write flip = True.',
    ),
    (
      {'flip': None},
      '`_Config.flip` is None; it must be True or False. Leave it out for its '
      'default, False.',
    ),
    (
      {'steps': 1e1},
      '`_Config.steps` is 10.0; it must be an integer from 1 to 99, or None '
      'for no end. Write steps = 10.',
    ),
    (
      {'steps': True},
      '`_Config.steps` is True; it must be an integer from 1 to 99, or None '
      'for no end. Ask the plan.',
    ),
    (
      {'steps': 100},
      '`_Config.steps` is 100; it must be an integer from 1 to 99, or None '
      'for no end. It must be 99 at most.',
    ),
    (
      {'sides': 3},
      '`_Config.sides` is 3; it must be a tuple of integers. Write '
      'sides = (3,).',
    ),
    (
      {'form': 'Shrot'},
      "`_Config.form` is 'Shrot', a text; it must be one of 'long', 'short'. "
      "Did you mean 'short'?",
    ),
    (
      {'path': 3},
      "`_Config.path` is 3; it must be a path, a text in quotes such as "
      "'/data', or None for nowhere. Write path = '3'.",
    ),
  )  # fmt: skip
  def test_says_field_value_rule_and_fix(self, settings, message):
    with self.assertRaises(fields.FieldError) as caught:
      _Config(**{'rate': 0.5, **settings})
    self.assertEqual(str(caught.exception), message)
    ((name, value),) = settings.items()
    self.assertEqual(caught.exception.field, f'_Config.{name}')
    self.assertEqual(caught.exception.value, value)

  def test_long_values_are_cut(self):
    for value in ('x' * 10**5, 10**5000):
      with self.assertRaises(fields.FieldError) as caught:
        _Config(0.5, steps=value)
      self.assertLess(len(str(caught.exception)), 250)

  def test_values_take_their_normal_form(self):
    config = _Config(0, sides=[1, 2])
    self.assertEqual(config.sides, (1, 2))
    self.assertEqual(dataclasses.replace(config, sides=(1, 2)), config)
    with self.assertRaisesRegex(ValueError, '_Config.rate` is -1'):
      dataclasses.replace(config, rate=-1)

  def test_every_field_has_a_rule_and_every_rule_a_field(self):
    for given in ({}, {'a': kinds.Flag(), 'b': kinds.Flag()}):
      with self.assertRaisesRegex(TypeError, 'without a rule, or a'):
        fields.rules(**given)(dataclasses.make_dataclass('C', ['a']))

  def test_rules_on_several_fields(self):
    fields.require(True, 'A.x', value=1, rule='must be 1', fix='set it')
    with self.assertRaisesRegex(
      fields.FieldError, '^`A.x` is 2, but must be 1; set it.$'
    ):
      fields.require(False, 'A.x', value=2, rule='must be 1', fix='set it')


class DescribeTest(absltest.TestCase):
  def test_a_line_for_a_page(self):
    rate, steps, *_ = fields.describe(_Config)
    self.assertEqual(
      rate,
      fields.Described(
        'rate', 'a number in [0, 1)', None, 'Of what is left out.'
      ),
    )
    self.assertEqual((steps.default, steps.meaning), ('None', 'How many.'))

  def test_every_field_that_gin_sets_is_described(self):
    for cls in gin_config.CONFIGURABLES:
      for each in fields.describe(cls):
        self.assertNotEmpty(each.words, each)
        self.assertNotEmpty(each.meaning, f'{cls.__name__}.{each.name}')

  def test_words_of_a_real_one(self):
    by_name = {
      each.name: each for each in fields.describe(data_config.DataConfig)
    }
    alpha = by_name['mixup_alpha']
    self.assertEqual(
      (alpha.words, alpha.default),
      ('a finite number above 0, or None for no mixup', 'None'),
    )


if __name__ == '__main__':
  absltest.main()
