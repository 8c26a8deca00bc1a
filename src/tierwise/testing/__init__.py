"""Public fakes and conformance suites for those who extend Tierwise."""
