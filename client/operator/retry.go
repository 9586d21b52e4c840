package operator

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/rexgate/rexgate/gateway/api"
)

// The pauses between repetitions: drawn from the whole window, which doubles up
// to maxPause.
const (
	firstPause = 200 * time.Millisecond
	maxPause   = 10 * time.Second
)

// backoff paces repetitions. The zero value is ready.
type backoff struct{ tries int }

// next gives the pause before the next try: at least what the server asked for.
func (b *backoff) next(retryAfter time.Duration) time.Duration {
	window := min(maxPause, firstPause<<min(b.tries, 10))
	b.tries++
	return retryAfter + rand.N(window) + window/10
}

// sleep waits, or gives the context's error.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// failure is an error of one try.
type failure struct {
	err        error
	retryAfter time.Duration
	// answered: the server answered, so that it is known not to have done it.
	answered bool
	// final: trying again can't help.
	final bool
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// worthRetry tells whether a status may be another one soon.
func worthRetry(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// finalTransport tells of errors of the transport that stay.
func finalTransport(err error) bool {
	var (
		unknown *x509.UnknownAuthorityError
		verify  *tls.CertificateVerificationError
		record  *tls.RecordHeaderError
	)
	return errors.As(err, &unknown) || errors.As(err, &verify) || errors.As(err, &record) ||
		errors.Is(err, http.ErrSchemeMismatch)
}

// parseRetryAfter reads seconds or a date. Nonsense is 0, and more than an hour is an hour.
func parseRetryAfter(v string, now time.Time) time.Duration {
	if v == "" {
		return 0
	}
	d := time.Duration(0)
	if s, err := strconv.Atoi(v); err == nil {
		d = time.Duration(min(max(s, 0), 3600)) * time.Second
	} else if at, err := http.ParseTime(v); err == nil {
		d = at.Sub(now)
	}
	return min(max(d, 0), time.Hour)
}

// retry calls try until it succeeds, fails for good, or RetryFor is over. lost
// tells try that an earlier try may have been carried out without its answer arriving.
func (c *Client) retry(ctx context.Context, try func(lost bool) *failure) error {
	var (
		b    backoff
		end  = time.Now().Add(c.opt.RetryFor)
		lost = false
	)
	for {
		f := try(lost)
		if f == nil {
			return nil
		}
		if ctx.Err() != nil {
			return &canceled{cause: context.Cause(ctx), err: f.err}
		}
		pause := b.next(f.retryAfter)
		if f.final || time.Now().Add(pause).After(end) {
			return f.err
		}
		lost = lost || !f.answered
		if err := sleep(ctx, pause); err != nil {
			return &canceled{cause: err, err: f.err}
		}
	}
}

// canceled is what a call gives whose context ended: the context's error, and
// the last failure.
type canceled struct{ cause, err error }

func (e *canceled) Error() string   { return e.err.Error() }
func (e *canceled) Unwrap() []error { return []error{e.cause, e.err} }

// IsProblem tells whether err is the server's answer with this code.
func IsProblem(err error, code string) bool {
	var p *api.Problem
	return errors.As(err, &p) && p.Code == code
}
