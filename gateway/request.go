package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gorilla/mux"

	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/queue"
)

// Bounds of requests.
const (
	maxSubmitBody  = 16 << 20 // a script with all its bytes escaped, or half a million names of hosts
	maxBody        = 64 << 10
	largeBody      = 256 << 10
	maxLargeBodies = 8
	bodyTimeout    = time.Minute
	maxDiscard     = 64 << 20 // of a body that was too large
	discardTimeout = 10 * time.Second
)

// decode reads a JSON body strictly into out: unknown fields, wrong types and anything
// after the value are errors that name the place. An empty body is an error
// unless optional.
func (g *Gateway) decode(w http.ResponseWriter, r *http.Request, max int64, optional bool, out any) error {
	body, err := g.readBody(w, r, max)
	if err != nil {
		return err
	}
	if len(bytes.TrimSpace(body)) == 0 {
		if optional {
			return nil
		}
		return invalid("the body is empty; a JSON object is needed")
	}
	if n := len(r.Header.Values("Content-Type")); n > 1 {
		return refused(codeMediaType, "Content-Type is given %d times; send application/json once", n)
	}
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return refused(codeMediaType, "the body's Content-Type is %.60q; send application/json", r.Header.Get("Content-Type"))
	}
	if !utf8.Valid(body) {
		// The decoder would replace what isn't UTF-8, and change a script thereby.
		return invalid("the body isn't valid UTF-8; a script that isn't goes into script_b64")
	}
	return decodeStrict(body, out)
}

func (g *Gateway) readBody(w http.ResponseWriter, r *http.Request, max int64) ([]byte, error) {
	if r.ContentLength > max {
		return nil, refused(codeTooLarge, "the body has %d bytes, at most %d", r.ContentLength, max)
	}
	if max > largeBody && (r.ContentLength < 0 || r.ContentLength > largeBody) {
		select {
		case g.bodies <- struct{}{}:
			defer func() { <-g.bodies }()
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	rc := http.NewResponseController(w)
	if err := rc.SetReadDeadline(time.Now().Add(bodyTimeout)); err == nil {
		defer func() { _ = rc.SetReadDeadline(time.Time{}) }()
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, max))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return nil, refused(codeTooLarge, "the body has more than %d bytes", max)
	}
	if err != nil {
		return nil, invalid("the body was cut: %w", err)
	}
	return body, nil
}

// discard reads the rest of a body, within bounds. It does so before the answer, at which
// some clients stop in mid-body without a word.
func discard(w http.ResponseWriter, body io.Reader) {
	if http.NewResponseController(w).SetReadDeadline(time.Now().Add(discardTimeout)) == nil {
		_, _ = io.CopyN(io.Discard, body, maxDiscard) // the answer is the same however it ends
	}
}

func decodeStrict(body []byte, out any) error {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(out); err != nil {
		return jsonError(body, out, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return invalid("the body goes on after the JSON object")
	}
	return checkKeys(body, "", fieldsOf(out))
}

// fieldsOf gives the names of a request's fields.
func fieldsOf(request any) map[string]bool {
	t := reflect.TypeOf(request).Elem()
	names := make(map[string]bool, t.NumField())
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		names[name] = true
	}
	return names
}

// checkKeys refuses what the decoder lets pass: a field in other case, and a key
// that is given twice, of which the last would win. text is valid; known names its keys,
// nil = any.
func checkKeys(text []byte, path string, known map[string]bool) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return err
	}
	seen := map[string]bool{}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return err
		}
		key, _ := t.(string) // the decoder took it for an object, whose keys are strings
		if known != nil && !known[key] {
			return invalid("unknown field %.100q", key)
		}
		if seen[key] {
			return invalid("%.200s: given twice", path+key)
		}
		seen[key] = true
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return err
		}
		if len(value) > 0 && value[0] == '{' {
			if err := checkKeys(value, path+key+".", nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// jsonError words a decoder's error, with the field where it is.
func jsonError(body []byte, out any, err error) error {
	var (
		syntax *json.SyntaxError
		typ    *json.UnmarshalTypeError
	)
	switch {
	case errors.As(err, &syntax):
		return invalid("the body is not JSON: %v at byte %d", syntax, syntax.Offset)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return invalid("the body is not JSON: it ends too early")
	case errors.As(err, &typ) && typ.Field != "":
		return invalid("%.100s: is a JSON %s, which doesn't fit", typ.Field, typ.Value)
	case errors.As(err, &typ):
		return invalid("the body is a JSON %s; an object is needed", typ.Value)
	}
	if field, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return invalid("unknown field %.100s", field)
	}
	// What a field's own type says doesn't name the field: find it.
	var fields map[string]json.RawMessage
	if json.Unmarshal(body, &fields) == nil {
		for name, value := range fields {
			one, merr := json.Marshal(map[string]json.RawMessage{name: value})
			if merr == nil && json.Unmarshal(one, out) != nil {
				return invalid("%.100s: %w", name, err)
			}
		}
	}
	return invalid("the body doesn't fit: %w", err)
}

// writeJSON answers with JSON.
func writeJSON(w http.ResponseWriter, status int, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(b)+1))
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // who has gone needs no answer
	return nil
}

// query reads a request's parameters. The first thing that is wrong is kept in
// err.
type query struct {
	values url.Values
	err    error
}

// parseQuery refuses parameters that the route doesn't know: a misspelt filter must not
// give everything.
func parseQuery(r *http.Request, known []string) *query {
	values, err := url.ParseQuery(r.URL.RawQuery)
	q := &query{values: values}
	if err != nil {
		q.err = invalid("the query can't be read: %w", err)
		return q
	}
	for name, v := range values {
		if !slices.Contains(known, name) {
			q.err = invalid("unknown parameter %.60q; known: %s", name, strings.Join(known, " "))
			return q
		}
		if len(v) > 1 && name != "state" && name != "topic" {
			q.err = invalid("%s: given %d times", name, len(v))
			return q
		}
	}
	return q
}

func (q *query) fail(err error) {
	if q.err == nil && err != nil {
		q.err = err
	}
}

// cursor gives ?after=.
func (q *query) cursor() string {
	v := q.values.Get("after")
	if len(v) > maxCursor {
		q.fail(invalid("after: %d bytes; not a cursor of this listing", len(v)))
	}
	return v
}

const maxCursor = 1024

func (q *query) integer(name string, def, least, most int) int {
	v := q.values.Get(name)
	if v == "" {
		return def
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < least || n > most {
		q.fail(invalid("%s: %.40q is not a number within %d to %d", name, v, least, most))
	}
	return n
}

func (q *query) boolean(name string) (value, given bool) {
	v := q.values.Get(name)
	if v == "" {
		return false, false
	}
	b, err := strconv.ParseBool(v)
	if err != nil {
		q.fail(invalid("%s: %.40q is neither true nor false", name, v))
	}
	return b, true
}

func (q *query) duration(name string, most time.Duration) time.Duration {
	v := q.values.Get(name)
	if v == "" {
		return 0
	}
	var d api.Duration
	if err := d.UnmarshalText([]byte(v)); err != nil {
		q.fail(invalid("%s: %w", name, err))
		return 0
	}
	if time.Duration(d) < 0 || time.Duration(d) > most {
		q.fail(invalid("%s: %v is not within 0s to %v", name, time.Duration(d), most))
	}
	return time.Duration(d)
}

// states gives ?state=, repeated or joined by commas.
func (q *query) states() []queue.State {
	var names []string
	for _, v := range q.values["state"] {
		if v != "" {
			names = append(names, strings.Split(v, ",")...)
		}
	}
	states, err := parseStates(names)
	q.fail(err)
	return states
}

func parseStates(names []string) ([]queue.State, error) {
	var states []queue.State
	for _, name := range names {
		s, err := queue.ParseState(name)
		if err != nil {
			all := queue.States()
			known := make([]string, len(all))
			for i, s := range all {
				known[i] = s.String()
			}
			return nil, invalid("state: %.40q is unknown; known: %s", name, strings.Join(known, " "))
		}
		if !slices.Contains(states, s) {
			states = append(states, s)
		}
	}
	return states, nil
}

func jobVar(r *http.Request) (queue.JobID, error) {
	id := queue.JobID(mux.Vars(r)["id"])
	return id, id.Validate()
}

func hostVar(r *http.Request, name string) (queue.HostID, error) {
	id := queue.HostID(mux.Vars(r)[name])
	return id, id.Validate()
}
