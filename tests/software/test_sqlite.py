#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The sqlite3 shell, reading a script of transactions.

Checked: its results (sums, counts, an integrity check after every few transactions) are those of
the run by itself, without swaps for a database in a file, in both journal modes, and with swaps
for one in memory. With swaps a database in a file is none of a twin's business: what was written
to it stays written while the memory of it goes back.
"""

from software import Software, main, several

SQLITE = "/usr/bin/sqlite3"


def script(result, journal, transactions):
    lines = [".bail on", f".output {result}", f"PRAGMA journal_mode={journal};",
             "CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL);",
             "CREATE TABLE transfer (id INTEGER PRIMARY KEY, a INT, b INT, amount INT, note TEXT);",
             "CREATE INDEX transfer_note ON transfer (note);",
             "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) "
             "INSERT INTO account SELECT i, 1000 FROM n;"]
    for i in range(1, transactions + 1):
        a, b, amount = i * 7919 % 1000 + 1, i * 104729 % 1000 + 1, i % 50
        lines += ["BEGIN;", f"UPDATE account SET balance = balance - {amount} WHERE id = {a};",
                  f"UPDATE account SET balance = balance + {amount} WHERE id = {b};",
                  f"INSERT INTO transfer VALUES ({i}, {a}, {b}, {amount}, hex(zeroblob({i % 300})) "
                  f"|| 'note {a * b}');", "ROLLBACK;" if i % 10 == 0 else "COMMIT;"]
        if i % 100 == 0:
            lines += ["PRAGMA integrity_check;",
                      "SELECT count(*), sum(amount) FROM transfer;",
                      "SELECT sum(balance), min(balance), max(balance) FROM account;",
                      "SELECT note, count(*) FROM transfer GROUP BY note ORDER BY 2 DESC, 1 "
                      "LIMIT 5;"]
    return "\n".join([*lines, "SELECT 'end';", ".exit 0", ""])


class TestSqlite(Software):
    programs = ("sqlite3",)

    def prepare(self, database, journal, transactions):
        """The result of the run by itself; then twinit stands ready for another."""
        result = self.path("work/result")
        self.write("work/script", script(result, journal, transactions))
        argv = [SQLITE, "-batch", "-init", "/dev/null", database,
                f"'.read {self.path('work/script')}'"]
        self.launch(argv)
        self.assertEqual(self.alone([a.strip("'") for a in argv]), (0, ""))
        expected = self.read("work/result")
        self.assertTrue(expected.endswith("end\n"), expected[-200:])
        self.assertEqual(expected.count("\nok\n"), transactions // 100)
        self.tw.run("sh", "-c", f"rm -f {self.path('work/result')} {self.path('work/db')}*")
        return expected

    def check_file(self, journal, transactions):
        expected = self.prepare(self.path("work/db"), journal, transactions)
        self.begin()
        self.finish()
        self.assert_checkpoints()
        self.assertEqual(self.read("work/result"), expected)

    def test_rollback_journal(self):
        self.check_file("delete", several(4000, 30000))

    def test_write_ahead_log(self):
        self.check_file("wal", several(4000, 30000))

    def test_swaps_in_memory(self):
        expected = self.prepare(":memory:", "memory", several(12000, 30000))
        self.begin()
        done = self.crashes(several(8, 100), 0.1)
        self.assertGreater(done, 3)
        self.finish()
        self.assertEqual(self.read("work/result"), expected)


if __name__ == "__main__":
    main()
