"""The Java rules built into Bazel 4 to 7, under the name that it loads.

There is no Java here, but Bazel registers its Java toolchains whatever it
builds, and the files that describe them load these names from @rules_java.
Bazel would download that repository at start; this stub keeps it off the
network.
"""

java_import = native.java_import
java_runtime = native.java_runtime
java_toolchain = native.java_toolchain
