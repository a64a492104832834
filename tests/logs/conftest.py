"""What the tests of the logs share."""

import pytest

# The suite is a part of the package; its assertions should tell as much as ours do.
pytest.register_assert_rewrite("greenroom.testing.log_conformance")
