"""`smat reproduce`: the paper's comparisons."""
