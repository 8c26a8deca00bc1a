"""Log lines as JSON objects, one a line, on standard error."""

import json
import logging
import sys
from datetime import UTC, datetime

# Name of a record's attribute: what it says beside its message, for machines.
FIELDS = "tierwise_fields"
_LEVELS = {-1: logging.ERROR, 0: logging.INFO}


class JsonFormatter(logging.Formatter):
    """``{"time", "level", "logger", "message"}``, then a record's own fields, ``"traceback"``."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry |= vars(record).get(FIELDS, {})
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry)


def log_as_json(level: int) -> None:
    """Make every logger of this process write JSON; ``level`` as the command line counts it."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=_LEVELS.get(level, logging.DEBUG), handlers=[handler], force=True)
