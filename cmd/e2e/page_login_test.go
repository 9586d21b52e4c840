package e2e

import (
	"encoding/base64"
	"net/url"
	"os"
	"strings"
	"testing"
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
	// The link again, where it has logged in: that stays.
	p.do("go", map[string]any{"url": "about:blank"})
	p.do("go", map[string]any{"url": address})
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
