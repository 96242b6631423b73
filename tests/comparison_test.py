import numpy as np
from absl.testing import absltest

from official_coatnet.export import comparison, options, provenance, serving

CLASSES = 4


def make_source(**kwargs):
  values = {'model_dir': '/x', 'checkpoint': 'ckpt-1', 'weights': 'raw'}
  answers = kwargs.pop('answer_bad_images', False)
  return provenance.Provenance(
    **{**values, 'folded': False, **kwargs},
    options=options.ExportOptions(top_k=2, answer_bad_images=answers),
  )


def make_reference():
  rng = np.random.default_rng(0)
  count = max(comparison.BATCH_SIZES)
  logits = rng.normal(0, 3, [count, CLASSES]).astype(np.float32)
  features = rng.normal(0, 1, [count, 6]).astype(np.float32)
  return comparison.Reference(
    encoded=[b'image %d' % i for i in range(count)],
    pixels=np.zeros([count, 2, 2, 3], np.uint8),
    outputs={
      size: {'logits': logits[:size], 'features': features[:size]}
      for size in comparison.BATCH_SIZES
    },
  )


class JudgeTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.reference = make_reference()
    self.labels = ['a', 'b', 'c', 'd']

  def _reply(self, request):
    """Returns what a faultless export replies, computed from the logits."""
    size = len(request.value)
    if not size:
      return {'logits': np.zeros([0, CLASSES], np.float32)}
    expected = self.reference.outputs[size]
    if request.signature == 'features':
      return {'features': expected['features'].copy()}
    logits = expected['logits'].copy()
    powers = np.exp(logits.astype(np.float64))
    probabilities = powers / powers.sum(1, keepdims=True)
    probabilities = probabilities.astype(np.float32)
    order = np.argsort(-logits, 1)[:, :2]
    reply = {
      'classes': np.array([b'a', b'b', b'c', b'd'], object)[order],
      'scores': np.take_along_axis(probabilities, order, 1),
    }
    if request.signature != 'classify':
      reply |= {'logits': logits, 'probabilities': probabilities}
    return reply

  def _problems(self, change=lambda request, reply: None, **kwargs):
    """Returns the problems by signature where `change` spoils replies."""
    judge = comparison.Judge(
      loss='softmax',
      source=make_source(**kwargs),
      reference=self.reference,
      labels=self.labels,
    )

    def run(requests):
      replies = [self._reply(request) for request in requests]
      for request, reply in zip(requests, replies):
        change(request, reply)
      return replies

    checks = judge.check_numbers('X', run)
    self.assertEqual(
      [c.name for c in checks], [f'X: `{s}`' for s in serving.INPUTS]
    )
    return {
      name: list(check.problems)
      for name, check in zip(serving.INPUTS, checks)
      if check.problems
    }

  def test_faultless(self):
    self.assertEmpty(self._problems())

  def _spoil(self, signature, size, spoil, **kwargs):
    def change(request, reply):
      if (request.signature, len(request.value)) == (signature, size):
        spoil(reply)

    problems = self._problems(change, **kwargs)
    self.assertLessEqual(set(problems), {signature})
    return '; '.join(problems.get(signature, []))

  def test_a_difference_in_one_batch_size(self):
    def spoil(reply):
      # Relative to the largest, which is more than 1.
      largest = np.unravel_index(np.abs(reply['logits']).argmax(), [8, CLASSES])
      reply['logits'][largest] *= 1 + 3e-5

    problems = self._spoil('serving_tf_example', 8, spoil)
    self.assertIn('batch size 8: a difference of', problems)
    self.assertIn('more than 1e-05', problems)
    self.assertEmpty(self._spoil('serving_tf_example', 8, spoil, folded=True))

  def test_another_first_class(self):
    expected = self.reference.outputs[17]['logits']
    first, second = np.argsort(-expected[5])[:2]
    for outputs in self.reference.outputs.values():
      if len(outputs['logits']) > 5:
        outputs['logits'][5, second] = outputs['logits'][5, first] - 1e-6

    def spoil(reply):
      logits, order = reply['logits'], [first, second]
      logits[5, order] = logits[5, order[::-1]]

    problems = self._spoil('serving_default', 17, spoil)
    self.assertIn('another first class for images [5]', problems)
    self.assertNotIn('a difference of', problems)

  def test_what_is_not_of_the_logits(self):
    for name, value, message in (
      ('probabilities', 0.3, '`probabilities` are not those of the logits'),
      ('classes', b'x', '`classes` are not those of the largest logits'),
      ('scores', 0.3, '`scores` are not the probabilities'),
    ):

      def spoil(reply, name=name, value=value):
        reply[name][1, 1] = value

      problems = self._spoil('serving_image_tensor', 2, spoil)
      self.assertIn(message, problems)

  def test_not_finite_or_of_another_shape(self):
    def nan(reply):
      reply['features'][0, 0] = np.nan

    self.assertIn('not finite', self._spoil('features', 1, nan))

    def cut(reply):
      reply['features'] = reply['features'][:, 1:]

    self.assertIn('inf', self._spoil('features', 3, cut))

  def test_classify_answers_as_the_other(self):
    def other(reply):
      reply['classes'][0] = reply['classes'][0, ::-1]

    self.assertIn('other classes', self._spoil('classify', 2, other))

  def test_empty_batch(self):
    judge = self._judge()
    check = judge.check_empty_batch(
      'X', lambda rs: [self._reply(r) for r in rs]
    )
    self.assertEmpty(check.problems)
    rows = {'logits': np.zeros([1, 2])}
    check = judge.check_empty_batch('X', lambda rs: [rows] * len(rs))
    self.assertLen(check.problems, len(serving.INPUTS))

  def _judge(self, **kwargs):
    return comparison.Judge(
      loss='softmax',
      source=make_source(**kwargs),
      reference=self.reference,
      labels=self.labels,
    )

  def test_a_bad_image(self):
    def fail(requests):
      raise RuntimeError('decoder')

    def answer(requests):
      (request,) = requests
      self.assertLess(len(request.value[1]), len(request.value[0]) + 1)
      logits = self.reference.outputs[3]['logits'].copy()
      logits[1] = 0
      return [{'logits': logits, 'ok': np.array([True, False, True])}]

    def check(runner, **kwargs):
      return self._judge(**kwargs).check_bad_image('X', runner).problems

    self.assertEmpty(check(fail))
    self.assertEqual(check(answer), ['it was answered'])
    self.assertEmpty(check(answer, answer_bad_images=True))
    (problem,) = check(fail, answer_bad_images=True)
    self.assertIn('failed the request: decoder', problem)

    def spoilt(requests):
      (reply,) = answer(requests)
      return [{'logits': reply['logits'] + 1, 'ok': ~reply['ok']}]

    self.assertLen(check(spoilt, answer_bad_images=True), 3)


if __name__ == '__main__':
  absltest.main()
