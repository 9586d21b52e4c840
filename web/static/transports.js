// What carries a watch: a WebSocket, or server-sent events where sockets are cut. The latter are read
// by fetch, not by EventSource, which hides the status and has delays of its own.

const protocol = "rexgate.watch.v1.json"

function address({ topics, cursor }) {
  const url = new URL("v1/watch", document.baseURI)
  for (const t of topics) url.searchParams.append("topic", t)
  if (cursor) url.searchParams.set("cursor", cursor)
  return url
}

export const socket = {
  name: "socket",
  open(request, on) {
    const url = address(request)
    url.protocol = url.protocol.replace("http", "ws")
    const ws = new WebSocket(url, protocol)
    ws.onmessage = (event) => {
      const m = parse(event.data)
      if (m) on.message(m)
      else ws.close()
    }
    ws.onclose = (event) => on.closed(farewell(event.code, /^retry=(\d{1,9})/.exec(event.reason)?.[1]))
    return {
      close() {
        ws.onmessage = ws.onclose = null
        ws.close()
      },
    }
  },
}

export const sse = {
  name: "sse",
  open(request, on) {
    const abort = new AbortController()
    read(address(request), abort.signal, on).then(on.closed, () => on.closed({}))
    return { close: () => abort.abort() }
  },
}

// read reads events until the answer ends, and tells how.
async function read(url, signal, on) {
  const answer = await fetch(url, { signal, headers: { Accept: "text/event-stream" }, cache: "no-store", redirect: "error" })
  const kind = answer.headers.get("Content-Type") ?? ""
  if (answer.status !== 200 || !kind.startsWith("text/event-stream")) {
    const problem = kind.startsWith("application/problem+json") ? await answer.json().catch(() => undefined) : undefined
    // Only the gateway's own words end a watch: a proxy's error page passes.
    return { status: problem ? answer.status : 502, problem, retryAfter: retryAfter(answer) }
  }
  const events = new EventStream()
  const text = answer.body.pipeThrough(new TextDecoderStream()).getReader()
  for (;;) {
    const { value, done } = await text.read()
    if (done) return {}
    on.alive()
    for (const { type, data } of events.feed(value)) {
      const m = parse(data)
      if (m && type === "message") {
        on.message(m)
      } else if (type === "message" || type === "end") {
        text.cancel()
        return m ? farewell(m.code, m.retry) : {}
      }
    }
  }
}

// farewell is an end in the gateway's own words (the codes from 4000 on): what carried it works.
function farewell(code, seconds) {
  return code >= 4000 && code < 5000 ? { code, retryAfter: Number(seconds ?? 0) * 1000 } : {}
}

// retryAfter gives milliseconds, 0 if none are told.
function retryAfter(answer) {
  const seconds = Number(answer.headers.get("Retry-After"))
  return seconds > 0 ? seconds * 1000 : 0
}

function parse(text) {
  try {
    const m = JSON.parse(text)
    return m !== null && typeof m === "object" ? m : undefined
  } catch {
    return undefined
  }
}

// EventStream takes a stream of server-sent events apart. The cursor is in the messages too, so
// that only the data matters.
export class EventStream {
  #rest = ""
  #data = []
  #type = "message"

  // feed takes the next piece of text and gives the events that it completes: [{type, data}].
  feed(text) {
    const found = []
    const lines = (this.#rest + text).split(/\r\n|\n|\r(?!$)/)
    this.#rest = lines.pop()
    for (const line of lines) {
      if (line === "") {
        if (this.#data.length > 0) found.push({ type: this.#type, data: this.#data.join("\n") })
        this.#data = []
        this.#type = "message"
        continue
      }
      const [, field, value] = /^([^:]*):? ?(.*)$/s.exec(line)
      if (field === "data") this.#data.push(value)
      else if (field === "event") this.#type = value
    }
    return found
  }
}
