import assert from "node:assert/strict"
import { test } from "node:test"
import { clock, number, plural, size, span, when } from "../static/format.js"

test("numbers", () => {
  assert.deepEqual([0, 999, 1500, 1234567].map(number), ["0", "999", "1\u202f500", "1\u202f234\u202f567"])
  assert.deepEqual([plural(1, "host"), plural(2000, "host"), plural(2, "entry", "entries")], ["1 host", "2\u202f000 hosts", "2 entries"])
  assert.deepEqual([0, 1023, 1024, 123456, 5 << 20, 3 * 2 ** 40].map(size), ["0 B", "1023 B", "1.0 KiB", "121 KiB", "5.0 MiB", "3.0 TiB"])
})

test("times", () => {
  assert.deepEqual([-5, 420, 9949, 61_000, 3_723_000, 400_000_000].map(span), ["0.0 s", "0.4 s", "9.9 s", "1 min 01 s", "1 h 02 min", "4 days"])
  const noon = new Date(2025, 0, 2, 12, 3, 4)
  assert.equal(clock(noon), "12:03:04")
  assert.equal(when(noon, noon.getTime() + 1000), "12:03:04")
  assert.equal(when(noon, noon.getTime() + 86_400_000), "2025-01-02 12:03:04")
})
