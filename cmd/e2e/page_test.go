package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/rexgate/rexgate/client"
	"github.com/rexgate/rexgate/client/clienttest"
	"github.com/rexgate/rexgate/queue/redisqueue/redistest"
)

// detached submits a job and gives its id.
func (s *site) detached(args ...string) string {
	s.t.Helper()
	return strings.TrimSpace(must(s.t, s.env, "rexctl", append([]string{"job", "run", "--detach"}, args...)...))
}

// host starts an agent and waits until it is online.
func (s *site) host(name string) {
	s.t.Helper()
	s.agent(s.enrol(name), nil)
	s.online(name)
}

// TestPageLive follows a job from the list to its output, which is there before the script ends.
func TestPageLive(t *testing.T) {
	t.Parallel()
	s := newSite(t, "sqlite")
	s.host("web-1")
	p := s.page("")
	p.sees(".empty", "rexctl job run")

	pipe := fifo(t, s.dir)
	// The euro sign is torn by the pause.
	s.detached("--host", "web-1", "--name", "see it live", "--",
		fmt.Sprintf(`echo first; printf 'a\342\202'; read x < %s; printf '\254b\n'; printf '\033[31mred\033[0m\n' >&2; exit 3`, pipe))
	p.matches("tr", `running\s*see it live`)
	p.click("a", "see it live")
	p.matches(".host", `web-1\s*running`)
	p.click(".host", "web-1")
	p.sees(".line.stdout", "first")
	p.sees(".output .state", "running")
	unblock(t, s.dir)
	p.matches(".line.stdout", "^a€b$")
	p.sees(".line.stderr .t-fg1", "red")
	p.sees(".output .facts", "exit 3")
	p.sees(".output .state", "failed")
	p.sees(".hosts .facts .state", "failed")
	if text := p.text(".lines"); strings.Count(text, "first") != 1 || strings.ContainsRune(text, '\ufffd') {
		t.Errorf("the output is shown as %q", text)
	}

	// The raw output is the cookie's too.
	raw := eval[string](p, `fetch(document.querySelector(".output a.button").href + "?stream=stdout").then((r) => r.text())`)
	if raw != "first\na€b\n" {
		t.Errorf("the raw output is %q", raw)
	}
	// It failed: it can be run again from here, on what failed.
	s.enrol("web-2")
	p.click("button", "Run again on 1 failed")
	p.sees(".facts", "re-run of")
	p.matches(".host", `web-1\s*running`)
	unblock(t, s.dir)
	p.sees(".facts .state", "failed")
	if n := eval[int](p, `document.querySelectorAll(".host").length`); n != 1 {
		t.Errorf("the re-run is on %d hosts", n)
	}
}

// TestPageCopies copies an output with empty lines, and leaves it while its last event of scrolling is on its way.
func TestPageCopies(t *testing.T) {
	t.Parallel()
	s := newSite(t, "sqlite")
	s.host("web-1")
	job := s.detached("--host", "web-1", "--", `printf 'one\n\n\ntwo\n'`)
	p := s.page("#/jobs/" + job + "/web-1")
	p.sees(".line", "two")
	if text := eval[string](p, `(getSelection().selectAllChildren(document.querySelector(".lines > div")), getSelection().toString())`); strings.TrimRight(text, "\n") != "one\n\n\ntwo" {
		t.Errorf("%q is copied", text)
	}
	eval[any](p, `globalThis.boxes = [...document.querySelectorAll(".lines, .rows")], null`)
	eval[any](p, `location.hash = "#/", null`)
	p.sees("h1", "Jobs")
	if n := eval[int](p, `boxes.map((b) => b.dispatchEvent(new Event("scroll"))).length`); n != 2 {
		t.Errorf("%d boxes can be scrolled", n)
	}
}

// TestPageOutlivesGateway kills the gateway under an open page, ends another one in good order, and finds
// the page going on by itself.
func TestPageOutlivesGateway(t *testing.T) {
	t.Parallel()
	s := newSite(t, "sqlite", "--listen", "127.0.0.1:"+clienttest.FreePort(t))
	s.host("web-1")
	first, second := t.TempDir(), t.TempDir() // a pipe each: a reader that opens one again too soon gets its end
	job := s.detached("--host", "web-1", "--", fmt.Sprintf("echo one; read x < %s; echo two; read x < %s; echo three", fifo(t, first), fifo(t, second)))
	p := s.page("#/jobs/" + job + "/web-1")
	p.sees(".line", "one")
	eval[any](p, "globalThis.notReloaded = true")
	for _, end := range []struct {
		how  func()
		dir  string
		says string
	}{{s.gate.kill, first, "two"}, {func() { s.gate.stop() }, second, "three"}} {
		end.how()
		p.matches(".connection", `Reconnecting in \d+ s; this is from \d\d:\d\d:\d\d`)
		p.sees(".view.old .line", "one")
		s.up()
		p.sees(".connection", "Live")
		unblock(t, end.dir)
		p.sees(".line", end.says)
	}
	p.sees(".output .state", "succeeded")
	p.gone(".view.old", "")
	if text := strings.Fields(eval[string](p, `[...document.querySelectorAll(".text")].map((e) => e.textContent).join(" ")`)); strings.Join(text, " ") != "one two three" {
		t.Errorf("the output is shown as %q", text)
	}
	if !eval[bool](p, "globalThis.notReloaded === true") {
		t.Error("the page was loaded again")
	}
}

// TestPageHostile shows what hosts and people may write to whoever watches: all of it is text.
func TestPageHostile(t *testing.T) {
	t.Parallel()
	s := newSite(t, "sqlite")
	s.host("web-1")
	const markup = `<img src=x onerror="globalThis.hacked=1"><script>globalThis.hacked=1</script><b>&amp;{{1}}${1}`
	mark := "\u202e" + markup
	token := filepath.Join(s.dir, "token-hostile")
	must(t, nil, "rexgate", "token", "operator", "--data-dir", filepath.Join(s.dir, "data"), "--subject", mark, "--out", token)
	script := filepath.Join(s.dir, "script")
	write(t, script, "#!/bin/sh\n"+
		"printf '%s\\n' '"+markup+"'\n"+
		`printf 'bidi \342\200\256 bell \007 c1 \302\233 null \000 bad \377 tag \363\240\201\201 end\n'`+"\n"+
		`printf '\033]0;taken over\007\033[2J\033[1;1Hstill \033]52;c;aGk=\007here \033[31;9999999999999999999999;1mbold\033[0m \033[\001end\n'`+"\n"+
		`printf 'gone\rstays\n' >&2`+"\n"+
		"echo done\n")
	job := strings.TrimSpace(must(t, []string{"REXCTL_SERVER=" + s.url, "REXCTL_TOKEN_FILE=" + token, "HOME=" + s.dir},
		"rexctl", "job", "run", "--detach", "--host", "web-1", "--name", markup, script))

	p := s.page("")
	shown := strings.ReplaceAll(mark, "\u202e", `\u202e`)
	p.sees(".c-by", shown)
	p.click("td a", markup)
	p.sees("h1", markup)
	p.sees(".hosts .facts", shown)
	p.click("summary", "Script")
	p.sees(".script pre", "globalThis.hacked=1")
	p.click(".host", "web-1")
	p.sees(".line", markup)
	p.matches(".line", `^bidi \\u202e bell \\x07 c1 \\x9b null \\x00 bad \ufffd tag \\U000e0041 end$`)
	p.matches(".line", `^still here bold \\x1b\[\\x01end$`)
	p.sees(".line .t-bold.t-fg1", "bold")
	p.matches(".line.stderr.rewritten", "^stays$")
	p.sees(".line", "done")

	// The address is anybody's, and so are the names that a broken gateway would give.
	p.do("go", map[string]any{"url": s.url + "/#/jobs/" + job + "/" + "%3Cimg%20src=x%20onerror=globalThis.hacked=1%3E"})
	p.sees("h2", "<img src=x onerror=globalThis.hacked=1>")
	p.sees(".fault", "<img src=x onerror=globalThis.hacked=1>")
	p.do("answer", map[string]any{"url": "**/targets?*", "json": map[string]any{"from": 0, "total": 1, "hosts": []string{mark + "\x1b[31m"}}})
	p.do("go", map[string]any{"url": s.url + "/#/"})
	p.click("td a", markup)
	p.sees(".host", shown+`\x1b[31m`)

	if eval[bool](p, "'hacked' in globalThis") {
		t.Error("a script of the output has run")
	}
	if n := eval[int](p, `document.querySelectorAll("#app img, #app script, #app iframe, #app b img").length`); n != 0 {
		t.Errorf("%d elements came of text", n)
	}
	if title := eval[string](p, "document.title"); strings.Contains(title, "taken") || strings.Contains(title, "\u202e") {
		t.Errorf("the title is %q", title)
	}
}

// TestPageEvents has a proxy in front that passes no upgrade: server-sent events carry the same.
func TestPageEvents(t *testing.T) {
	t.Parallel()
	port := clienttest.FreePort(t)
	address := "http://127.0.0.1:" + port
	s := newSite(t, "sqlite", "--listen", "127.0.0.1:"+clienttest.FreePort(t), "--public-url", address)
	plainNginx(t, port, s.url)
	s.agent(s.enrol("web-1"), nil, "--transport", "poll")
	s.online("web-1")
	pipe := fifo(t, s.dir)
	job := s.detached("--host", "web-1", "--", fmt.Sprintf("echo one; read x < %s; echo two", pipe))
	p := openPage(t, address+"/#/jobs/"+job+"/web-1", "127.0.0.1:"+port)
	p.login(s.token())
	p.sees(`.connection[title="over server-sent events"]`, "Live")
	p.sees(".line", "one")
	s.gate.kill()
	p.sees(".connection", "Reconnecting")
	s.up()
	p.sees(".connection", "Live")
	unblock(t, s.dir)
	p.sees(".line", "two")
	p.sees(".output .state", "succeeded")
}

// TestPageOtherGateway watches at one gateway what happens at a host of another.
func TestPageOtherGateway(t *testing.T) {
	t.Parallel()
	clienttest.Program(t, "redis-server")
	redis := redistest.Start(t).URL
	first := newSite(t, "sqlite", "--redis", redis)
	key := filepath.Join(first.dir, "data", "operators.key")
	other := start(t, nil, "rexgate", "serve", "--data-dir", t.TempDir(), "--listen", "127.0.0.1:0", "--redis", redis, "--operator-key", key)
	address := other.out.waitFor(t, `listens on (http://\S+),`)[1]
	first.host("web-1")
	pipe := fifo(t, first.dir)
	job := first.detached("--host", "web-1", "--", fmt.Sprintf("echo one; read x < %s; echo two", pipe))
	p := openPage(t, address+"/", hostOf(t, address))
	p.login(first.token())
	p.matches("tr", "running")
	p.do("go", map[string]any{"url": address + "/#/jobs/" + job + "/web-1"})
	p.sees(".line", "one")
	unblock(t, first.dir)
	p.sees(".line", "two")
	p.sees(".output .state", "succeeded")
	p.sees(".hosts .facts .state", "succeeded")
}

// TestPageManyHosts lists a job on more hosts than a page could show at once, goes through them by keyboard, by state,
// and cancels it.
func TestPageManyHosts(t *testing.T) {
	t.Parallel()
	s := newSite(t, "sqlite")
	const n = 400
	token := strings.TrimSpace(must(t, s.env, "rexctl", "token", "enroll", "--uses", fmt.Sprint(n)))
	var enrolling sync.WaitGroup
	for first := range 16 {
		enrolling.Go(func() {
			for i := first; i < n; i += 16 {
				if _, err := client.Enroll(t.Context(), client.EnrollConfig{
					Dir: filepath.Join(s.dir, fmt.Sprint(i)), Token: token, Host: fmt.Sprintf("web-%04d", i), Network: client.Network{Proxy: "direct"},
				}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	enrolling.Wait()
	job := s.detached("--all", "--", "echo hello")
	p := s.page("#/jobs/" + job)
	p.matches(".chip", `queued 400`)
	p.sees(".host", "web-0000")
	if n := eval[int](p, `document.querySelectorAll(".host").length`); n > 120 {
		t.Errorf("%d rows are in the page", n)
	}
	eval[any](p, `document.querySelector(".rows a").focus()`)
	for _, k := range []struct{ key, host string }{{"End", "web-0399"}, {"ArrowUp", "web-0398"}, {"Home", "web-0000"}, {"ArrowDown", "web-0001"}} {
		p.do("press", map[string]any{"key": k.key})
		p.sees(".host:focus", k.host)
	}
	p.do("press", map[string]any{"key": "Enter"})
	p.sees("h2", "web-0001")
	p.sees(".output .state", "queued")

	p.click("button", "Cancel job")
	p.click("dialog button", "No, leave it")
	p.gone("dialog", "")
	p.click("button", "Cancel job")
	p.sees("dialog", "400 hosts haven't finished")
	p.click("dialog button", "Cancel the job")
	p.gone("dialog", "")
	p.matches(".chip", `cancelled 400`)
	p.sees(".output .state", "cancelled")
	p.gone("button", "Cancel job")
	p.click(".chip", "cancelled")
	p.matches(".host", `web-0000\s*cancelled`)
}

// TestPageLongOutput has more output than a page keeps. The pane follows its end, until the reader scrolls up.
func TestPageLongOutput(t *testing.T) {
	t.Parallel()
	s := newSite(t, "sqlite")
	s.host("web-1")
	first, second := t.TempDir(), t.TempDir()
	job := s.detached("--host", "web-1", "--", fmt.Sprintf("seq 12000; read x < %s; echo unread; read x < %s; echo last", fifo(t, first), fifo(t, second)))
	p := s.page("#/jobs/" + job + "/web-1")
	p.matches(".line:last-child", "^12000$")
	p.sees(".note", "earlier lines are in the raw output")
	if n := eval[int](p, `document.querySelectorAll(".lines .line").length`); n > 10_000 || n < 9_000 {
		t.Errorf("%d lines are in the page", n)
	}
	const below = `(() => { const b = document.querySelector(".lines"); return b.scrollHeight - b.scrollTop - b.clientHeight })()`
	if px := eval[float64](p, below); px > 2 {
		t.Errorf("the end is %v pixels below", px)
	}
	eval[any](p, `document.querySelector(".lines").scrollTop -= 5000`)
	p.sees("button", "Follow the output")
	unblock(t, first)
	p.do("attached", map[string]any{"selector": ".line", "text": "unread"})
	if px := eval[float64](p, below); px < 4000 {
		t.Errorf("the reader was taken away: the end is %v pixels below", px)
	}
	p.click("button", "Follow the output")
	p.gone("button", "Follow the output")
	unblock(t, second)
	p.matches(".line:last-child", "^last$")
	if px := eval[float64](p, below); px > 2 {
		t.Errorf("the end is %v pixels below", px)
	}
}

// TestPageTLS logs in over TLS: the cookie, the socket, HTTP/2.
func TestPageTLS(t *testing.T) {
	t.Parallel()
	s := tlsSite(t)
	p := openPage(t, s.url+"/", strings.TrimSuffix(hostOf(t, s.url), ":443"))
	p.login(s.token())
	p.sees(".empty", "No jobs yet")
	p.sees(`.connection[title=""]`, "Live")
	if protocol := eval[string](p, `performance.getEntriesByType("navigation")[0].nextHopProtocol`); protocol != "h2" {
		t.Errorf("the page came over %s", protocol)
	}
}
