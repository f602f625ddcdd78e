"""tap: an interface whose other end is a program, such as a virtual machine's."""
