#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""node.js: work.js.

Checked, without swaps and with: each round checks itself, and all results are those of the run by
itself.
"""
from software import HERE, Batch, main

NODE = "/usr/bin/node"


class TestNode(Batch):
    programs = ("node",)

    def command(self, result):
        return [NODE, f"{HERE}/work.js", result, str(self.rounds)]

    def test_results(self):
        self.results()

    def test_swaps(self):
        self.results_with_swaps()


if __name__ == "__main__":
    main()
