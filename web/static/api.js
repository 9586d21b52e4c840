// The operators' API of the gateway that served this page, with the cookie of the login.

// Problem is an error in the gateway's words, or about reaching it: {status, code, detail, items}.
export class Problem extends Error {
  constructor({ status = 0, code = "unreachable", detail, items = [] }) {
    super(detail)
    Object.assign(this, { status, code, detail, items })
  }
}

// call makes a request and gives the JSON of its answer, null if it has none. It throws Problems.
export async function call(method, path, body, headers = {}) {
  const init = { method, headers: { Accept: "application/json", ...headers }, cache: "no-store", redirect: "error" }
  if (body !== undefined) {
    init.body = JSON.stringify(body)
    init.headers["Content-Type"] = "application/json"
  }
  let answer
  try {
    answer = await fetch(new URL(path, document.baseURI), init)
  } catch {
    throw new Problem({ detail: "the gateway can't be reached" })
  }
  const json = /^application\/(problem\+)?json/.test(answer.headers.get("Content-Type") ?? "")
  const data = json ? await answer.json().catch(() => null) : null
  if (answer.ok && (json ? data !== null : answer.status === 204)) return data
  throw new Problem({ detail: `the gateway can't be reached: something answered with status ${answer.status}`, ...data, status: answer.status })
}

const job = (id) => `v1/jobs/${encodeURIComponent(id)}`

export const login = (request) => call("POST", "v1/login", request)
export const whoAmI = () => call("GET", "v1/login")
export const logout = () => call("DELETE", "v1/login")
export const script = (id) => call("GET", `${job(id)}?script=true`)
export const targets = (id, from, limit) => call("GET", `${job(id)}/targets?from=${from}&limit=${limit}`)
export const execution = (id, host) => call("GET", `${job(id)}/executions/${encodeURIComponent(host)}`)
// waiting gives executions that haven't ended, with why.
export const waiting = (id, limit) => call("GET", `${job(id)}/executions?state=planned,queued,leased,accepted,running&why=true&limit=${limit}`)
export const cancel = (id) => call("POST", `${job(id)}/cancel`)
// rerun runs the hosts in these states again. A repeat with the same key makes no second job.
export const rerun = (id, states, key) => call("POST", `${job(id)}/rerun`, { states }, { "Idempotency-Key": key })
export const rawOutput = (id, host) => `${job(id)}/executions/${encodeURIComponent(host)}/output`
