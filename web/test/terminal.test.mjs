import assert from "node:assert/strict"
import { test } from "node:test"
import { restyle, Terminal } from "../static/terminal.js"
import { clean, escape, pieces } from "../static/text.js"

const feed = (...texts) => {
  const t = new Terminal()
  return [...texts.flatMap((x) => t.feed(x)), ...t.end()]
}
const text = (runs) => runs.map((r) => r.text).join("")

test("plain colours become styles, and end", () => {
  assert.deepEqual(feed("a\x1b[31mb\x1b[1mc\x1b[0md"), [
    { text: "a", style: "" }, { text: "b", style: "fg1" }, { text: "c", style: "bold fg1" }, { text: "d", style: "" },
  ])
  assert.equal(restyle("", "1;3;4;7;9;92;44"), "bg4 bold fg10 inverse italic strike underline")
  assert.equal(restyle("bold dim fg1", "22;39"), "")
  assert.equal(restyle("bold fg1", ""), "")
  assert.equal(restyle("underline", "4:0"), "")
  assert.equal(restyle("", "4:3"), "underline")
})

test("256 and true colours become the nearest of 16", () => {
  assert.equal(restyle("", "38;5;196"), "fg9")
  assert.equal(restyle("", "48;5;232"), "bg0")
  assert.equal(restyle("", "38;2;0;250;3;1"), "bold fg10")
  assert.equal(restyle("", "38:2::0:0:255"), "fg4")
  assert.equal(restyle("fg1", "38;5"), "fg1")
  assert.equal(restyle("fg1", "38;2;999;0;0"), "fg1")
})

test("a style goes on across pieces, and sequences may be torn anywhere", () => {
  const whole = "x\x1b[1;38;5;196my\x1b]0;title\x07z\x1b[0m\x1b(B\x1b]8;;u\x1b\\w"
  for (let i = 0; i <= whole.length; i++) {
    for (const j of [i, Math.min(i + 1, whole.length)]) {
      const runs = feed(whole.slice(0, i), whole.slice(i, j), whole.slice(j))
      assert.equal(text(runs), "xyzw", `torn at ${i} and ${j}`)
      assert.equal(runs.filter((r) => r.text.includes("y"))[0].style, "bold fg9")
    }
  }
})

test("what moves the cursor, clears, or sets titles is left out", () => {
  assert.equal(text(feed("a\x1b[2J\x1b[1;1H\x1b[K\x1b[?25l\x1b7\x1bM\x1bcb")), "ab")
  assert.equal(text(feed("a\x1bP1$r\x1b\\\x1b_x\x07b")), "ab")
})

test("what is no sequence stays as text, and nothing hides what follows", () => {
  assert.equal(text(feed("\x1b[31;\nrm -rf")), "\x1b[31;\nrm -rf")
  assert.equal(text(feed("\x1b]0;never ended\nthe next line")), "\x1b]0;never ended\nthe next line")
  assert.equal(text(feed("\x1b")), "\x1b")
  assert.equal(text(feed("\x1b[12")), "\x1b[12")
  assert.equal(text(feed("\x1b\x1b[31mred")), "\x1bred")
  const long = "\x1b]0;" + "x".repeat(10_000)
  assert.equal(text(feed(long)), long)
  const t = new Terminal()
  let shown = ""
  for (const c of long) shown += text(t.feed(c))
  assert.equal(shown + text(t.end()), long)
})

test("styles are known class names, whatever the parameters", () => {
  const known = /^(?:(?:bold|dim|italic|underline|inverse|strike|[fb]g(?:\d|1[0-5]))(?: |$))*$/
  let seed = 7
  const random = (n) => (seed = (seed * 48271) % 2147483647) % n
  for (let i = 0; i < 5000; i++) {
    const params = Array.from({ length: random(12) }, () => "0123456789;:<=>?"[random(16)]).join("")
    assert.match(restyle("", params), known, params)
  }
})

test("random bytes lose nothing but sequences, and take no time", () => {
  let seed = 99
  const random = (n) => (seed = (seed * 48271) % 2147483647) % n
  const alphabet = ["\x1b", "[", "]", "m", "3", ";", "a", "\x07", "\\", "\n", "P", "(", " ", "\x18", "<b>"]
  for (let i = 0; i < 2000; i++) {
    const all = Array.from({ length: random(60) }, () => alphabet[random(alphabet.length)]).join("")
    const cut = random(all.length + 1)
    assert.equal(text(feed(all.slice(0, cut), all.slice(cut))), text(feed(all)), JSON.stringify([all, cut]))
  }
  assert.equal(text(feed("\x1b]".repeat(100_000))).length, 200_000)
})

test("hidden characters are shown by their number", () => {
  assert.equal(clean("a\u202eb\u0000\u001b[m\u2066\ufeff\t\n"), "a\\u202eb\\x00\\x1b[m\\u2066\\ufeff\\x09\\x0a")
  assert.equal(clean("\u{e0041}\ud800x\u009b"), "\\U000e0041\\ud800x\\x9b")
  assert.equal(clean("e\u0301 \u{1f468}\u200d\u{1f469} \u0645\u06cc\u200c\u062e"), "e\u0301 \u{1f468}\u200d\u{1f469} \u0645\u06cc\u200c\u062e")
  assert.equal(clean("x".repeat(50), 10), "x".repeat(10) + "…")
  assert.equal(clean(undefined), "")
  assert.equal(escape("\u2028"), "\\u2028")
  assert.deepEqual(pieces("a\tb\u202ec\u0007\u0008"), [
    { text: "a\tb", hidden: false }, { text: "\\u202e", hidden: true }, { text: "c", hidden: false }, { text: "\\x07\\x08", hidden: true },
  ])
})
