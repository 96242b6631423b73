"""Files for TFLite and ONNX, run by those runtimes themselves."""

import os
from unittest import mock

import numpy as np
import onnx
import onnxruntime
import tensorflow as tf
from absl.testing import parameterized

from official_coatnet.export import runtimes, versions
from official_coatnet.modeling import network
from tests.fixtures import experiments, weights


class RuntimesTest(tf.test.TestCase, parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    # Not those that all runs have.
    prepared = {'mean': (0.5, 0.4, 0.3), 'deviation': (0.5, 0.3, 0.2)}
    cls.experiment = experiments.make_experiment(
      train_data=prepared, eval_data=prepared
    )
    cls.model = network.classifier(cls.experiment.model)
    weights.randomize(cls.model)
    rng = np.random.default_rng(0)
    cls.pixels = rng.integers(0, 256, [3, 32, 32, 3], np.uint8)
    # Dark and bright ones, whose logits differ.
    cls.pixels[1] //= 8
    cls.pixels[2] |= 128
    normalized = (cls.pixels / 255 - [0.5, 0.4, 0.3]) / [0.5, 0.3, 0.2]
    cls.expected = cls.model(normalized.astype(np.float32)).numpy()

  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path

  def _write(self, file_format, **kwargs):
    difference = runtimes.write(
      self.model,
      self.experiment,
      self.folder,
      pixels=self.pixels,
      file_format=file_format,
      **kwargs,
    )
    file = os.path.join(self.folder, versions.FORMATS[file_format])
    with open(file, 'rb') as f:
      return difference, f.read()

  def _run_tflite(self, content):
    """By tensors, and not by the signature, as the library does."""
    interpreter = tf.lite.Interpreter(model_content=content)
    interpreter.allocate_tensors()
    (given,) = interpreter.get_input_details()
    (taken,) = interpreter.get_output_details()
    self.assertEqual(given['dtype'], np.float32)
    self.assertAllEqual(given['shape'], [1, 32, 32, 3])
    self.assertAllEqual(taken['shape'], [1, 5])
    rows = []
    for image in self.pixels:
      interpreter.set_tensor(given['index'], image[None].astype(np.float32))
      interpreter.invoke()
      rows.append(interpreter.get_tensor(taken['index']))
    # One that is no built-in is called Flex... or by a name of its own.
    kinds = {op['op_name'] for op in interpreter._get_ops_details()}
    self.assertContainsSubset({'CONV_2D', 'SOFTMAX', 'GELU'}, kinds)
    self.assertEmpty([k for k in kinds if not k.isupper() or 'FLEX' in k])
    self.assertEqual(
      interpreter.get_signature_list(),
      {'serving_default': {'inputs': ['image'], 'outputs': ['logits']}},
    )
    return np.concatenate(rows)

  @parameterized.parameters(('none', 1e-5), ('float16', 5e-3), ('int8', 0.2))
  def test_tflite(self, quantize, tolerance):
    difference, content = self._write('tflite', quantize=quantize)
    logits = self._run_tflite(content)
    self.assertAllClose(logits, self.expected, rtol=0, atol=tolerance)
    self.assertEqual(difference.images, 3)
    self.assertAlmostEqual(
      difference.largest, np.abs(logits - self.expected).max(), places=5
    )
    if quantize != 'none':
      # It is rounded at all, and so the file is smaller.
      self.assertGreater(difference.largest, 1e-5)
      self.assertLess(len(content), 4 * self.model.count_params() * 0.9)

  def test_onnx(self):
    difference, content = self._write('onnx')
    proto = onnx.load_from_string(content)
    onnx.checker.check_model(proto)
    self.assertEqual({n.domain for n in proto.graph.node}, {''})
    session = onnxruntime.InferenceSession(
      content, providers=['CPUExecutionProvider']
    )
    (given,), (taken,) = session.get_inputs(), session.get_outputs()
    self.assertEqual((given.name, given.type), ('image', 'tensor(uint8)'))
    self.assertEqual(given.shape, ['batch', 32, 32, 3])
    self.assertEqual((taken.name, taken.type), ('logits', 'tensor(float)'))
    self.assertEqual(taken.shape, ['batch', 5])
    for size in (1, 2, 3):
      (logits,) = session.run(None, {'image': self.pixels[:size]})
      self.assertAllClose(logits, self.expected[:size], rtol=0, atol=1e-5)
    self.assertLess(difference.relative, 1e-5)
    self.assertEqual(difference.same_top1, 3)

  def test_a_wrong_conversion_is_refused(self):
    for logits, message in (
      (self.expected + 0.01, 'by up to 0.01 x .* no rounding'),
      (self.expected * np.nan, 'by up to nan'),
    ):
      load = {'onnx': lambda content, logits=logits: lambda pixels: logits}
      with (
        mock.patch.object(runtimes, '_to_onnx', return_value=b''),
        mock.patch.object(runtimes, '_LOADERS', load),
        self.assertRaisesRegex(ValueError, message),
      ):
        self._write('onnx')

  def test_compare(self):
    expected = np.array([[1.0, -4.0], [0.5, 0.0], [8.0, 9.0]])
    found = expected + [[0.25, 0.5], [0.0, 0.75], [0.0, 0.0]]
    self.assertEqual(
      runtimes.compare(found, expected),
      runtimes.Difference(images=3, largest=0.75, relative=0.75, same_top1=2),
    )
    self.assertEqual(
      runtimes.compare(expected * 1.125, expected).relative, 0.125
    )

  def test_what_cannot_be_written(self):
    small = {'logits/kernel': (32, 5)}
    large = {'a/kernel': (2**14, 2**14), 'b/kernel': (2, 2**27), 'c/bias': (3,)}
    check = runtimes.check
    check(small, file_format='tflite', quantize='int8')
    check(small, file_format='onnx', quantize='none')
    check(large, file_format='saved_model', quantize='none')
    for name in ('tflite', 'onnx'):
      with self.assertRaisesRegex(ValueError, r'network are 2\.15 GB'):
        check(large, file_format=name, quantize='none')
    with self.assertRaisesRegex(ValueError, "`quantize` is 'int4'; it must"):
      check(small, file_format='tflite', quantize='int4')
    with self.assertRaisesRegex(ValueError, 'only tflite has it'):
      check(small, file_format='onnx', quantize='int8')
    with (
      mock.patch.dict('sys.modules', {'tf2onnx': None}),
      self.assertRaisesRegex(
        ImportError, r'takes the package tf2onnx.*\[onnx\]'
      ),
    ):
      check(small, file_format='onnx', quantize='none')


if __name__ == '__main__':
  tf.test.main()
