"""The fork server as its callers meet it: real processes, real namespaces, the files of dist/."""
