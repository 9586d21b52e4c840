package operator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/rexgate/rexgate/gateway/api"
)

// The streams of an execution's output.
const (
	Both   = "" // in order of arrival
	Stdout = "stdout"
	Stderr = "stderr"
)

// OutputRequest says which output is wanted.
type OutputRequest struct {
	Job    string
	Host   string
	Stream string // Stdout, Stderr or Both
	Offset int64  // first byte wanted, counted in the bytes of the stream
	// Follow goes on until the execution has ended, instead of ending with what is stored now.
	Follow bool
	// Trouble, if set, is called with each error that is endured, and with nil
	// when output arrives again.
	Trouble func(error)
}

// CopyOutput writes output to w as it comes and returns the number of bytes written. A
// connection that is cut is resumed where it broke, without a byte lost or
// doubled, for up to Options.Patience. An error of w ends it, and is given as it is.
func (c *Client) CopyOutput(ctx context.Context, w io.Writer, r OutputRequest) (int64, error) {
	if r.Trouble == nil {
		r.Trouble = func(error) {}
	}
	var (
		offset = r.Offset
		ended  = false // the execution had ended before the last read began
		p      = patience{limit: c.opt.Patience}
	)
	for {
		n, quiet, f := c.readOutput(ctx, w, r, offset)
		offset += n
		if f == nil {
			if !r.Follow {
				return offset - r.Offset, nil
			}
			// A clean end is believed when the execution has ended: a server that goes away
			// and a proxy's time limit look the same.
			if ended && n == 0 {
				return offset - r.Offset, nil
			}
			var x api.Execution
			f = c.try(ctx, request{method: "GET", path: []string{"jobs", r.Job, "executions", r.Host}}, &x)
			if f == nil {
				ended = x.FinishedAt != nil
				if ended && offset >= stored(x, r.Stream) {
					return offset - r.Offset, nil
				}
				if ended || quiet || n > 0 {
					p = patience{limit: c.opt.Patience}
					continue
				}
				f = &failure{err: errors.New("the server ended the output early"), answered: true}
			}
		}
		if n > 0 {
			if p.troubled() {
				r.Trouble(nil)
			}
			p = patience{limit: c.opt.Patience}
		}
		if ctx.Err() != nil {
			return offset - r.Offset, &canceled{cause: context.Cause(ctx), err: f.err}
		}
		pause, over := p.next(f)
		if over {
			return offset - r.Offset, f.err
		}
		if n == 0 {
			r.Trouble(f.err)
		} else if f.retryAfter == 0 {
			continue // it was just there: resume at once
		}
		if err := sleep(ctx, pause); err != nil {
			return offset - r.Offset, &canceled{cause: err, err: f.err}
		}
	}
}

// stored is how many bytes of a stream there are.
func stored(x api.Execution, stream string) int64 {
	switch stream {
	case Stdout:
		return x.Output.Stdout
	case Stderr:
		return x.Output.Stderr
	}
	return x.Output.Stdout + x.Output.Stderr
}

// errQuiet ends a read that brought nothing for a while.
var errQuiet = errors.New("silence")

// readOutput writes what one answer gives from an offset on. No failure means that the
// answer was complete, or ended for being quiet.
func (c *Client) readOutput(ctx context.Context, w io.Writer, r OutputRequest, offset int64) (n int64, quiet bool, f *failure) {
	// A script may be quiet, and a connection may die without a word: both end the request.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(c.opt.Silence, func() { cancel(errQuiet) })
	defer silence.Stop()
	n, f = c.readAnswer(ctx, w, r, offset, func() { silence.Reset(c.opt.Silence) })
	if f != nil && !f.final && r.Follow && context.Cause(ctx) == errQuiet {
		return n, true, nil
	}
	return n, false, f
}

func (c *Client) readAnswer(ctx context.Context, w io.Writer, r OutputRequest, offset int64, alive func()) (int64, *failure) {
	q := url.Values{}
	if r.Stream != Both {
		q.Set("stream", r.Stream)
	}
	if r.Follow {
		q.Set("follow", "true")
	}
	h := http.Header{"Accept-Encoding": {"identity"}} // else ranges would count compressed bytes
	if offset > 0 {
		h.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	req := request{method: "GET", path: []string{"jobs", r.Job, "executions", r.Host, "output"}, query: q}
	resp, f := c.send(ctx, req, h)
	if f != nil {
		return 0, f
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		return 0, nil // nothing there yet
	case resp.StatusCode >= 300:
		return 0, c.refusal(req, resp)
	case strings.HasPrefix(mediaType(resp), "text/html"):
		return 0, &failure{answered: true, final: true, err: c.stranger(req, resp, mediaType(resp))}
	}
	skip, err := toSkip(resp, offset)
	if err != nil {
		return 0, &failure{answered: true, final: true, err: fmt.Errorf("%s: %w", &req, err)}
	}
	n, err := copyBody(w, resp.Body, skip, alive)
	var we *writeError
	switch {
	case errors.As(err, &we):
		return n, &failure{final: true, err: we.err}
	case err != nil:
		return n, &failure{err: fmt.Errorf("%s was cut after %d bytes: %w", &req, n, err)}
	}
	return n, nil
}

// toSkip is how many bytes of the answer are before the offset that was asked for.
func toSkip(resp *http.Response, offset int64) (int64, error) {
	if resp.StatusCode != http.StatusPartialContent {
		return offset, nil
	}
	cr := resp.Header.Get("Content-Range")
	if cr == "" {
		return 0, nil // of a stream without an end: as asked for
	}
	first, _, _ := strings.Cut(strings.TrimPrefix(cr, "bytes "), "-")
	from, err := strconv.ParseInt(first, 10, 64)
	if err != nil || from > offset || from < 0 {
		return 0, fmt.Errorf("asked for output from byte %d on, got the range %q", offset, cr)
	}
	return offset - from, nil
}

type writeError struct{ err error }

func (e *writeError) Error() string { return e.err.Error() }

// copyBody copies without the first skip bytes; alive is called after each read and each
// write, so that a slow reader isn't taken for a silent server.
func copyBody(w io.Writer, body io.Reader, skip int64, alive func()) (int64, error) {
	buf := make([]byte, 32<<10)
	var written int64
	for {
		n, err := body.Read(buf)
		alive()
		data := buf[:n]
		if skip > 0 {
			cut := min(skip, int64(n))
			data, skip = data[cut:], skip-cut
		}
		if len(data) > 0 {
			m, werr := w.Write(data)
			written += int64(m)
			if werr != nil {
				return written, &writeError{werr}
			}
			alive()
		}
		if err == io.EOF {
			return written, nil
		}
		if err != nil {
			return written, err
		}
	}
}
