package operator

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/rexgate/rexgate/gateway/api"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v)
}

// roundTripper answers in process, so that time can be synthetic.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func inProcess(t *testing.T, f roundTripper) *Client {
	t.Helper()
	c, err := New(Options{Server: "https://gate.example/sub/", Token: StaticToken("t"), Transport: f})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func response(status int, header map[string]string, body any) *http.Response {
	b, _ := json.Marshal(body)
	h := http.Header{"Content-Type": {"application/json"}}
	if status >= 400 {
		h.Set("Content-Type", api.ProblemType)
	}
	for k, v := range header {
		h.Set(k, v)
	}
	return &http.Response{StatusCode: status, Status: fmt.Sprint(status), Header: h, Body: io.NopCloser(strings.NewReader(string(b)))}
}

// TestRetryAfter waits as long as the server asks, and not less.
func TestRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, calls := time.Now(), 0
		c := inProcess(t, func(r *http.Request) (*http.Response, error) {
			calls++
			if calls == 1 {
				return response(503, map[string]string{"Retry-After": "7"}, api.Problem{Code: "unavailable", Detail: "away"}), nil
			}
			return response(200, nil, api.Job{ID: "j"}), nil
		})
		if _, err := c.Job(t.Context(), "j", JobOptions{}); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(began); d < 7*time.Second || d > 9*time.Second || calls != 2 {
			t.Errorf("%d calls in %v", calls, d)
		}
	})
}

// TestRetryGivesUp ends before RetryFor is over, with the server's last word.
func TestRetryGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, calls := time.Now(), 0
		c := inProcess(t, func(r *http.Request) (*http.Response, error) {
			calls++
			return response(429, nil, api.Problem{Code: "rate_limited", Detail: "slow down"}), nil
		})
		_, err := c.Job(t.Context(), "j", JobOptions{})
		if !IsProblem(err, "rate_limited") || time.Since(began) > 15*time.Second || calls < 3 {
			t.Errorf("%d calls in %v: %v", calls, time.Since(began), err)
		}
	})
}

// TestSubmitKeepsItsKey repeats a submit whose answer was lost under one key.
func TestSubmitKeepsItsKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var keys []string
		c := inProcess(t, func(r *http.Request) (*http.Response, error) {
			keys = append(keys, r.Header.Get("Idempotency-Key"))
			b, _ := io.ReadAll(r.Body)
			if !strings.Contains(string(b), "uptime") || r.URL.String() != "https://gate.example/sub/v1/jobs" {
				t.Errorf("%s: %s", r.URL, b)
			}
			if len(keys) == 1 {
				return nil, io.ErrUnexpectedEOF
			}
			return response(201, nil, api.Job{ID: "j"}), nil
		})
		j, err := c.Submit(t.Context(), api.JobRequest{Script: "uptime", All: true})
		if err != nil || j.ID != "j" || len(keys) != 2 || keys[0] == "" || keys[0] != keys[1] {
			t.Errorf("%v %v %q", j.ID, err, keys)
		}
		keys = nil
		if _, err := c.Submit(t.Context(), api.JobRequest{Script: "uptime", All: true}); err != nil {
			t.Fatal(err)
		}
		if len(keys) == 2 && keys[0] != keys[1] {
			t.Errorf("keys %q", keys)
		}
	})
}

// TestDeleteWhoseAnswerWasLost counts "not found" as done then, and only then.
func TestDeleteWhoseAnswerWasLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lose := true
		c := inProcess(t, func(r *http.Request) (*http.Response, error) {
			if lose {
				lose = false
				return nil, io.ErrUnexpectedEOF
			}
			return response(404, nil, api.Problem{Code: "not_found", Detail: "no such host"}), nil
		})
		if err := c.DeleteHost(t.Context(), "h"); err != nil {
			t.Errorf("after a lost answer: %v", err)
		}
		if err := c.DeleteHost(t.Context(), "h"); !IsProblem(err, "not_found") {
			t.Errorf("at once: %v", err)
		}
	})
}

// TestCallEndsWithContext tells the caller's deadline from its own.
func TestCallEndsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := inProcess(t, func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Job(ctx, "j", JobOptions{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the caller's deadline: %v", err)
		}
		_, err := c.Job(t.Context(), "j", JobOptions{Wait: time.Minute})
		if err == nil || errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "1m30s") {
			t.Errorf("no answer: %v", err)
		}
	})
}

// TestStrangeAnswers names what answered instead of rexgate.
func TestStrangeAnswers(t *testing.T) {
	for _, tc := range []struct {
		name, want string
		h          http.HandlerFunc
	}{
		{"login page", "instead of JSON", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "<html>") }},
		{"redirect", `a redirect to "/login"`, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/login", http.StatusFound) }},
		{"proxy", "probably a proxy", func(w http.ResponseWriter, r *http.Request) { http.Error(w, "nope", http.StatusProxyAuthRequired) }},
		{"garbage", "can't be understood", func(w http.ResponseWriter, r *http.Request) { answer(w, []int{1}) }},
		{"problem", "no such job", func(w http.ResponseWriter, r *http.Request) { problem(w, 404, "not_found", "no such job") }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := serve(t, tc.h, nil)
			_, err := c.Job(t.Context(), "j", JobOptions{})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want ...%s", err, tc.want)
			}
		})
	}
}

// TestOptions refuses what would fail or leak later.
func TestOptions(t *testing.T) {
	token := StaticToken("t")
	for server, ok := range map[string]bool{
		"https://gate.example": true, "https://gate.example:8443/a/": true, "http://127.0.0.1:80": true, "http://[::1]:80": true,
		"http://localhost": true, "http://gate.example": false, "gate.example": false, "": false, "https://": false,
		"https://u:p@gate.example": false, "https://gate.example?token=x": false, "ftp://gate.example": false,
	} {
		if _, err := New(Options{Server: server, Token: token}); (err == nil) != ok {
			t.Errorf("%q: %v", server, err)
		}
	}
	if _, err := New(Options{Server: "http://gate.example", Token: token, AllowPlainHTTP: true}); err != nil {
		t.Error(err)
	}
	if _, err := New(Options{Server: "https://gate.example"}); err == nil {
		t.Error("no token was taken")
	}
	if _, err := New(Options{Server: "https://gate.example", Token: token, CA: []byte("nope")}); err == nil {
		t.Error("a CA without certificates was taken")
	}
}

// TestTokenFile takes up a renewed token.
func TestTokenFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	get := TokenFile(path)
	if _, err := get(); err == nil {
		t.Error("a missing file was taken")
	}
	for text, want := range map[string]string{"one\n": "one", "two": "two", "\n": "", "a b": "", "a\nb\n": ""} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := get(); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q %v", text, got, err)
		}
	}
}

// TestPages reads on to the end, and not a page more than asked for.
func TestPages(t *testing.T) {
	var calls atomic.Int64
	c := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		q := r.URL.Query()
		switch {
		case strings.HasSuffix(r.URL.Path, "/targets"):
			from := 0
			fmt.Sscan(q.Get("from"), &from)
			l := api.TargetList{From: from, Total: 5}
			for i := from; i < min(from+2, 5); i++ {
				l.Hosts = append(l.Hosts, fmt.Sprint("h", i))
			}
			answer(w, l)
		case q.Get("state") != "failed,lost" || q.Get("limit") != "2":
			problem(w, 400, "invalid", "query: "+r.URL.RawQuery)
		case q.Get("after") == "":
			answer(w, api.ExecutionList{Executions: []api.Execution{{Host: "a"}, {Host: "b"}}, Next: "n"})
		default:
			answer(w, api.ExecutionList{Executions: []api.Execution{{Host: "c"}}})
		}
	}), nil)
	q := ExecutionQuery{Job: "j", States: []string{"failed", "lost"}, Limit: 2}
	var got []string
	for x, err := range c.Executions(t.Context(), q) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, x.Host)
	}
	if strings.Join(got, "") != "abc" || calls.Load() != 2 {
		t.Errorf("%v in %d calls", got, calls.Load())
	}
	for range c.Executions(t.Context(), q) {
		break
	}
	if calls.Load() != 3 {
		t.Errorf("%d calls: read on after the consumer was done", calls.Load())
	}
	got = nil
	for h, err := range c.Targets(t.Context(), "j") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, h)
	}
	if strings.Join(got, " ") != "h0 h1 h2 h3 h4" {
		t.Errorf("targets %v", got)
	}
	q.Limit = 3
	for _, err := range c.Executions(t.Context(), q) {
		if !IsProblem(err, "invalid") {
			t.Errorf("got %v", err)
		}
	}
}

// TestExtraCA trusts a given CA, and explains at once where it doesn't.
func TestExtraCA(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { answer(w, api.Job{ID: r.Header.Get("Authorization")}) }))
	defer s.Close()
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	for _, trusted := range []bool{true, false} {
		o := Options{Server: s.URL, Token: StaticToken("t")}
		if trusted {
			o.CA = ca
		}
		c, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		j, err := c.Job(t.Context(), "j", JobOptions{})
		if (err == nil) != trusted {
			t.Errorf("trusted %v: %v", trusted, err)
		}
		if trusted && j.ID != "Bearer t" {
			t.Errorf("the token arrived as %q", j.ID)
		}
	}
}
