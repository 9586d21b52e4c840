package redisqueue

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rexgate/rexgate/queue"
)

// How soon callers are told to come back.
const (
	retrySoon = time.Second
	retryFull = 30 * time.Second
)

// failed makes a *queue.Error of what a client or a script returned. Scripts
// answer "REX <code> <text>"; all else is the store not doing its part.
func failed(op string, err error) error {
	if err == nil {
		return nil
	}
	var qe *queue.Error
	if errors.As(err, &qe) {
		return err
	}
	if text, ok := strings.CutPrefix(err.Error(), "REX "); ok {
		code, text, _ := strings.Cut(text, " ")
		return &queue.Error{Code: queue.Code(code), Message: text}
	}
	retry := retrySoon
	if redis.IsOOMError(err) {
		retry = retryFull
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		retry = 0
	}
	return &queue.Error{Code: queue.Unavailable, Message: "redis: " + op + ": " + err.Error(), Retry: retry, Err: err}
}

// about says of what an error is.
func about(subject string, err error) error {
	var qe *queue.Error
	if err == nil || !errors.As(err, &qe) || qe.Code == queue.Unavailable {
		return err
	}
	e := *qe
	e.Message = subject + ": " + qe.Message
	return &e
}

// passing tells whether a command failed only because its slot is on its way to
// another node, or its node was left behind by the client's map.
func passing(err error) bool {
	if err == nil {
		return false
	}
	return redis.HasErrorPrefix(err, "TRYAGAIN") || redis.HasErrorPrefix(err, "ASK ") || redis.HasErrorPrefix(err, "MOVED ")
}

func noFunction(err error) bool { return redis.HasErrorPrefix(err, "Function not found") }

func noJob(id queue.JobID) error { return queue.Errorf(queue.NotFound, "no job %s", id) }

func isNil(err error) bool { return errors.Is(err, redis.Nil) }
