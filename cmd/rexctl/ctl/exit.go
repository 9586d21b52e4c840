package ctl

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/rexgate/rexgate/client/operator"
	"github.com/rexgate/rexgate/cmd/rexctl/safetext"
	"github.com/rexgate/rexgate/gateway/api"
)

// Exit statuses.
const (
	ExitOK          = 0
	ExitFailed      = 1 // some executions didn't succeed
	ExitUsage       = 2 // the command line, or it asks for what isn't there or can't be
	ExitServer      = 3 // the server can't be reached, or fails, or doesn't let one do it
	ExitDeadline    = 4
	ExitInterrupted = 130
)

// Error is an error with its exit status.
type Error struct {
	Status int
	Err    error // nil = everything has been said
}

func (e *Error) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit status %d", e.Status)
	}
	return e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// Usagef makes an error of the command line.
func Usagef(format string, args ...any) error {
	return &Error{Status: ExitUsage, Err: fmt.Errorf(format, args...)}
}

// Causes of a context's end.
var (
	errInterrupted = errors.New("interrupted")
	errDeadline    = errors.New("deadline passed")
)

// Interruptible gives a context that ends at SIGINT or SIGTERM, the first of them;
// the second ends the process. stop must be called.
func Interruptible(parent context.Context) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-signals:
			signal.Stop(signals)
			cancel(errInterrupted)
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		cancel(nil)
		<-done
		signal.Stop(signals)
	}
}

// asked tells whether a problem lies in what was asked for: asked again, it would be refused again. What
// isn't there counts, whether it is named (a job, a host) or described (a selector).
func asked(code string) bool {
	switch code {
	case "invalid", "too_large", "not_found", "conflict":
		return true
	}
	return false
}

// StatusOf gives the exit status of an error.
func StatusOf(err error) int {
	var (
		e *Error
		p *api.Problem
	)
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, &e):
		return e.Status
	case errors.Is(err, errInterrupted) || errors.Is(err, context.Canceled):
		return ExitInterrupted
	case errors.Is(err, errDeadline):
		return ExitDeadline
	case errors.As(err, &p) && asked(p.Code):
		return ExitUsage
	}
	return ExitServer
}

// Finish says what err says, if that wasn't done yet, and gives the exit status.
func Finish(stderr io.Writer, program string, err error) int {
	status := StatusOf(err)
	var e *Error
	if err == nil || errors.As(err, &e) && e.Err == nil {
		return status
	}
	if status == ExitInterrupted {
		fmt.Fprintf(stderr, "%s: interrupted\n", program)
		return status
	}
	fmt.Fprintf(stderr, "%s: %s\n", program, Explain(err))
	return status
}

// Explain is the text of an error with what to do about it. It is safe to show.
func Explain(err error) string {
	text := safetext.Line(err.Error())
	var (
		p    *api.Problem
		cert *tls.CertificateVerificationError
	)
	switch {
	case errors.As(err, &cert):
		return text + "; if it is the right server, give its CA with --ca"
	case errors.Is(err, operator.ErrUnreachable):
		return text + "; is it running, and is --server right?"
	}
	if !errors.As(err, &p) {
		return text
	}
	if missing := missingItems(p); len(missing) > 0 {
		text += ": " + strings.Join(missing, ", ")
	}
	switch {
	case p.Status == 401:
		text += "; give a valid token with --token-file (rexgate token operator makes one)"
	}
	return text
}

// missingItems gives the items that the problem's text doesn't name.
func missingItems(p *api.Problem) []string {
	words := strings.FieldsFunc(p.Detail, func(r rune) bool { return strings.ContainsRune(" \t\",:;", r) })
	var out []string
	for _, it := range p.Items {
		if !slices.Contains(words, it) {
			out = append(out, safetext.Line(it))
		}
	}
	return out
}
