"""Clients of TensorFlow Serving for exports of tools/export.py.

    client = RestClient('http://localhost:8501', model='coatnet')
    client = GrpcClient('localhost:8500', model='coatnet')
    (answer,) = client.ask('serving_default', [open('x.jpg', 'rb').read()])
    print(answer['classes'][0], answer['scores'][0])

This folder can be copied alone to where the rest of the package is not: nothing
in it imports anything of ours from outside. REST needs nothing but Python; gRPC
needs tensorflow-serving-api and what that installs.

A server that says that it is busy (of HTTP 429, 503 and 504) is asked again, at
most four times in all and within the timeout: it says so while it loads a model
and while its queue is full, and no answer depends on how often it is asked. All
else is asked once.
"""

from .errors import QueryError, printable
from .protocol import ENCODED_KEY, INPUTS, make_example
from .rest import RestClient
from .rpc import GrpcClient

__all__ = [
  'ENCODED_KEY',
  'INPUTS',
  'GrpcClient',
  'QueryError',
  'RestClient',
  'make_example',
  'printable',
]
