package queue

// Validate tells what is wrong with an event by itself, whatever is stored:
// Invalid. Its execution's id is checked by HostEvents.Validate.
func (e *Event) Validate() error {
	bad := func(format string, args ...any) error {
		return Errorf(Invalid, "event %d of %.180q (%.20q): "+format, append([]any{e.Seq, string(e.Execution), string(e.Kind)}, args...)...)
	}
	if e.Seq < 1 {
		return bad("events are numbered from 1")
	}
	switch e.Kind {
	case EventAccepted:
		if e.Seq != 1 {
			return bad("accepted is event 1")
		}
		return nil
	case EventRejected:
		if e.Seq > 2 {
			return bad("rejected is event 1, or 2 after accepted")
		}
		return nil
	}
	if e.Seq == 1 {
		return bad("event 1 is accepted or rejected")
	}
	switch e.Kind {
	case EventStarted:
	case EventOutput:
		if e.Stream != Stdout && e.Stream != Stderr {
			return bad("stream %d is neither stdout nor stderr", e.Stream)
		}
		if len(e.Data) == 0 || len(e.Data) > MaxChunk {
			return bad("%d bytes of output, 1 to %d are possible", len(e.Data), MaxChunk)
		}
	case EventGap:
		if e.Through < e.Seq || e.Bytes < 0 {
			return bad("a gap through %d of %d bytes", e.Through, e.Bytes)
		}
	case EventFinished:
		switch e.Outcome {
		case Succeeded, Failed, TimedOut, Cancelled, Lost:
		default:
			return bad("a host doesn't report %v", e.Outcome)
		}
		if e.Dropped < 0 {
			return bad("%d bytes dropped", e.Dropped)
		}
	default:
		return bad("unknown kind")
	}
	return nil
}

// Validate tells what is wrong with a batch, whatever is stored: Invalid, or
// Forbidden for an execution of another host.
func (h *HostEvents) Validate() error {
	for i := range h.Events {
		e := &h.Events[i]
		_, host, err := e.Execution.Split()
		if err != nil {
			return err
		}
		if host != h.Host {
			return Errorf(Forbidden, "event %d of %.180q: the execution isn't one of host %s", e.Seq, string(e.Execution), h.Host)
		}
		if err := e.Validate(); err != nil {
			return err
		}
	}
	return nil
}
