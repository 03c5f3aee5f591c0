"""The contract between harness and analysis: columns, paths, files, errors, provenance."""
