"""Names of parametrised tests that are the same in every process, whatever bytes a parameter holds."""


def pytest_make_parametrize_id(val, argname):
    return argname if isinstance(val, bytes) else None
