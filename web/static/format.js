// Numbers and times for people.

const two = (n) => String(n).padStart(2, "0")

// clock gives the time of day of Unix milliseconds, in the reader's zone.
export function clock(ms) {
  const d = new Date(ms)
  return `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`
}

// when adds the day where it isn't today's.
export function when(time, now) {
  const d = new Date(time)
  const day = `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())}`
  return d.toDateString() === new Date(now).toDateString() ? clock(d) : `${day} ${clock(d)}`
}

// span gives a length of time: 0.4 s, 12 s, 3 min 05 s, 2 h 10 min.
export function span(ms) {
  const s = Math.max(0, ms) / 1000
  if (s < 10) return `${s.toFixed(1)} s`
  if (s < 60) return `${Math.floor(s)} s`
  if (s < 3600) return `${Math.floor(s / 60)} min ${two(Math.floor(s % 60))} s`
  if (s < 172_800) return `${Math.floor(s / 3600)} h ${two(Math.floor(s / 60) % 60)} min`
  return `${Math.floor(s / 86_400)} days`
}

export function size(bytes) {
  if (bytes < 1024) return `${bytes} B`
  const units = ["KiB", "MiB", "GiB", "TiB"]
  let n = bytes
  let i = -1
  for (; n >= 1024 && i < units.length - 1; i++) n /= 1024
  return `${n < 10 ? n.toFixed(1) : Math.round(n)} ${units[i]}`
}

// number groups digits by narrow spaces.
export const number = (n) => String(n).replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f")

export const plural = (n, one, many = one + "s") => `${number(n)} ${n === 1 ? one : many}`
