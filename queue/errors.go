package queue

import (
	"errors"
	"fmt"
	"time"
)

// Code classifies an [Error]. Codes are few: a caller acts on the code, a
// person reads the message.
type Code string

// The codes, with what a caller does about each.
const (
	Invalid     Code = "invalid"     // the input is wrong; don't repeat it
	NotFound    Code = "not_found"   // no such job, host, execution or token
	Conflict    Code = "conflict"    // the idempotency key, id or token use is taken by something else
	Full        Code = "full"        // the store is near its room; retry later
	Superseded  Code = "superseded"  // another session owns the host, or the incarnation is old; say hello anew
	Duplicate   Code = "duplicate"   // two machines claim one identity; an operator must resolve it
	Forbidden   Code = "forbidden"   // the host may not do this (revoked, or not its execution)
	Unavailable Code = "unavailable" // the store can't be reached; retry later
)

// Error is the one error type of the domain and its stores.
type Error struct {
	Code    Code
	Message string        // what, where, and what to do; includes the cause's text
	Items   []string      // the offending names, e.g. unknown hosts; at most 20
	Retry   time.Duration // for Full and Unavailable: come back after; 0 if unknown
	Err     error         // cause, if any, for errors.Is and errors.As
}

func (e *Error) Error() string { return e.Message }

func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an Error whose message is the formatted text; a %w in the
// format is unwrapped to.
func Errorf(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Message: err.Error(), Err: errors.Unwrap(err)}
}

// CodeOf gives the code of an error, or "" for nil and foreign errors.
func CodeOf(err error) Code {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}
