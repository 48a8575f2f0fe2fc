"""What `measure` is made of, one idea per file; `python -m builder.measuring` is the load generator.

The generator is a process of its own, so that neither the command line nor a server of the same
program shares its interpreter. It is given a Task and then one Load after the other, as lines of JSON.
"""
