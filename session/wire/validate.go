package wire

import (
	"fmt"
	"strings"
)

// Decode calls validate on what it has read, so that no message with a field out
// of bounds gets further.

func (m *Hello) validate() error {
	if err := words(
		word{"agent_version", m.AgentVersion, true}, word{"boot_id", m.BootID, true},
		word{"generation", m.Generation, false}, word{"nonce", m.Nonce, false},
	); err != nil {
		return err
	}
	if err := numbers(number{"position", m.Position, 0, MaxNumber}, number{"after", m.After, 0, MaxNumber}); err != nil {
		return err
	}
	if len(m.Slots) > MaxLanes {
		return fmt.Errorf("slots: %d lanes, at most %d", len(m.Slots), MaxLanes)
	}
	for lane, n := range m.Slots {
		if !validLane(lane) {
			return fmt.Errorf("slots: lane %.40q is not 1 to 32 characters of [a-z0-9-]", lane)
		}
		if n < 0 || n > MaxSlots {
			return fmt.Errorf("slots: %d of lane %s, 0 to %d are possible", n, lane, MaxSlots)
		}
	}
	size := 0
	for k, v := range m.Facts {
		if k == "" || len(k) > MaxFact {
			return fmt.Errorf("facts: name %.40q is not 1 to %d bytes", k, MaxFact)
		}
		size += len(k) + len(v) + 6
	}
	if size > MaxFacts {
		return fmt.Errorf("facts: %d bytes, at most %d", size, MaxFacts)
	}
	if len(m.Executions) > MaxInHand {
		return fmt.Errorf("executions: %d in hand, at most %d", len(m.Executions), MaxInHand)
	}
	seen := make(map[string]struct{}, len(m.Executions))
	for _, x := range m.Executions {
		if err := x.validate(); err != nil {
			return fmt.Errorf("executions: %w", err)
		}
		if _, ok := seen[x.Execution]; ok {
			return fmt.Errorf("executions: %s is named twice", x.Execution)
		}
		seen[x.Execution] = struct{}{}
	}
	return nil
}

func (x InHand) validate() error {
	if err := execution(x.Execution); err != nil {
		return err
	}
	if err := words(word{"token", x.Token, true}); err != nil {
		return err
	}
	return numbers(number{"seq", x.Seq, 0, MaxNumber})
}

func (m *Accepted) validate() error {
	if err := event(m.Execution, m.Seq, 1, 1, m.At); err != nil {
		return err
	}
	if err := words(word{"token", m.Token, false}); err != nil {
		return err
	}
	return numbers(number{"position", m.Position, 0, MaxNumber})
}

func (m *Rejected) validate() error {
	if err := event(m.Execution, m.Seq, 1, 2, m.At); err != nil {
		return err
	}
	return words(word{"token", m.Token, false})
}

func (m *Started) validate() error { return event(m.Execution, m.Seq, 2, MaxNumber, m.At) }

func (m *Output) validate() error {
	if err := event(m.Execution, m.Seq, 2, MaxNumber, m.At); err != nil {
		return err
	}
	if m.Stream != Stdout && m.Stream != Stderr {
		return fmt.Errorf("stream %.40q is neither stdout nor stderr", m.Stream)
	}
	if m.Text != "" && len(m.Data) > 0 {
		return fmt.Errorf("both text and b64 are set")
	}
	if n := len(m.Text) + len(m.Data); n < 1 || n > MaxChunk {
		return fmt.Errorf("%d bytes of output, 1 to %d are possible", n, MaxChunk)
	}
	return nil
}

func (m *Gap) validate() error {
	if err := event(m.Execution, m.Seq, 2, MaxNumber, m.At); err != nil {
		return err
	}
	return numbers(number{"through", m.Through, m.Seq, MaxNumber}, number{"bytes", m.Bytes, 0, MaxNumber})
}

func (m *Finished) validate() error {
	if err := event(m.Execution, m.Seq, 2, MaxNumber, m.At); err != nil {
		return err
	}
	switch m.Outcome {
	case Succeeded, Failed, TimedOut, Cancelled, Lost:
	default:
		return fmt.Errorf("outcome %.40q is none of succeeded, failed, timed_out, cancelled, lost", m.Outcome)
	}
	if len(m.Signal) > MaxSignal {
		return fmt.Errorf("signal: %d bytes, at most %d", len(m.Signal), MaxSignal)
	}
	return numbers(number{"exit_code", int64(m.ExitCode), -1, 1<<32 - 1}, number{"dropped", m.Dropped, 0, MaxNumber})
}

// What a gateway sends is checked where a host would act on it.

func (m *Job) validate() error {
	if err := execution(m.Execution); err != nil {
		return err
	}
	s := &m.Spec
	sources := 0
	for _, set := range []bool{s.Script != "", len(s.ScriptBase64) > 0, s.ScriptURL != ""} {
		if set {
			sources++
		}
	}
	if sources != 1 {
		return fmt.Errorf("spec: %d of script, script_b64 and script_url are set, one must be", sources)
	}
	if s.ScriptURL != "" && (!strings.HasPrefix(s.ScriptURL, "/") || strings.HasPrefix(s.ScriptURL, "//")) {
		return fmt.Errorf("spec: script_url %.100q is not a path on the gateway's own origin", s.ScriptURL)
	}
	return numbers(number{"n", m.N, 1, MaxNumber}, number{"script_size", s.ScriptSize, 1, MaxNumber},
		number{"run_timeout", s.RunTimeout, 1, MaxNumber}, number{"grace", s.Grace, 0, MaxNumber},
		number{"output_limit", s.OutputLimit, 0, MaxNumber})
}

func (m *Ack) validate() error { return execution(m.Execution) }

func (m *Cancel) validate() error {
	if err := execution(m.Execution); err != nil {
		return err
	}
	return numbers(number{"n", m.N, 1, MaxNumber}, number{"grace", m.Grace, 0, MaxNumber})
}

type word struct {
	name, value string
	optional    bool
}

// words checks identifiers: visible ASCII, so that they can be logged and
// compared by byte.
func words(ws ...word) error {
	for _, w := range ws {
		if w.value == "" && !w.optional {
			return fmt.Errorf("%s is missing", w.name)
		}
		if len(w.value) > MaxWord {
			return fmt.Errorf("%s: %d bytes, at most %d", w.name, len(w.value), MaxWord)
		}
		for i := range len(w.value) {
			if c := w.value[i]; c < ' ' || c > '~' {
				return fmt.Errorf("%s: %.40q is not visible ASCII", w.name, w.value)
			}
		}
	}
	return nil
}

type number struct {
	name         string
	v, low, high int64
}

func numbers(ns ...number) error {
	for _, n := range ns {
		if n.v < n.low || n.v > n.high {
			return fmt.Errorf("%s: %d is not within %d to %d", n.name, n.v, n.low, n.high)
		}
	}
	return nil
}

// event checks what all events have. 1 is accepted or rejected, so that the others
// begin at 2.
func event(id string, seq, minSeq, maxSeq, at int64) error {
	if err := execution(id); err != nil {
		return err
	}
	return numbers(number{"seq", seq, minSeq, maxSeq}, number{"at", at, 0, MaxTime})
}

const (
	jobLen  = 26  // characters of a job id
	hostLen = 128 // of a host id, at most
)

// execution checks the shape "<job>.<host>"; the ids are the store's.
func execution(id string) error {
	if len(id) < jobLen+2 || len(id) > jobLen+1+hostLen || id[jobLen] != '.' {
		return fmt.Errorf("execution %.180q is not <job>.<host>", id)
	}
	for i := range jobLen {
		if c := id[i]; !(c >= '0' && c <= '9' || c >= 'a' && c <= 'v') {
			return fmt.Errorf("execution %.180q does not begin with a job id", id)
		}
	}
	for i := jobLen + 1; i < len(id); i++ {
		c := id[i]
		letter := c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		if !letter && (i == jobLen+1 || c != '.' && c != '_' && c != '-') {
			return fmt.Errorf("execution %.180q does not end with a host id", id)
		}
	}
	return nil
}

func validLane(s string) bool {
	if len(s) < 1 || len(s) > 32 || s[0] == '-' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-') {
			return false
		}
	}
	return true
}
