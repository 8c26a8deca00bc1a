"""Reads a finished study and writes what people look at: charts, tables, one offline HTML file."""
