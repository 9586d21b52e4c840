package gateway

import (
	"crypto/tls"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptrace"
	"path/filepath"
	"strings"
	"testing"
)

// A body that is too large is answered over HTTP/2 without ending the connection, on which other
// requests are, and whose end would take the answer from a client that is still sending.
func TestTooLargeOverHTTP2(t *testing.T) {
	dir := t.TempDir()
	writeCertificate(t, dir, "gate.test")
	conf, err := TLSFromFiles(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	b := newBedOn(t, newStore(t), newSigner(t), func(c *ServerConfig) { c.TLS = conf })
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer transport.CloseIdleConnections()
	connections := 0
	trace := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
		if !i.Reused {
			connections++
		}
	}})
	for _, length := range []int64{2 * maxSubmitBody, -1} {
		for range 3 {
			body := io.LimitReader(strings.NewReader(strings.Repeat(" ", 2*maxSubmitBody)), 2*maxSubmitBody)
			req, err := http.NewRequestWithContext(trace, "POST", "https"+strings.TrimPrefix(b.url, "http")+"/v1/jobs", body)
			if err != nil {
				t.Fatal(err)
			}
			req.ContentLength = length
			req.Header.Set("Authorization", "Bearer "+b.operator())
			req.Header.Set("Content-Type", "application/json")
			resp, err := transport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			a := &answer{t: t, what: "POST /v1/jobs", status: resp.StatusCode, header: resp.Header}
			if a.body, err = io.ReadAll(resp.Body); err != nil || resp.ProtoMajor != 2 {
				t.Fatalf("%s: %v", resp.Proto, err)
			}
			resp.Body.Close()
			a.is(413, codeTooLarge)
		}
	}
	if connections != 1 {
		t.Errorf("%d connections, want 1", connections)
	}
}
