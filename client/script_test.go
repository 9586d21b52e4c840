package client

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/rexgate/rexgate/session/wire"
)

func TestScript(t *testing.T) {
	script := bytes.Repeat([]byte("echo 0123456789\n"), 60_000) // beyond a frame
	path := wire.PathScript + "x"
	serve := func(status int, body []byte) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet || r.URL.Path != path || !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ey") {
				status = http.StatusTeapot
			}
			w.WriteHeader(status)
			w.Write(body)
		}))
		t.Cleanup(s.Close)
		return s.URL
	}
	good, bad, short := serve(200, script), serve(503, nil), serve(200, script[1:])
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	fetch := func(gateways ...string) ([]byte, error) {
		l, err := NewLink(Config{Gateways: gateways, Identity: NewIdentity("h", key)})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			for _, e := range l.endpoints {
				e.closeIdle()
			}
		}()
		return l.Script(context.Background(), path, int64(len(script)))
	}
	for _, gateways := range [][]string{{good}, {bad, good}, {short, bad, good}} {
		if got, err := fetch(gateways...); err != nil || !bytes.Equal(got, script) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	}
	if _, err := fetch(bad, short); err == nil || !strings.Contains(err.Error(), "503") || !strings.Contains(err.Error(), "the job says") {
		t.Errorf("error %v", err)
	}
}
