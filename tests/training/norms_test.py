import tensorflow as tf
from absl.testing import absltest

from official_coatnet.training import norms


class NormsTest(tf.test.TestCase):
  def test_values(self):
    a, b, c = (
      tf.Variable([[3.0, 4.0]], name='s1_block0/a'),
      tf.Variable([12.0], name='s1_block1/b'),
      tf.Variable([1.0], name='head/c'),
    )
    watched = norms.StageNorms([a, b, c])
    watched.observe(tf.constant([2.0, 6.0, 0.5, 9.0]))
    found = watched.results()
    self.assertAllClose(found['weight/s1'], 13.0)
    self.assertAllClose(found['gradient/s1'], 4.0)
    self.assertAllClose(found['gradient/head'], 1.0)
    self.assertNotIn('moved/s1', found)
    a.assign_add([[0.0, 3.0]])
    b.assign_add([4.0])
    found = watched.results()
    self.assertAllClose(found['moved/s1'], 5.0)
    self.assertAllClose(found['moved/head'], 0.0)


if __name__ == '__main__':
  absltest.main()
