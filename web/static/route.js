// Addresses within the page: #/ the jobs, #/jobs/ID one of them, #/jobs/ID/HOST a host's output.

export function parse(hash) {
  const [head, job, host, ...rest] = hash.replace(/^#\/?/, "").split("/").map(decode)
  if (head === "") return { view: "jobs" }
  if (head !== "jobs" || !job || rest.length > 0) return { view: "none" }
  return host ? { view: "job", job, host } : { view: "job", job }
}

export const toJobs = "#/"
export const toJob = (job) => `#/jobs/${encodeURIComponent(job)}`
export const toHost = (job, host) => `${toJob(job)}/${encodeURIComponent(host)}`

// topics are what a route watches, as far as the scopes allow it.
export function topics(route, scopes) {
  switch (route.view) {
    case "jobs": return ["jobs"]
    case "job": return route.host && scopes.includes("output:read") ? [`job:${route.job}`, `execution:${route.job}.${route.host}`] : [`job:${route.job}`]
  }
  return []
}

// takeLogin takes a login code out of the address: what comes after it is where to go then.
export function takeLogin(location, history) {
  const m = /^#login=([^&]+)/.exec(location.hash)
  if (!m) return ""
  history.replaceState(null, "", location.pathname + location.search + toJobs)
  return decode(m[1])
}

function decode(s) {
  try {
    return decodeURIComponent(s)
  } catch {
    return s
  }
}
