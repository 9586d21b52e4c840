package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/queue"
)

const (
	outputRead   = 256 << 10        // bytes read from the store at once
	outputStuck  = 30 * time.Second // after which a reader that takes nothing is cut
	endlessRange = 1<<53 - 1        // last byte of a range of unknown end (RFC 8673)
)

// output serves raw output. Its bytes are what is stored, in order; what is known to be
// missing is told in headers.
func (g *Gateway) output(w http.ResponseWriter, r *http.Request, c caller) error {
	job, err := jobVar(r)
	if err != nil {
		return err
	}
	host, err := hostVar(r, "host")
	if err != nil {
		return err
	}
	q := parseQuery(r, []string{"stream", "follow"})
	o := outputAnswer{g: g, w: w, rc: http.NewResponseController(w), job: job, host: host}
	switch name := q.values.Get("stream"); name {
	case "":
		o.stream = queue.Both
	case "stdout":
		o.stream = queue.Stdout
	case "stderr":
		o.stream = queue.Stderr
	default:
		q.fail(invalid("stream: %.40q is neither stdout nor stderr; leave it out for both", name))
	}
	follow, _ := q.boolean("follow")
	follow = follow && r.Method != http.MethodHead
	if q.err != nil {
		return q.err
	}
	ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
	x, err := g.store.Execution(ctx, job, host)
	cancel()
	if err != nil {
		return err
	}
	if x.Output.Deleted {
		return refused(codeGone, "the output of %s has been deleted: it was kept as long as the retention says", x.ID())
	}
	total := size(x, o.stream)
	rng, err := parseRange(r.Header.Get("Range"), total, follow)
	if err != nil {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes */%d", total))
		return err
	}
	if follow {
		ctx, cancel := context.WithDeadline(r.Context(), c.operator.Expires)
		defer cancel()
		return o.follow(ctx, x, rng)
	}
	return o.once(r.Context(), x, rng, total, r.Method == http.MethodHead)
}

// size is how much is stored of a stream.
func size(x queue.Execution, s queue.Stream) int64 {
	switch s {
	case queue.Stdout:
		return x.Output.Stdout
	case queue.Stderr:
		return x.Output.Stderr
	}
	return x.Output.Stdout + x.Output.Stderr
}

// byteRange is what of the output is wanted.
type byteRange struct {
	given      bool
	start, end int64 // end is exclusive
}

// parseRange reads a Range header. Several ranges, and other units, are ignored, as
// HTTP allows. With follow only the start counts: the end isn't known.
func parseRange(header string, total int64, follow bool) (byteRange, error) {
	all := byteRange{end: total}
	spec, ok := strings.CutPrefix(header, "bytes=")
	if !ok || strings.Contains(spec, ",") {
		return all, nil
	}
	from, to, ok := strings.Cut(strings.TrimSpace(spec), "-")
	start, err1 := strconv.ParseInt(from, 10, 64)
	end, err2 := strconv.ParseInt(to, 10, 64)
	switch {
	case !ok || (from == "" && err2 != nil) || (from != "" && err1 != nil) || (to != "" && err2 != nil) || start < 0 || end < 0:
		return all, refused(codeRange, "Range: %.60q is not of the form bytes=FIRST-LAST", header)
	case follow && (from == "" || to != "" && end < endlessRange):
		return all, refused(codeRange, "Range: with follow only bytes=FIRST- is possible")
	case follow && start > total, !follow && from != "" && start >= total, from == "" && (end == 0 || total == 0):
		return all, refused(codeRange, "Range: %.60q begins beyond what is stored, %d bytes", header, total)
	case from == "":
		return byteRange{given: true, start: max(0, total-end), end: total}, nil
	case to == "" || end >= total:
		return byteRange{given: true, start: start, end: total}, nil
	case end < start:
		return all, refused(codeRange, "Range: %.60q ends before it begins", header)
	}
	return byteRange{given: true, start: start, end: end + 1}, nil
}

// outputAnswer writes the output of one execution.
type outputAnswer struct {
	g      *Gateway
	w      http.ResponseWriter
	rc     *http.ResponseController
	job    queue.JobID
	host   queue.HostID
	stream queue.Stream
	offset int64 // of the next byte to write
}

// header sets what both ways of answering have in common.
func (o *outputAnswer) header(x queue.Execution) http.Header {
	h := o.w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	h.Set("Cache-Control", "no-store")
	h.Set("Accept-Ranges", "bytes")
	facts(h, "", x)
	return h
}

// facts tells in headers or trailers what an execution's output is worth.
func facts(h http.Header, prefix string, x queue.Execution) {
	h.Set(prefix+api.OutputState, x.State.String())
	if x.Output.Dropped > 0 {
		h.Set(prefix+api.OutputTruncated, strconv.FormatInt(x.Output.Dropped, 10))
	}
	if x.Output.Gap > 0 {
		h.Set(prefix+api.OutputGap, strconv.FormatInt(x.Output.Gap, 10))
	}
}

// once writes what is stored now, or of it the header alone.
func (o *outputAnswer) once(ctx context.Context, x queue.Execution, rng byteRange, total int64, head bool) error {
	h := o.header(x)
	h.Set("Content-Length", strconv.FormatInt(rng.end-rng.start, 10))
	status := http.StatusOK
	if rng.given {
		status = http.StatusPartialContent
		h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", rng.start, rng.end-1, total))
	}
	if head {
		o.w.WriteHeader(status)
		return nil
	}
	// The first piece before the status, so that a store that fails gets its own answer.
	o.offset = rng.start
	piece, err := o.read(ctx, rng.end-o.offset)
	if err != nil {
		return o.unmade(err)
	}
	o.w.WriteHeader(status)
	for {
		if err := o.write(piece); err != nil {
			return nil // the reader has gone
		}
		if o.offset >= rng.end {
			return nil
		}
		if piece, err = o.read(ctx, rng.end-o.offset); err != nil || len(piece) == 0 {
			o.cut(err)
		}
	}
}

// unmade takes back what was set for an answer that isn't given.
func (o *outputAnswer) unmade(err error) error {
	for _, name := range []string{"Content-Length", "Content-Range", "Accept-Ranges", api.OutputState, api.OutputTruncated, api.OutputGap} {
		o.w.Header().Del(name)
	}
	return err
}

// follow writes what is stored and what comes, until the execution has ended.
func (o *outputAnswer) follow(ctx context.Context, x queue.Execution, rng byteRange) error {
	watcher, err := o.g.runs.Watch(x.ID())
	if err != nil {
		return err
	}
	defer watcher.Close()
	holding, cancel := o.g.holding(ctx, MaxFollow)
	defer cancel()
	h := o.header(x)
	status := http.StatusOK
	if rng.given {
		status = http.StatusPartialContent
		h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/*", rng.start, int64(endlessRange)))
	}
	o.offset = rng.start
	o.w.WriteHeader(status)
	for {
		if err := o.drain(holding); err != nil {
			return nil // the reader has gone
		}
		if x.State.Terminal() {
			if o.offset < size(x, o.stream) {
				o.cut(errors.New("the store has less than it said"))
			}
			facts(h, http.TrailerPrefix, x)
			return nil
		}
		next, err := watcher.Next(holding)
		switch {
		case holding.Err() != nil:
			o.cut(nil) // not a clean end: it would look as if all had been sent
		case queue.CodeOf(err) == queue.Unavailable || errors.Is(err, context.DeadlineExceeded):
			continue // what the store doesn't answer now it answers later
		case err != nil:
			o.cut(err)
		}
		x = next
	}
}

// MaxFollow bounds how long one request follows; it may be repeated from where it
// ended.
const MaxFollow = time.Hour

// outputAgain is the pause after a reading that the store didn't answer.
const outputAgain = time.Second

// drain writes all that is stored now, and flushes. Where the store doesn't answer it asks again until ctx ends: perhaps nothing
// changes any more that would be a reason to. Its error says that the reader has gone.
func (o *outputAnswer) drain(ctx context.Context) error {
	for {
		piece, err := o.read(ctx, outputRead)
		if queue.CodeOf(err) == queue.NotFound {
			o.cut(err) // deleted meanwhile
		}
		if err == nil && len(piece) > 0 {
			if err := o.write(piece); err != nil {
				return err
			}
			continue
		}
		if flushed := o.flush(); err == nil || flushed != nil {
			return flushed
		}
		again := time.NewTimer(outputAgain)
		select {
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
			return nil
		}
	}
}

// read gives the next bytes, at most limit; none if there are none yet.
func (o *outputAnswer) read(ctx context.Context, limit int64) ([]byte, error) {
	if limit <= 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	chunks, err := o.g.store.Output(ctx, queue.OutputQuery{
		// Not less than a chunk, whatever is wanted: an answer may be a gap alone where the
		// chunk behind it doesn't fit, and would look like the end.
		Job: o.job, Host: o.host, Stream: o.stream, Offset: o.offset, Limit: outputRead,
	})
	if err != nil {
		return nil, err
	}
	var piece []byte
	for _, c := range chunks {
		if len(c.Data) == 0 {
			continue // a gap: told in the headers
		}
		if c.Offset != o.offset+int64(len(piece)) {
			return nil, fmt.Errorf("output of %s.%s: a piece at %d where %d was due", o.job, o.host, c.Offset, o.offset+int64(len(piece)))
		}
		piece = append(piece, c.Data...)
	}
	if int64(len(piece)) > limit {
		piece = piece[:limit]
	}
	return piece, nil
}

func (o *outputAnswer) write(piece []byte) error {
	if err := o.rc.SetWriteDeadline(time.Now().Add(outputStuck)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	n, err := o.w.Write(piece)
	o.offset += int64(n)
	return err
}

func (o *outputAnswer) flush() error {
	if err := o.rc.SetWriteDeadline(time.Now().Add(outputStuck)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	if err := o.rc.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}

// cut ends an answer that has begun in a way that the reader notices.
func (o *outputAnswer) cut(err error) {
	if err != nil {
		o.g.log.Warn("an output was cut", "job", o.job, "host", o.host, "err", err)
	}
	panic(http.ErrAbortHandler)
}
