import numpy as np
from absl.testing import absltest

from official_coatnet.export import options, serving, versions
from official_coatnet.export.verify import comparison

CLASSES = 4


def make_provenance(**kwargs):
  values = {'model_dir': '/x', 'checkpoint': 'ckpt-1', 'weights': 'raw'}
  answers = kwargs.pop('answer_bad_images', False)
  return versions.Provenance(
    **{**values, 'folded': False, **kwargs},
    options=options.ExportOptions(top_k=2, answer_bad_images=answers),
  )


def make_reference():
  rng = np.random.default_rng(0)
  count = max(comparison.BATCH_SIZES)
  logits = rng.normal(0, 3, [count, CLASSES]).astype(np.float32)
  features = rng.normal(0, 1, [count, 6]).astype(np.float32)
  return comparison.Reference(
    encoded=[b'image %2d' % i * 20 for i in range(count)],
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

    def run(requests):
      replies = [self._reply(request) for request in requests]
      # The last one is the image that is cut off.
      for request, reply in zip(requests[:-1], replies):
        change(request, reply)
      return [*replies[:-1], 'cut off']

    checks = self._judge(**kwargs).check('X', run, warmup_requests=[])
    self.assertEqual(
      [check.name for check in checks[: len(serving.INPUTS)]],
      [f'X: `{signature}`' for signature in serving.INPUTS],
    )
    self.assertEmpty([check for check in checks[5:] if check.problems])
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

  def _judge(self, **kwargs):
    return comparison.Judge(
      loss='softmax',
      provenance=make_provenance(**kwargs),
      reference=self.reference,
      labels=self.labels,
    )

  def _other_checks(self, answer, *, warmup_requests=(), **kwargs):
    """Returns the problems of what is not about numbers, by name."""

    def run(requests):
      replies = [answer(request) for request in requests]
      return [
        self._reply(request) if reply is None else reply
        for request, reply in zip(requests, replies)
      ]

    checks = self._judge(**kwargs).check(
      'X', run, warmup_requests=list(warmup_requests)
    )
    return {check.name: list(check.problems) for check in checks[5:]}

  def test_empty_batch(self):
    row = {'logits': np.zeros([1, 2], np.float32)}
    found = self._other_checks(lambda r: None if len(r.value) else row)
    self.assertLen(found['X: empty batch'], len(serving.INPUTS))
    found = self._other_checks(lambda r: None if len(r.value) else 'oneDNN')
    self.assertEqual(
      found['X: empty batch'][0], '`serving_default` with 0 images: oneDNN'
    )

  def test_warmup(self):
    requests = [
      comparison.Request('classify', 'inputs', np.array([b'w'] * size, object))
      for size in (1, 2)
    ]

    def answer(request):
      if request.value[:1].tolist() != [b'w']:
        return None
      rows = np.zeros([1, 2], np.float32)
      return {'scores': rows} if len(request.value) == 1 else 'no input'

    found = self._other_checks(answer, warmup_requests=requests)
    self.assertEqual(
      found['X: warm-up replayed'], ['`classify` with 2 images: no input']
    )

  def test_a_bad_image(self):
    logits = self.reference.outputs[3]['logits'].copy()
    logits[1] = 0
    answered = {'logits': logits, 'ok': np.array([True, False, True])}
    spoilt = {'logits': logits + 1, 'ok': ~answered['ok']}

    def problems(reply, **kwargs):
      def answer(request):
        is_it = len(request.value) == 3 and (
          request.value[1] != self.reference.encoded[1]
        )
        return (
          reply if np.all(is_it) and request.name == 'image_bytes' else None
        )

      found = self._other_checks(answer, **kwargs)
      return found['X: an image that is cut off']

    self.assertEmpty(problems('decoder'))
    self.assertEqual(problems(answered), ['it was answered'])
    self.assertEmpty(problems(answered, answer_bad_images=True))
    self.assertEqual(
      problems('decoder', answer_bad_images=True), ['it failed: decoder']
    )
    self.assertLen(problems(spoilt, answer_bad_images=True), 3)


if __name__ == '__main__':
  absltest.main()
