import os

from absl.testing import absltest, parameterized

from official_coatnet.export import batching


class BatchingTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.path = os.path.join(self.create_tempdir().full_path, 'batching.txt')

  def _read(self, text):
    with open(self.path, 'w') as f:
      f.write(text)
    return batching.read(self.path)

  def test_what_is_read(self):
    config = self._read("""
      # A comment.
      max_batch_size { value: 32 }
      allowed_batch_sizes: 8 allowed_batch_sizes: [16, 32]
      num_batch_threads { value: 2 } batch_timeout_micros { value: 1 }
      max_enqueued_batches { value: 3 } thread_pool_name { value: "x" }
      pad_variable_length_inputs: true
      enable_large_batch_splitting { value: true }
      max_execution_batch_size: { value: 32 }
    """)
    self.assertEqual(
      config,
      batching.BatchingConfig(
        path=self.path,
        max_batch_size=32,
        allowed_batch_sizes=(8, 16, 32),
        num_batch_threads=2,
      ),
    )

  def test_what_a_server_takes_by_default(self):
    config = self._read('')
    self.assertEqual(config.max_batch_size, 1000)
    self.assertEqual(config.allowed_batch_sizes, ())
    self.assertIsNone(config.num_batch_threads)
    self.assertEqual(config.problems(), [])

  @parameterized.parameters(
    ('max_batch_sise { value: 8 }', 'batching.txt.*max_batch_sise'),
    ('max_batch_size: 8', 'cannot be read'),
    ('max_batch_size { value: 0 }', '`max_batch_size` in .* is 0; it must'),
  )
  def test_what_is_no_such_file(self, text, message):
    with self.assertRaisesRegex(ValueError, message):
      self._read(text)

  def test_a_file_that_is_not_there(self):
    with self.assertRaisesRegex(ValueError, 'batching_parameters_file'):
      batching.read(self.path)

  def test_sizes_of_the_warm_up(self):
    config = self._read('max_batch_size { value: 8 }')
    config.check_batch_sizes([8, 1])
    with self.assertRaisesRegex(ValueError, 'has 9 images, .* is 8: a server'):
      config.check_batch_sizes([9, 1])

  def test_problems(self):
    good = self._read('max_batch_size { value: 8 }')
    self.assertEqual(good.problems(), [])
    allowed = 'allowed_batch_sizes: [1, 8]'
    (deadly,) = self._read(
      f'max_batch_size {{ value: 8 }} {allowed}'
    ).problems()
    self.assertIn('without images ends TF Serving', deadly)
    for sizes in ('[1, 4]', '[8, 1, 8]', '[1, 9]'):
      config = self._read(
        f'max_batch_size {{ value: 8 }} allowed_batch_sizes: {sizes}'
      )
      self.assertIn(f'are {sizes}; they must rise', config.problems()[1])


if __name__ == '__main__':
  absltest.main()
