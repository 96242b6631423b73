import os
import subprocess
import sys
import tempfile

import numpy as np
import tensorflow as tf

from official_coatnet.export.verify import c_api


def string_tensor(*values):
  return c_api.Tensor('string', (len(values),), list(values))


class CApiTest(tf.test.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    folder = cls.enterClassContext(tempfile.TemporaryDirectory())
    cls.path = os.path.join(folder, 'export')
    asset = os.path.join(folder, 'names.txt')
    with open(asset, 'w') as f:
      f.write('zero\none\n')
    module = tf.Module()
    module.scale = tf.Variable([2.0, 3.0])
    module.names = tf.lookup.StaticHashTable(
      tf.lookup.TextFileInitializer(
        asset,
        tf.int64,
        tf.lookup.TextFileIndex.LINE_NUMBER,
        tf.string,
        tf.lookup.TextFileIndex.WHOLE_LINE,
      ),
      '?',
    )

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.uint8, 'pixels')])
    def scale(pixels):
      scaled = tf.cast(pixels, tf.float32) * module.scale
      return {
        'scaled': scaled,
        'large': scaled > 10,
        'names': module.names.lookup(tf.cast(pixels, tf.int64)),
      }

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, 'text')])
    def echo(text):
      return {'text': text, 'length': tf.strings.length(text)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, 'text')])
    def python(text):
      return {'text': tf.py_function(lambda x: x, [text], tf.string)}

    signatures = {'scale': scale, 'echo': echo, 'python': python}
    tf.saved_model.save(module, cls.path, signatures)
    cls.model = c_api.SavedModel(cls.path)

  def test_signatures(self):
    self.assertEqual(
      {
        name: (sorted(inputs), sorted(outputs))
        for name, (inputs, outputs) in self.model.signatures.items()
        if not name.startswith('__')
      },
      {
        'scale': (['pixels'], ['large', 'names', 'scaled']),
        'echo': (['text'], ['length', 'text']),
        'python': (['text'], ['text']),
      },
    )

  def test_numbers_flags_and_an_asset(self):
    pixels = np.array([[0, 1], [7, 200], [1, 0]], np.uint8)
    outputs = self.model.run(
      'scale', {'pixels': c_api.Tensor('uint8', (3, 2), pixels.tobytes())}
    )
    scaled = pixels.astype(np.float32) * np.array([2, 3], np.float32)
    self.assertEqual(
      outputs['scaled'], c_api.Tensor('float32', (3, 2), scaled.tobytes())
    )
    self.assertEqual(
      outputs['large'], c_api.Tensor('bool', (3, 2), (scaled > 10).tobytes())
    )
    self.assertEqual(
      outputs['names'].data, [b'zero', b'one', b'?', b'?', b'one', b'zero']
    )

  def test_strings_of_any_length(self):
    values = [b'', b'a', b'\0\xff' * 11, b'x' * 23, b'y' * 100_000]
    outputs = self.model.run('echo', {'text': string_tensor(*values)})
    self.assertEqual(outputs['text'], string_tensor(*values))
    lengths = np.frombuffer(outputs['length'].data, np.int32)
    self.assertEqual(lengths.tolist(), [0, 1, 22, 23, 100_000])
    outputs = self.model.run('echo', {'text': string_tensor()})
    self.assertEqual(outputs['text'], string_tensor())

  def test_errors(self):
    for signature, inputs, message in (
      ('no', {}, "No signature 'no'"),
      ('echo', {}, r"takes \['text'\], not \[\]"),
      ('scale', {'pixels': string_tensor(b'')}, 'uint8'),
    ):
      with self.assertRaisesRegex(c_api.LoadError, message):
        self.model.run(signature, inputs)
    # It goes on after an error.
    self.assertLen(self.model.run('echo', {'text': string_tensor()}), 2)

  def test_what_a_reload_hides(self):
    """In a process of its own: this one has what Python registers."""
    code = (
      'import sys; from official_coatnet.export.verify import c_api\n'
      'model = c_api.SavedModel(sys.argv[1])\n'
      "text = c_api.Tensor('string', (1,), [b''])\n"
      "assert model.run('echo', {'text': text})['text'] == text\n"
      "assert 'tensorflow' not in sys.modules\n"
      "model.run('python', {'text': text})\n"
    )
    process = subprocess.run(
      [sys.executable, '-c', code, self.path],
      env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)},
      capture_output=True,
      text=True,
      check=False,
    )
    self.assertIn('LoadError', process.stderr)
    self.assertIn('PyFunc', process.stderr)
    os.remove(os.path.join(self.path, 'assets', 'names.txt'))
    with self.assertRaisesRegex(c_api.LoadError, 'names.txt; No such file'):
      c_api.SavedModel(self.path)
    with self.assertRaisesRegex(c_api.LoadError, 'SavedModel'):
      c_api.SavedModel('/no/such/export')


if __name__ == '__main__':
  tf.test.main()
