package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"
)

//go:embed static
var files embed.FS

// policy lets the page load from its own origin alone, which includes the WebSocket of
// that origin, run no inline script or style, and be framed by nobody.
const policy = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"

// types are the media types of the files; the system's own table is not asked.
var types = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
	".txt":  "text/plain; charset=utf-8",
}

// file is a file as it is served.
type file struct {
	mime         string
	plain, zip   []byte // zip is nil where it would not be smaller
	etag, zipTag string
}

// Handler serves the page at "/" and its parts below "/static/", to GET and HEAD; everything else is a
// problem document. All variants are made here, once: the handler does no I/O and never blocks.
func Handler() http.Handler {
	served, err := load(files)
	if err != nil {
		panic(err) // the files are part of the program
	}
	return handler(served)
}

// load makes all variants of all files, by URL path.
func load(from fs.FS) (map[string]file, error) {
	served := map[string]file{}
	err := fs.WalkDir(from, "static", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(from, name)
		if err != nil {
			return err
		}
		f, err := newFile(name, b)
		if err != nil {
			return err
		}
		if name == "static/index.html" {
			served["/"] = f // and nowhere else: its links are relative
			return nil
		}
		served["/"+name] = f
		return nil
	})
	return served, err
}

func newFile(name string, b []byte) (file, error) {
	kind, ok := types[path.Ext(name)]
	if !ok {
		return file{}, fmt.Errorf("web: no media type is known for %s", name)
	}
	sum := sha256.Sum256(b)
	tag := hex.EncodeToString(sum[:12])
	f := file{mime: kind, plain: b, etag: `"` + tag + `"`, zipTag: `"` + tag + `-gzip"`}
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return file{}, err
	}
	if _, err := w.Write(b); err != nil {
		return file{}, err
	}
	if err := w.Close(); err != nil {
		return file{}, err
	}
	if packed.Len() < len(b) {
		f.zip = packed.Bytes()
	}
	return f, nil
}

type handler map[string]file

func (s handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	f, ok := s[r.URL.Path]
	switch {
	case !ok:
		problem(w, http.StatusNotFound, "not_found", "Not found", fmt.Sprintf("there is no %.200q here; the page is at /", r.URL.Path))
		return
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		h.Set("Allow", "GET, HEAD")
		problem(w, http.StatusMethodNotAllowed, "method", "Not possible here", fmt.Sprintf("%.20s is not possible here; GET, HEAD is", r.Method))
		return
	}
	// Asked for each time, answered by a 304: after an upgrade of the gateway no old module meets a new one.
	h.Set("Cache-Control", "no-cache")
	h.Set("Content-Type", f.mime)
	h.Set("Vary", "Accept-Encoding")
	body, tag := f.plain, f.etag
	if f.zip != nil && acceptsGzip(r.Header.Values("Accept-Encoding")) {
		body, tag = f.zip, f.zipTag
		h.Set("Content-Encoding", "gzip")
		h.Set("Content-Length", strconv.Itoa(len(body))) // ServeContent leaves it out of what is encoded
	}
	h.Set("ETag", tag)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
}

// acceptsGzip tells whether gzip is named and not refused by a weight of 0.
func acceptsGzip(fields []string) bool {
	for _, part := range strings.Split(strings.Join(fields, ","), ",") {
		coding, params, _ := strings.Cut(part, ";")
		if coding = strings.TrimSpace(coding); !strings.EqualFold(coding, "gzip") && coding != "*" {
			continue
		}
		q, weighted := strings.CutPrefix(strings.TrimSpace(params), "q=")
		weight, err := strconv.ParseFloat(q, 64)
		return !weighted || err == nil && weight > 0
	}
	return false
}

// problem answers as the gateway does, with an RFC 9457 document.
func problem(w http.ResponseWriter, status int, code, title, detail string) {
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	b, err := json.Marshal(struct {
		Type   string `json:"type"`
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail"`
		Code   string `json:"code"`
	}{"urn:rexgate:problem:" + code, title, status, detail, code})
	if err != nil {
		return // strings and numbers always marshal
	}
	_, _ = w.Write(append(b, '\n')) // who has gone needs no answer
}
