"""Tests of official_coatnet.data.messages."""

import tensorflow as tf

from official_coatnet.data import messages, schema


class RequireTest(tf.test.TestCase):
  def test_eager(self):
    messages.require(tf.constant(True), lambda: ['never'])
    with self.assertRaisesRegex(
      tf.errors.InvalidArgumentError, 'the answer is 42, not 0.5'
    ):
      messages.require(
        tf.constant(False),
        lambda: ['the answer is ', tf.constant(42), ', not ', tf.constant(0.5)],
      )

  def test_sentence(self):
    def fail(number):
      ok = messages.require(
        number < 2, lambda: ['/é/b[1]*, record ', number, ": [x] is no 'y']."]
      )
      with tf.control_dependencies([ok]):
        return tf.identity(number)

    words = "/é/b[1]*, record 2: [x] is no 'y']."

    def expect(number):
      parts = ['/é/b[1]*, record ', number, ': [x] is no ', "'y']."]
      with tf.control_dependencies([messages.expect(number < 2, parts)]):
        return tf.identity(number)

    runs = (
      lambda: fail(tf.constant(2)),
      lambda: expect(tf.constant(2)),
      lambda: list(tf.data.Dataset.range(3).map(expect)),
      lambda: tf.function(fail)(tf.constant(2)),
      lambda: list(tf.data.Dataset.range(3).map(fail)),
    )
    for run in runs:
      with self.assertRaises(tf.errors.InvalidArgumentError) as caught:
        run()
      self.assertEqual(messages.sentence(caught.exception), words)

  def test_sentence_of_another_error(self):
    with self.assertRaises(tf.errors.InvalidArgumentError) as caught:
      tf.io.decode_jpeg(b'nothing')
    self.assertIsNone(messages.sentence(caught.exception))

  def test_plain(self):
    def open_file(path):
      return tf.data.TFRecordDataset(path)

    runs = (
      (lambda: tf.io.decode_jpeg(b'nothing'), 'Unknown image file format'),
      (lambda: list(tf.data.TFRecordDataset('/no/x')), '/no/x; No such file'),
      (
        lambda: list(tf.data.Dataset.from_tensors('/no/x').flat_map(open_file)),
        '/no/x; No such file',
      ),
      (
        lambda: tf.function(lambda x: tf.io.decode_jpeg(x))(tf.constant('x')),
        'Unknown image file format',
      ),
      (
        lambda: messages.require(tf.constant(False), lambda: ['/x is [1].']),
        '/x is [1].',
      ),
    )
    for run, words in runs:
      with self.assertRaises(tf.errors.OpError) as caught:
        run()
      plain = messages.plain(caught.exception)
      self.assertStartsWith(plain, words)
      for noise in ('{{', '[[', '[Op:', 'Graph execution', 'File "', '\n'):
        self.assertNotIn(noise, plain)


class StandInTest(tf.test.TestCase):
  def test_text(self):
    message = messages.make(['at byte ', tf.constant('17'), ' cannot be read'])
    self.assertTrue(messages.is_message(message))
    self.assertEqual(messages.text(message), b'at byte 17 cannot be read')
    self.assertEqual(messages.text(messages.make([''])), b'')

  def test_no_record_is_a_message(self):
    record = schema.serialize_imagenet(b'x', label=1, height=1, width=1)
    for each in (record, b'', b'z', b'anything else'):
      self.assertFalse(messages.is_message(tf.constant(each)))

  def test_parsers_take_it_for_an_example_without_features(self):
    message = messages.make(['damaged'])
    for name in schema.SCHEMAS:
      example = schema.parse(message, schema=name)
      self.assertEqual(example['encoded'], b'')
      self.assertEmpty(example['labels'])
    self.assertEmpty(
      tf.train.Example.FromString(message.numpy()).features.feature
    )


if __name__ == '__main__':
  tf.test.main()
