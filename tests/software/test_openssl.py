#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""openssl: long calculations in wide registers, with results that are known.

Checked, without swaps and with: digests of a large file, and its encryption, are what the run by
itself gives; what it says is prime is prime. openssl speed, which is driven by SIGALRM, measures
all it is asked for; guarded it gets at least half as much done as by itself, which is to notice
what is wrong and not to measure a cost (see bench overhead).
"""
import re

from software import Software, main, several

OPENSSL = "/usr/bin/openssl"
SPEED = (OPENSSL, "speed", "-seconds", "1", "-bytes", "16384", "-mr", "-evp")
KEY = ("-K", "00112233445566778899aabbccddeeff" * 2, "-iv", "0123456789abcdef" * 2)


class TestOpenssl(Software):
    programs = ("openssl",)

    def prepare(self, argv):
        """The result of the run by itself."""
        with open(self.path("work/input"), "wb") as f:
            for _ in range(several(500, 1500)):
                f.write(self.random.randbytes(1 << 20))
        self.launch(argv)
        self.assertEqual(self.alone(argv), (0, ""))
        return self.result(argv)

    def result(self, argv):
        """Of what it wrote: its digest, by itself."""
        name = argv[argv.index("-out") + 1]
        status, said = self.alone((OPENSSL, "dgst", "-blake2b512", name))
        self.assertEqual(status, 0, said)
        self.tw.run("rm", name)
        return said

    def check(self, argv, swaps):
        expected = self.prepare(argv)
        self.begin()
        self.assert_checkpoints_while_it_runs()
        self.finish()
        self.assertEqual(self.result(argv), expected)
        self.begin()
        self.assertGreater(self.crashes(swaps, 0.02), 1)
        self.finish()
        self.assertEqual(self.result(argv), expected)

    def assert_checkpoints_while_it_runs(self):
        self.assertTrue(self.new_twin() and self.new_twin(), "no twin in all its life")

    def test_digest(self):
        self.check((OPENSSL, "dgst", "-sha3-512", "-out", self.path("work/sum"),
                    self.path("work/input")), several(6, 30))

    def test_encryption(self):
        self.check((OPENSSL, "enc", "-aes-256-ctr", *KEY, "-in", self.path("work/input"), "-out",
                    self.path("work/secret")), several(3, 10))

    def test_speed(self):
        for name in several(("aes-256-gcm",), ("aes-256-gcm", "sha512", "chacha20-poly1305")):
            argv = (*SPEED, name)
            if not self.tw:
                self.launch(argv)
            status, said = self.alone(argv)
            self.assertEqual(status, 0, said)
            self.begin()
            self.finish()
            self.assert_checkpoints(10)
            by_itself, guarded = self.figure(said), self.figure(self.output())
            self.assertGreater(guarded, by_itself / 2)
            self.tw.run("rm", self.path("output"))

    def figure(self, said):
        """Bytes a second, out of what -mr prints for programs."""
        return float(re.search(r"\+F:\d+:[^:]+:([0-9.]+)", said)[1])

    def test_swaps_in_speed(self):
        self.launch((*SPEED[:2], "-seconds", str(several(3, 10)), *SPEED[4:], "sha512"))
        self.begin()
        self.assertGreater(self.crashes(several(8, 40), 0.1), 3)
        self.finish()
        self.assertGreater(self.figure(self.output()), 0)


if __name__ == "__main__":
    main()
