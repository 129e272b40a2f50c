"""Where nothing was compiled, only the tests of the build run, and the first of them is skipped with the reason."""

from intermodal_native.library import PATH

collect_ignore_glob = [] if PATH.exists() else ["test_native_[!b]*.py"]
