"""One file a chart: a function that makes its data, and one that draws them."""
