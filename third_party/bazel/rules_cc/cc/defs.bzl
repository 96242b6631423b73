"""The C++ rules built into Bazel 4 to 7, under the name that it loads.

Nothing here is compiled, but Bazel sets up a C++ toolchain before it runs any
test, and the files that describe it load these names from @rules_cc. Bazel
would download that repository at start; this stub keeps it off the network.
"""

cc_binary = native.cc_binary
cc_library = native.cc_library
cc_test = native.cc_test
cc_toolchain = native.cc_toolchain
cc_toolchain_suite = native.cc_toolchain_suite
