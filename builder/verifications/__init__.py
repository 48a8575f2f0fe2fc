"""One file per group of checks, one public function per check.

A file states `ORDER` (its place in the run) and `SCOPE`: "generation" (functions take a Subject),
"single_pass" (a SinglePass) or "repository" (a Whole); `PATIENCE`, where there is one, multiplies the wall
clock of its checks. A check returns what it saw in a few words, and raises Mismatch or Skipped. To add
one, write a function here and a mutant in tests/verifications that it catches.
"""
