package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/rexgate/rexgate/session/wire"
)

// Script fetches a script that is too large to travel within its job: path and
// size as the job gives them. It tries the gateway in use, then the others, once each, and blocks until
// one has given it or ctx ends. The caller checks the digest. It may be called
// concurrently, also while the link runs.
func (l *Link) Script(ctx context.Context, path string, size int64) ([]byte, error) {
	using := l.Status().Gateway
	eps := slices.Clone(l.endpoints)
	slices.SortStableFunc(eps, func(a, b *endpoint) int {
		switch using {
		case b.url:
			return 1
		case a.url:
			return -1
		}
		return 0
	})
	var errs []error
	for _, ep := range eps {
		script, err := l.script(ctx, ep, path, size)
		if err == nil {
			return script, nil
		}
		errs = append(errs, fmt.Errorf("fetch a script from %s: %w", ep.url, err))
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(errs...)
}

func (l *Link) script(ctx context.Context, ep *endpoint, path string, size int64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.Timing.Request)
	defer cancel()
	// An answer that says no may be longer than the script.
	most := max(size, wire.MaxFrame)
	get := func() (answer, error) {
		token, err := l.cfg.Identity.Token()
		if err != nil {
			return answer{}, fmt.Errorf("sign a token: %w", err)
		}
		return sendUpTo(ctx, ep, token, http.MethodGet, path, nil, most)
	}
	a, err := get()
	if err == nil && a.status == http.StatusUnauthorized && learnTime(l.cfg.Identity, a.header, a.problem) {
		a, err = get()
	}
	switch {
	case err != nil:
		return nil, err
	case a.status != http.StatusOK:
		return nil, a.err()
	case int64(len(a.body)) != size:
		return nil, fmt.Errorf("%d bytes came, the job says %d", len(a.body), size)
	}
	return a.body, nil
}
