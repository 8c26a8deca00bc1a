from tests.deployable import deployable

__all__ = ["deployable"]
