// One stream of a terminal's output, in pieces: plain SGR colours become styles, other well-formed
// escape sequences are left out, and what isn't one is passed on as text, to be shown as
// such. Sequences may be torn anywhere.

// longest is how much of an unfinished sequence is held back; beyond, it is no sequence. What
// hides text (titles, links) ends at a line's end at the latest.
const longest = 4096

// A complete sequence at the beginning of the text, its parts torn or whole.
const csi = /^\x1b\[([0-?]*)([ -/]*)([@-~])/
const csiTorn = /^\x1b\[[0-?]*[ -/]*$/
const str = /^\x1b[\]PX^_][^\x07\x1b\n\r]*(?:\x07|\x1b\\)/ // OSC, DCS, SOS, PM, APC
const strTorn = /^\x1b[\]PX^_][^\x07\x1b\n\r]*\x1b?$/
const esc = /^\x1b[ -/]*[0-OQ-WYZ\\`-~]/
const escTorn = /^\x1b[ -/]*$/

export class Terminal {
  #held = ""
  #style = plain

  // feed takes the next piece and gives runs in order: [{text, style}]. Text keeps
  // its control characters.
  feed(text) {
    const runs = []
    let rest = this.#held + text
    this.#held = ""
    while (rest !== "") {
      const at = rest.indexOf("\x1b")
      if (at !== 0) {
        this.#put(runs, at < 0 ? rest : rest.slice(0, at))
        rest = at < 0 ? "" : rest.slice(at)
        continue
      }
      const head = rest.slice(0, longest)
      const sgr = csi.exec(head)
      const whole = sgr ?? str.exec(head) ?? esc.exec(head)
      if (whole) {
        if (sgr && sgr[3] === "m" && sgr[2] === "") this.#style = restyle(this.#style, sgr[1])
        rest = rest.slice(whole[0].length)
      } else if (rest.length < longest && (csiTorn.test(rest) || strTorn.test(rest) || escTorn.test(rest))) {
        this.#held = rest
        rest = ""
      } else {
        this.#put(runs, "\x1b")
        rest = rest.slice(1)
      }
    }
    return runs
  }

  // end gives what was held back: no sequence comes of it any more.
  end() {
    const runs = []
    if (this.#held !== "") this.#put(runs, this.#held)
    this.#held = ""
    return runs
  }

  #put(runs, text) {
    const last = runs.at(-1)
    if (last && last.style === this.#style) last.text += text
    else runs.push({ text, style: this.#style })
  }
}

// plain is the style of text without any. Styles are CSS classes, joined by spaces.
export const plain = ""

const flags = { 1: "bold", 2: "dim", 3: "italic", 4: "underline", 7: "inverse", 9: "strike" }
const ends = { 22: ["bold", "dim"], 23: ["italic"], 24: ["underline"], 27: ["inverse"], 29: ["strike"] }

// restyle applies the parameters of an SGR sequence. Of 256 and true colours the nearest of
// 16 is taken: the page has its own palette for light and dark. Unknown parameters are ignored.
export function restyle(style, params) {
  const set = new Set(style === plain ? [] : style.split(" "))
  const drop = (prefix) => set.forEach((c) => c.startsWith(prefix) && set.delete(c))
  const colour = (ground, n) => {
    drop(ground)
    if (n !== undefined) set.add(ground + n)
  }
  // Colons separate the parts of one parameter, 38:2::R:G:B with an empty colour space.
  const numbers = []
  for (const p of params.slice(0, 256).split(";")) {
    const sub = p.split(":")
    if (sub.length > 1 && sub[1] === "2" && sub.length > 5) sub.splice(2, 1)
    if (sub.length > 1 && sub[0] === "4") numbers.push(sub[1] === "0" ? 24 : 4)
    else for (const n of sub) numbers.push(n === "" ? 0 : Number(n))
  }
  for (let i = 0; i < numbers.length; i++) {
    const n = numbers[i]
    if (n === 0) set.clear()
    else if (flags[n]) set.add(flags[n])
    else if (ends[n]) ends[n].forEach((f) => set.delete(f))
    else if (n >= 30 && n <= 37) colour("fg", n - 30)
    else if (n >= 90 && n <= 97) colour("fg", n - 82)
    else if (n === 39) colour("fg")
    else if (n >= 40 && n <= 47) colour("bg", n - 40)
    else if (n >= 100 && n <= 107) colour("bg", n - 92)
    else if (n === 49) colour("bg")
    else if (n === 38 || n === 48) {
      const ground = n === 38 ? "fg" : "bg"
      if (numbers[i + 1] === 5) {
        if (numbers[i + 2] <= 255) colour(ground, nearest(...indexed(numbers[i + 2])))
        i += 2
      } else if (numbers[i + 1] === 2) {
        const rgb = numbers.slice(i + 2, i + 5)
        if (rgb.length === 3 && rgb.every((v) => v <= 255)) colour(ground, nearest(...rgb))
        i += 4
      }
    }
  }
  return [...set].sort().join(" ")
}

// The 16 colours as xterm has them.
const palette = [
  [0, 0, 0], [205, 0, 0], [0, 205, 0], [205, 205, 0], [0, 0, 238], [205, 0, 205], [0, 205, 205], [229, 229, 229],
  [127, 127, 127], [255, 0, 0], [0, 255, 0], [255, 255, 0], [92, 92, 255], [255, 0, 255], [0, 255, 255], [255, 255, 255],
]

function nearest(r, g, b) {
  let best = 0
  let least = Infinity
  palette.forEach(([pr, pg, pb], i) => {
    const d = (pr - r) ** 2 + (pg - g) ** 2 + (pb - b) ** 2
    if (d < least) [best, least] = [i, d]
  })
  return best
}

// indexed gives the colour of xterm's table of 256.
function indexed(n) {
  if (n < 16) return palette[n]
  if (n >= 232) return Array(3).fill(8 + (n - 232) * 10)
  const level = (v) => (v === 0 ? 0 : 55 + v * 40)
  return [level(Math.floor((n - 16) / 36)), level(Math.floor((n - 16) / 6) % 6), level((n - 16) % 6)]
}
