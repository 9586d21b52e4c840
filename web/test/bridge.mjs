// A browser for the tests: commands as JSON lines on stdin, answers on stdout, in the order in which they are
// ready. {"id":1,"do":"open","url":...} is answered by {"id":1,"value":...} or {"id":1,"error":"..."}.
// Each page has a context of its own, and remembers what must not happen in it.

import { createInterface } from "node:readline"
import { chromium } from "playwright-core"

const browser = await chromium.launch({
  executablePath: process.env.REXGATE_TEST_CHROMIUM,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
})

const pages = new Map()
let ids = 0

// A request that fails is no fault of the page: gateways are killed, sockets cut, logins wrong.
const network = /^(Failed to load resource|WebSocket connection to )/

const commands = {
  async open({ url, width = 1280, height = 800, dark = false }) {
    const context = await browser.newContext({ viewport: { width, height }, colorScheme: dark ? "dark" : "light", reducedMotion: "reduce", ignoreHTTPSErrors: true })
    const p = { context, faults: [], origins: new Set(), requests: [] }
    context.setDefaultTimeout(0) // whoever waits has a limit
    await context.exposeBinding("rexgateTestViolation", (_, text) => { p.faults.push(`policy violated: ${text}`) })
    await context.addInitScript(() => {
      addEventListener("securitypolicyviolation", (e) => globalThis.rexgateTestViolation(`${e.violatedDirective}: ${e.blockedURI} at ${e.sourceFile}:${e.lineNumber}`))
    })
    p.page = await context.newPage()
    context.on("console", (m) => {
      if (["error", "warning"].includes(m.type()) && !network.test(m.text())) p.faults.push(`console: ${m.text()}`)
    })
    context.on("weberror", (e) => p.faults.push(`error: ${e.error().stack}`))
    context.on("dialog", (d) => {
      p.faults.push(`dialog: ${d.message()}`)
      d.dismiss()
    })
    context.on("page", (other) => p.page && !p.opens && p.faults.push(`another page was opened: ${other.url()}`))
    const requested = (method, url, type) => {
      p.origins.add(new URL(url).host)
      p.requests.push(`${method} ${new URL(url).pathname}${new URL(url).search} ${type}`)
    }
    context.on("request", (r) => requested(r.method(), r.url(), r.resourceType()))
    p.page.on("websocket", (w) => requested("GET", w.url(), "websocket"))
    const id = ++ids
    pages.set(id, p)
    await p.page.goto(url, { waitUntil: "commit" })
    return id
  },
  // tab opens another tab beside a page, with the same cookies; the page's close closes it too.
  async tab({ p, url }) {
    p.opens = true
    const tab = { ...p, page: await p.context.newPage() }
    p.opens = false
    const id = ++ids
    pages.set(id, tab)
    await tab.page.goto(url, { waitUntil: "commit" })
    return id
  },
  go: ({ p, url }) => p.page.goto(url, { waitUntil: "commit" }),
  reload: ({ p }) => p.page.reload({ waitUntil: "commit" }),
  // wait waits for an element that is seen, by selector and a text or pattern within it.
  wait: ({ p, selector, text, pattern }) => find(p, selector, text, pattern).first().waitFor(),
  // attached waits for one that may be out of sight.
  attached: ({ p, selector, text }) => p.page.locator(selector).filter({ hasText: text }).first().waitFor({ state: "attached" }),
  gone: ({ p, selector, text, pattern }) => find(p, selector, text, pattern).first().waitFor({ state: "hidden" }),
  click: ({ p, selector, text }) => find(p, selector, text).first().click(),
  fill: ({ p, selector, text }) => p.page.locator(selector).fill(text),
  press: ({ p, key }) => p.page.keyboard.press(key),
  resize: ({ p, width, height }) => p.page.setViewportSize({ width, height }),
  text: ({ p, selector }) => p.page.locator(selector).first().innerText(),
  count: ({ p, selector }) => p.page.locator(selector).count(),
  // answer has what matches answered by the test, instead of the gateway.
  answer: ({ p, url, json }) => p.context.route(url, (route) => route.fulfill({ json })),
  eval: ({ p, text }) => p.page.evaluate(text),
  url: ({ p }) => p.page.url(),
  screenshot: ({ p, path }) => p.page.screenshot({ path }).then(() => null),
  requests: ({ p }) => p.requests,
  async close({ p, page }) {
    pages.delete(page)
    await p.context.close()
    return { faults: p.faults, origins: [...p.origins] }
  },
}

function find(p, selector, text, pattern) {
  const found = p.page.locator(selector)
  if (pattern) return found.filter({ hasText: new RegExp(pattern), visible: true })
  return text ? found.filter({ hasText: text, visible: true }) : found.filter({ visible: true })
}

for await (const line of createInterface({ input: process.stdin })) {
  const { id, do: name, ...args } = JSON.parse(line)
  run(name, args).then(
    (value) => answer({ id, value: value ?? null }),
    (error) => answer({ id, error: String(error.message ?? error) }),
  )
}
await browser.close()

async function run(name, args) {
  if (name !== "open") args.p = pages.get(args.page)
  return commands[name](args)
}

function answer(a) {
  process.stdout.write(JSON.stringify(a) + "\n")
}
