// Text from elsewhere: what would not be seen, or would turn the reading order, is shown by its
// number. Used for every host name, label, reason and line of output.

// Controls, and what Unicode uses to change direction, join, hide or annotate. Zero-width (non-)joiners belong to the
// spelling of several scripts and stay. Tab and line feed are the caller's.
const hidden = /[\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb]|[\u{e0000}-\u{e0fff}]|[\ud800-\udfff]/gu

// escape names a character: \x1b, \u202e, \U000e0041.
export function escape(c) {
  const n = c.codePointAt(0)
  const hex = n.toString(16)
  if (n < 0x100) return "\\x" + hex.padStart(2, "0")
  return n < 0x10000 ? "\\u" + hex.padStart(4, "0") : "\\U" + hex.padStart(8, "0")
}

// clean makes one line of text that shows all of itself, at most max characters of it.
export function clean(text, max = 2000) {
  let s = String(text ?? "")
  if (s.length > max) s = s.slice(0, max) + "…"
  return s.replace(hidden, escape)
}

// pieces splits text into what is plain and what is hidden, which is escaped and marked:
// [{text, hidden}]. Tabs stay.
export function pieces(text) {
  const parts = []
  let from = 0
  for (const m of text.matchAll(hidden)) {
    if (m[0] === "\t") continue
    if (m.index > from) parts.push({ text: text.slice(from, m.index), hidden: false })
    from = m.index + m[0].length
    const last = parts.at(-1)
    if (last?.hidden) last.text += escape(m[0])
    else parts.push({ text: escape(m[0]), hidden: true })
  }
  if (from < text.length) parts.push({ text: text.slice(from), hidden: false })
  return parts
}
