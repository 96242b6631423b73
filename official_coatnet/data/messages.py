"""Sentences that name what is wrong with the data, out of a graph and in it.

Two ways they travel: `require` and `expect` stop the graph with a sentence,
which `sentence` finds again in TensorFlow's error. And where a record cannot be
read, a message takes its place: a string that a parser takes for an example
without features, so that nothing has to look for messages but where an example
has no image. It is a field of a number that tf.Example does not have, with text
in it.
"""

import re
from collections.abc import Callable

import tensorflow as tf

# How lines begin in which TensorFlow tells of its graph, not of what happened.
_STACK_TRACE = (
  'Graph execution error',
  'Detected at node',
  '<stack traces',
  'File "',
  '[[',
  'Original stack trace',
  'Hint: If you want',
)
# Of a constant length, which one byte can tell.
_TEXT_BYTES = 100
# Field 15, of a type that says its length.
_HEAD = bytes([15 << 3 | 2, _TEXT_BYTES])


def require(
  condition: tf.Tensor, message: Callable[[], list[tf.Tensor | str]]
) -> tf.Tensor:
  """Stops the run with a readable sentence where a condition fails.

  Args:
    condition: scalar bool tensor.
    message: returns the parts of the sentence: strings, and scalar tensors of
      strings or numbers. Called while tracing; runs where the condition fails.

  Returns:
    A scalar tensor to make other operations wait for the check. The check runs
    in any case, but where one of them would fail as well, with a message that
    says less, it must come first.
  """

  def fail() -> tf.Tensor:
    parts = [
      part
      if isinstance(part, str) or part.dtype == tf.string
      else tf.strings.as_string(part)
      for part in message()
    ]
    # The operation itself, whose words are the same eagerly and in a graph.
    tf.raw_ops.Assert(condition=False, data=[tf.strings.join(parts)])
    return tf.constant(False)

  return tf.cond(condition, lambda: tf.constant(True), fail)


def expect(condition: tf.Tensor, parts: list[tf.Tensor | str]) -> tf.Operation:
  """Does what `require` does where all parts are there in any case.

  One operation and no branch: for the way of every image.

  Args:
    condition: scalar bool tensor.
    parts: of the sentence: strings, and scalar tensors.

  Returns:
    An operation to wait for; None eagerly.
  """
  return tf.raw_ops.Assert(
    condition=condition, data=[tf.convert_to_tensor(part) for part in parts]
  )


def sentence(error: tf.errors.OpError) -> str | None:
  """Returns the sentence with which `require` or `expect` stopped a run.

  Args:
    error: what a graph or a data set raised.

  Returns:
    The sentence without TensorFlow's words around it, or None if the error is
    of another origin.
  """
  found = re.search(
    r'assertion failed: \[(.*?)\]\s*(?:\[\[|\[Op|$)', error.message, re.DOTALL
  )
  if found is None:
    return None
  # Each part comes in brackets of its own, and escaped as in C; other letters
  # than those of ASCII come as they are or escaped, byte by byte.
  escaped = found.group(1).replace('] [', '')
  content = escaped.encode('utf-8').decode('unicode_escape')
  return content.encode('latin-1', 'replace').decode('utf-8', 'replace')


def plain(error: tf.errors.OpError) -> str:
  """Returns what an error of TensorFlow's says, without where in the graph.

  Args:
    error: what a graph, a data set or a file system raised.
  """
  if words := sentence(error):
    return words
  kept = []
  for line in error.message.splitlines():
    if line.strip().startswith(_STACK_TRACE):
      continue
    line = re.sub(r'\{\{function_node [^}]*\}\}|\[\[.*?\]\]', '', line)
    line = re.sub(r'\s*\[Op:\w+\].*|^\s*\(\d+\) [\w ]+:', '', line).strip()
    if line and line not in kept:
      kept.append(line)
  # Several replicas say the same, each in a line of its own.
  return ' '.join(kept) or error.message.strip() or type(error).__name__


def apart(look: Callable[..., tf.Tensor], *arguments: tf.Tensor) -> tf.Tensor:
  """Returns what `look` makes of some tensors, out of the way of the graph.

  Each operation in a branch costs time also where the branch is not taken. In a
  data set it does not: for what is looked at in one image of many.
  """
  once = tf.data.Dataset.from_tensors(arguments).map(look)
  result: tf.Tensor = once.get_single_element()
  return result


def make(parts: list[tf.Tensor | str]) -> tf.Tensor:
  """Returns a message to stand for a record, a scalar string tensor.

  Args:
    parts: of its text: scalar strings, together at most 100 bytes.
  """
  text = tf.strings.join([*parts, ' ' * _TEXT_BYTES])
  return tf.strings.join([_HEAD, tf.strings.substr(text, 0, _TEXT_BYTES)])


def is_message(record: tf.Tensor) -> tf.Tensor:
  """Whether a scalar string tensor is a message, and not a record."""
  # No example begins like this: its only field has number 1.
  return tf.equal(tf.strings.substr(record, 0, len(_HEAD)), _HEAD)


def text(message: tf.Tensor) -> tf.Tensor:
  """Returns the text of a message, a scalar string tensor."""
  padded = tf.strings.substr(message, len(_HEAD), _TEXT_BYTES)
  return tf.strings.strip(padded)
