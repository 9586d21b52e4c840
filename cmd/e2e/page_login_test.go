package e2e

import (
	"encoding/base64"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/rexgate/rexgate/client/clienttest"
)

// token reads the operator's token.
func (s *site) token() string {
	s.t.Helper()
	for _, kv := range s.env {
		if path, ok := strings.CutPrefix(kv, "REXCTL_TOKEN_FILE="); ok {
			b, err := os.ReadFile(path)
			if err != nil {
				s.t.Fatal(err)
			}
			return strings.TrimSpace(string(b))
		}
	}
	s.t.Fatal("the site has no token")
	return ""
}

// page opens the site's page and logs in there by token; route is what comes behind the address.
func (s *site) page(route string) *page {
	s.t.Helper()
	p := openPage(s.t, s.url+"/"+route, hostOf(s.t, s.url))
	p.login(s.token())
	return p
}

func (p *page) login(token string) {
	p.t.Helper()
	p.fill("#token", token)
	p.click("button[type=submit]", "")
	p.sees(".connection", "Live")
}

func hostOf(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

// TestPageLogin logs in by token: a wrong one shows the gateway's words, and the address stays.
func TestPageLogin(t *testing.T) {
	t.Parallel()
	s := newSite(t, "sqlite")
	p := openPage(t, s.url+"/#/jobs/06h063e5298jin0g9j3voqspdk", hostOf(t, s.url))
	p.sees("h1", "Log in")
	token := s.token()
	signature := token[strings.LastIndex(token, ".")+1:]
	for wrong, says := range map[string]string{
		"nonsense": "token",
		// Of another key: the form is right.
		strings.TrimSuffix(token, signature) + base64.RawURLEncoding.EncodeToString(make([]byte, 64)): "token",
		"": "paste a token first",
	} {
		p.fill("#token", wrong)
		p.click("button[type=submit]", "")
		p.sees(".fault", says)
	}
	p.fill("#token", token)
	p.click("button[type=submit]", "")
	p.sees(".fault", "06h063e5298jin0g9j3voqspdk") // there is no such job, and that is told
	p.sees(".who", "tester")
	if !strings.HasSuffix(p.url(), "/#/jobs/06h063e5298jin0g9j3voqspdk") {
		t.Errorf("the login led to %s", p.url())
	}
	// The token is nowhere that a script could read it.
	if left := eval[string](p, "document.cookie + JSON.stringify([{...localStorage}, {...sessionStorage}]) + document.documentElement.outerHTML"); strings.Contains(left, "rexgate-") || strings.Contains(left, token) {
		t.Errorf("a script can read the login: %s", left)
	}
	p.do("reload", nil)
	p.sees(".who", "tester")
	p.click("button", "Log out")
	p.sees("h1", "Log in")
	p.do("reload", nil)
	p.sees("h1", "Log in")
}

// TestPageDemo opens the address that the demo prints: it logs in, once.
func TestPageDemo(t *testing.T) {
	t.Parallel()
	demo := start(t, nil, "rexgate", "demo", "--", "echo shown in a browser")
	address := demo.err.waitFor(t, `(http://\S+/#login=\S+)`)[1]
	demo.err.waitFor(t, "job list")
	p := openPage(t, address, hostOf(t, address))
	p.sees(".who", "demo")
	p.matches("tr", `succeeded\s*demo`)
	if strings.Contains(p.url(), "login") {
		t.Errorf("the code is still in the address: %s", p.url())
	}
	// The link again, where somebody is logged in: it is asked, and who is logged in stays so.
	p.do("go", map[string]any{"url": "about:blank"})
	p.do("go", map[string]any{"url": address})
	p.sees("dialog", "You are logged in as demo")
	if strings.Contains(p.url(), "login") {
		t.Errorf("the code is still in the address: %s", p.url())
	}
	p.click("dialog button", "Log in by the link")
	p.sees("dialog .fault", "the code isn't good")
	p.click("dialog button", "No, leave it")
	p.gone("dialog", "")
	p.sees(".who", "demo")
	p.click("td a", "demo")
	p.click(".host", "beta")
	p.sees(".line", "shown in a browser")

	again := openPage(t, address, hostOf(t, address))
	again.sees(".fault", "the code isn't good")
	again.sees("h1", "Log in")
	if strings.Contains(again.url(), "login") {
		t.Errorf("the code is still in the address: %s", again.url())
	}
}

// TestPageLink opens a link that logs in where somebody is logged in: nothing happens unasked, and the link stays good.
func TestPageLink(t *testing.T) {
	t.Parallel()
	demo := start(t, nil, "rexgate", "demo", "--", "true")
	address := demo.err.waitFor(t, `(http://\S+/#login=\S+)`)[1]
	token, err := os.ReadFile(demo.err.waitFor(t, `REXCTL_TOKEN_FILE=(\S+)`)[1])
	if err != nil {
		t.Fatal(err)
	}
	p := openPage(t, strings.Split(address, "#")[0], hostOf(t, address))
	p.login(strings.TrimSpace(string(token)))
	for _, answer := range []string{"No, leave it", "Log in by the link"} {
		p.do("go", map[string]any{"url": "about:blank"})
		p.do("go", map[string]any{"url": address})
		p.sees("dialog", "You are logged in as demo")
		p.click("dialog button", answer)
		p.gone("dialog", "")
		p.sees(".who", "demo")
	}
	again := openPage(t, address, hostOf(t, address))
	again.sees(".fault", "the code isn't good") // it was used
}

// TestPageLogoutUnreachable logs out where the gateway doesn't answer: the cookie is still there, and that is said.
func TestPageLogoutUnreachable(t *testing.T) {
	t.Parallel()
	s := newSite(t, "sqlite", "--listen", "127.0.0.1:"+clienttest.FreePort(t))
	p := s.page("")
	s.gate.kill()
	p.sees(".connection", "Reconnecting")
	p.click("button", "Log out")
	p.sees(".fault", "You are still logged in on this browser: the gateway can't be reached")
	p.sees(".who", "tester")
	s.up()
	p.sees(".connection", "Live")
	p.click("button", "Log out")
	p.sees("h1", "Log in")
	p.do("reload", nil)
	p.sees("h1", "Log in")
}

// TestPageTabs logs out and in in one tab of a browser: the other one follows, and shows nothing meanwhile.
func TestPageTabs(t *testing.T) {
	t.Parallel()
	s := newSite(t, "sqlite")
	s.enrol("web-1")
	job := s.detached("--host", "web-1", "--", "true")
	p := s.page("#/jobs/" + job)
	p.sees(".host", "web-1")
	tab := p.tab(s.url)
	tab.click("button", "Log out")
	p.sees("h1", "Log in")
	p.gone(".host", "web-1")
	tab.login(s.token())
	p.sees(".host", "web-1")

	// A login that ends otherwise is told in words for people.
	eval[any](p, `fetch("v1/login", {method: "DELETE"}).then(() => null)`)
	p.click("a.brand", "")
	p.sees(".fault", "the login has ended")
}
