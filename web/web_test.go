package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func get(t *testing.T, method, path string, header ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	Handler().ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, r *http.Response) []byte {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestServed asks for each file as a browser does: plain, packed, again, and by HEAD.
func TestServed(t *testing.T) {
	for path, kind := range map[string]string{
		"/": "text/html; charset=utf-8", "/static/app.js": "text/javascript; charset=utf-8", "/static/style.css": "text/css; charset=utf-8",
		"/static/icon.svg": "image/svg+xml", "/static/views/job.js": "text/javascript; charset=utf-8",
		"/static/lib/preact.js": "text/javascript; charset=utf-8", "/static/lib/preact-license.txt": "text/plain; charset=utf-8",
	} {
		name := strings.TrimPrefix(path, "/")
		if path == "/" {
			name = "static/index.html"
		}
		want, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		plain := get(t, "GET", path)
		if got := body(t, plain); plain.StatusCode != 200 || !bytes.Equal(got, want) || plain.ContentLength != int64(len(want)) {
			t.Errorf("%s: status %d, %d bytes, not those of the file", path, plain.StatusCode, len(got))
		}
		packed := get(t, "GET", path, "Accept-Encoding", "br, gzip")
		z, err := gzip.NewReader(packed.Body)
		if err != nil {
			t.Fatalf("%s: not packed: %v", path, err)
		}
		if got, err := io.ReadAll(z); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: unpacked it isn't the file: %v", path, err)
		}
		for name, r := range map[string]*http.Response{"plain": plain, "packed": packed} {
			h := r.Header
			for field, value := range map[string]string{
				"Content-Type": kind, "Cache-Control": "no-cache", "Vary": "Accept-Encoding", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
			} {
				if h.Get(field) != value {
					t.Errorf("%s, %s: %s: %q, not %q", path, name, field, h.Get(field), value)
				}
			}
			if csp := h.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'self'") || !strings.Contains(csp, "frame-ancestors 'none'") || strings.Contains(csp, "unsafe") {
				t.Errorf("%s: policy %q", path, csp)
			}
			again := get(t, "GET", path, "Accept-Encoding", map[string]string{"plain": "identity", "packed": "gzip"}[name], "If-None-Match", h.Get("ETag"))
			if len(h.Get("ETag")) < 20 || strings.HasPrefix(h.Get("ETag"), "W/") || again.StatusCode != 304 || len(body(t, again)) != 0 {
				t.Errorf("%s, %s: with the ETag %s: status %d", path, name, h.Get("ETag"), again.StatusCode)
			}
		}
		if plain.Header.Get("ETag") == packed.Header.Get("ETag") {
			t.Errorf("%s: one strong ETag for two contents", path)
		}
		head := get(t, "HEAD", path)
		if head.StatusCode != 200 || head.ContentLength != int64(len(want)) || len(body(t, head)) != 0 {
			t.Errorf("%s: HEAD: status %d, length %d", path, head.StatusCode, head.ContentLength)
		}
	}
}

// TestRefused asks for what isn't here.
func TestRefused(t *testing.T) {
	for path, want := range map[string]int{
		"/nothing": 404, "/static": 404, "/static/": 404, "/static/index.html": 404, "/static/views": 404, "/static/views/": 404,
		"/static/../web.go": 404, "/static//app.js": 404, "/index.html": 404, "POST /": 405, "DELETE /static/app.js": 405,
	} {
		method := "GET"
		if m, p, ok := strings.Cut(path, " "); ok {
			method, path = m, p
		}
		r := get(t, method, path)
		var p struct {
			Type, Title, Detail, Code string
			Status                    int
		}
		if err := json.Unmarshal(body(t, r), &p); err != nil {
			t.Fatal(err)
		}
		if r.StatusCode != want || p.Status != want || p.Type != "urn:rexgate:problem:"+p.Code || p.Detail == "" || r.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s %s: status %d, %+v", method, path, r.StatusCode, p)
		}
		if allow := r.Header.Get("Allow"); (want == 405) != (allow == "GET, HEAD") {
			t.Errorf("%s %s: Allow: %q", method, path, allow)
		}
	}
	for accept, packed := range map[string]bool{"": false, "gzip;q=0": false, "identity": false, "gzip; q=0.5": true, "*": true, "deflate, GZIP": true} {
		if got := get(t, "GET", "/static/app.js", "Accept-Encoding", accept).Header.Get("Content-Encoding") == "gzip"; got != packed {
			t.Errorf("Accept-Encoding: %s: packed %v", accept, got)
		}
	}
}

// TestModules checks what browsers need of the modules, and that nothing is taken from elsewhere.
func TestModules(t *testing.T) {
	imports := regexp.MustCompile(`(?m)(?:^\s*(?:import|export)\b[^"'\n]*?from\s*|^\s*import\s*|[;}]\s*(?:import|export)[^"';]*from\s*|^import\{[^"';]*from|\bimport\s*\(\s*)["']([^"']+)["']`)
	// Names of XML's vocabularies, which nothing fetches.
	elsewhere := regexp.MustCompile(`(?:https?:|wss?:)?//[a-z0-9.-]+\.[a-z]{2,}[^"'\s)]*`)
	found := 0
	err := filepath.WalkDir("static", func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) == ".txt" {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, url := range elsewhere.FindAllString(string(b), -1) {
			if !strings.HasPrefix(url, "http://www.w3.org/") {
				t.Errorf("%s names %s", path, url)
			}
		}
		if filepath.Ext(path) != ".js" {
			return nil
		}
		for _, m := range imports.FindAllStringSubmatch(string(b), -1) {
			found++
			if !strings.HasPrefix(m[1], "./") && !strings.HasPrefix(m[1], "../") {
				t.Errorf("%s imports %q, which isn't relative", path, m[1])
			} else if _, err := os.Stat(filepath.Join(filepath.Dir(path), m[1])); err != nil {
				t.Errorf("%s imports %q: %v", path, m[1], err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if found < 40 {
		t.Errorf("only %d imports were found: the pattern misses some", found)
	}
	index, err := os.ReadFile("static/index.html")
	if err != nil {
		t.Fatal(err)
	}
	if m := regexp.MustCompile(`<script(?:[^>]*[^/])?>[^<]|<style|\sstyle=|\son[a-z]+=|(?:src|href)="/`).Find(index); m != nil {
		t.Errorf("index.html has %q: nothing inline, and relative links only", m)
	}
}

// TestLibraries checks that the libraries are those that were fetched and verified; web/refresh --check asks npm.
func TestLibraries(t *testing.T) {
	sums, err := os.ReadFile("static/lib/checksums.txt")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{"checksums.txt": true}
	for line := range strings.Lines(string(sums)) {
		sum, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		known[name] = true
		b, err := os.ReadFile(filepath.Join("static/lib", name))
		if err != nil {
			t.Error(err)
		} else if got := hexSum(b); got != sum {
			t.Errorf("static/lib/%s was changed: web/refresh writes it", name)
		}
	}
	files, err := os.ReadDir("static/lib")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !known[f.Name()] {
			t.Errorf("static/lib/%s has no checksum: web/refresh writes what is here", f.Name())
		}
	}
	for _, lock := range []string{"package-lock.json", "test/package-lock.json"} {
		b, err := os.ReadFile(lock)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, []byte(`"resolved"`)) || !bytes.Contains(b, []byte(`"integrity": "sha512-`)) {
			t.Errorf("%s names a registry, or has no hashes", lock)
		}
	}
}

// TestScripts runs the modules' own tests.
func TestScripts(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		if os.Getenv("REXGATE_TEST_REQUIRE") == "1" {
			t.Fatal("required, but node isn't installed")
		}
		t.Skip("node isn't installed")
	}
	tests, err := filepath.Glob("test/*.test.mjs")
	if err != nil || len(tests) == 0 {
		t.Fatalf("no tests: %v", err)
	}
	out, err := exec.CommandContext(t.Context(), node, append([]string{"--test", "--test-reporter=tap"}, tests...)...).CombinedOutput()
	if err != nil || !regexp.MustCompile(`(?m)^# pass [1-9]`).Match(out) || !regexp.MustCompile(`(?m)^# skipped 0`).Match(out) {
		t.Errorf("%v\n%s", err, out)
	}
}

func hexSum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
