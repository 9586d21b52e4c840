package wire

// Subprotocol is the WebSocket subprotocol of this encoding.
const Subprotocol = "rexgate.v1.json"

// Type names a message.
type Type string

// The types: first those to the host, then those from it.
const (
	TypeWelcome Type = "welcome"
	TypeJob     Type = "job"
	TypeAck     Type = "ack"
	TypeCancel  Type = "cancel"
	TypeCredit  Type = "credit"
	TypeDrain   Type = "drain"

	TypeHello    Type = "hello"
	TypeTake     Type = "take"
	TypeAccepted Type = "accepted"
	TypeRejected Type = "rejected"
	TypeStarted  Type = "started"
	TypeOutput   Type = "output"
	TypeGap      Type = "gap"
	TypeFinished Type = "finished"
)

// Message is one unit of a session, either way. The concrete types are pointers
// to the structs of this package. Times are Unix milliseconds, durations
// milliseconds, sizes bytes.
type Message interface{ Type() Type }

// Welcome answers hello and take.
type Welcome struct {
	Session int64 `json:"session,omitempty"` // 0 in standby
	Standby bool  `json:"standby,omitempty"`
	N       int64 `json:"n"` // number of the last message; those up to it are settled
	Time    int64 `json:"time"`
	Ping    int64 `json:"ping"` // interval at which the agent pings
	Dead    int64 `json:"dead"` // silence after which either side gives up
	Credit  int64 `json:"credit"`
	// MaxFrame is the largest frame or POST body that the gateway takes.
	MaxFrame   int64    `json:"max_frame"`
	Executions []Resume `json:"executions,omitempty"`
}

// Verdict tells what to do with an execution; the words of queue.Verdict.
type Verdict string

// The verdicts.
const (
	VerdictNone   Verdict = ""
	VerdictGo     Verdict = "go"
	VerdictCancel Verdict = "cancel"
	VerdictForget Verdict = "forget"
)

// Resume answers an execution that the hello named: send events from Stored+1
// on, under the verdict.
type Resume struct {
	Execution string  `json:"execution"`
	Stored    int64   `json:"stored"`
	Verdict   Verdict `json:"verdict,omitempty"`
	Reason    string  `json:"reason,omitempty"`
}

// Job delivers an execution.
type Job struct {
	N            int64  `json:"n"`
	Execution    string `json:"execution"`
	Token        string `json:"token"`
	DeliverUntil int64  `json:"deliver_until"`
	Time         int64  `json:"time"` // gateway's clock when it was sent
	Spec         Spec   `json:"spec"`
	Signature    string `json:"signature,omitempty"`
}

// Spec says what to run. Exactly one of Script, ScriptBase64 and ScriptURL is
// set.
type Spec struct {
	Script       string `json:"script,omitempty"`
	ScriptBase64 []byte `json:"script_b64,omitempty"` // where it isn't UTF-8
	// ScriptURL is a path on the same origin, for a GET with the host's token.
	ScriptURL    string            `json:"script_url,omitempty"`
	ScriptSize   int64             `json:"script_size"`
	ScriptSHA256 string            `json:"script_sha256"` // lower-case hex; to be checked
	User         string            `json:"user,omitempty"`
	Env          map[string]string `json:"env,omitempty"`
	Dir          string            `json:"dir,omitempty"`
	Lane         string            `json:"lane"`
	RunTimeout   int64             `json:"run_timeout"`
	Grace        int64             `json:"grace"`
	OutputLimit  int64             `json:"output_limit"`
}

// Ack says up to which event an execution is stored. On accepted, Verdict is
// go or forget.
type Ack struct {
	Execution string  `json:"execution"`
	Stored    int64   `json:"stored"`
	Verdict   Verdict `json:"verdict,omitempty"`
	Reason    string  `json:"reason,omitempty"`
	// Token is that of the accepted that this answers, if it answers one. Where the
	// execution was delivered under another token meanwhile, the ack says nothing about that.
	Token string `json:"token,omitempty"`
}

// Cancel asks for the end of an execution: TERM to the process group, KILL
// after Grace.
type Cancel struct {
	N         int64  `json:"n"`
	Execution string `json:"execution"`
	Grace     int64  `json:"grace"`
}

// Credit sets how many unacknowledged bytes of events (see EventSize) may be on
// the way. One event may be on the way whatever its size.
type Credit struct {
	Bytes int64 `json:"bytes"`
}

// Drain asks the agent to come back, to any gateway, at a random moment within
// Within; what is on the way should be finished first.
type Drain struct {
	Within int64 `json:"within"`
}

// Hello begins a session; over the poll it is POSTed.
type Hello struct {
	AgentVersion string            `json:"agent_version"`
	BootID       string            `json:"boot_id"`
	Generation   string            `json:"generation"` // of the journal
	Position     int64             `json:"position"`   // of the journal, now
	Nonce        string            `json:"nonce"`      // of this process
	Standby      bool              `json:"standby,omitempty"`
	After        int64             `json:"after,omitempty"` // last N that arrived
	Slots        map[string]int    `json:"slots,omitempty"`
	Facts        map[string]string `json:"facts,omitempty"`
	Executions   []InHand          `json:"executions,omitempty"`
}

// InHand is an execution that the agent has.
type InHand struct {
	Execution string `json:"execution"`
	Token     string `json:"token"`
	Seq       int64  `json:"seq"` // last event made
}

// Take makes a standby connection the one that delivers: a fresh hello, answered by a
// welcome.
type Take struct {
	Hello
}

// Accepted says that the agent has journalled the execution. Seq is 1.
type Accepted struct {
	Execution string `json:"execution"`
	Seq       int64  `json:"seq"`
	At        int64  `json:"at"`
	Token     string `json:"token"`
	Position  int64  `json:"position"` // of the record in the journal
}

// Rejected says that the host won't run the execution. Seq is 1 or 2.
type Rejected struct {
	Execution string `json:"execution"`
	Seq       int64  `json:"seq"`
	At        int64  `json:"at"`
	Token     string `json:"token"`
	Reason    string `json:"reason"`
}

// Started says that the script was started.
type Started struct {
	Execution string `json:"execution"`
	Seq       int64  `json:"seq"`
	At        int64  `json:"at"`
}

// Stream names an output stream.
type Stream string

// The streams.
const (
	Stdout Stream = "stdout"
	Stderr Stream = "stderr"
)

// Output carries a piece of output: Text where it is valid UTF-8, else Data.
type Output struct {
	Execution string `json:"execution"`
	Seq       int64  `json:"seq"`
	At        int64  `json:"at"`
	Stream    Stream `json:"stream"`
	Text      string `json:"text,omitempty"`
	Data      []byte `json:"b64,omitempty"`
}

// Bytes is the output as the script wrote it, 1 to MaxChunk bytes.
func (o *Output) Bytes() []byte {
	if o.Data != nil {
		return o.Data
	}
	return []byte(o.Text)
}

// Gap stands for the events Seq to Through, whose data the agent no longer
// has.
type Gap struct {
	Execution string `json:"execution"`
	Seq       int64  `json:"seq"`
	Through   int64  `json:"through"`
	At        int64  `json:"at"`
	Bytes     int64  `json:"bytes"`
}

// Outcome is how an execution ended; the words of queue.State.
type Outcome string

// The outcomes that an agent reports.
const (
	Succeeded Outcome = "succeeded"
	Failed    Outcome = "failed"
	TimedOut  Outcome = "timed_out"
	Cancelled Outcome = "cancelled"
	Lost      Outcome = "lost"
)

// Finished says how the script ended. It is the last event.
type Finished struct {
	Execution string  `json:"execution"`
	Seq       int64   `json:"seq"`
	At        int64   `json:"at"`
	Outcome   Outcome `json:"outcome"`
	ExitCode  int     `json:"exit_code"` // -1 if it didn't exit
	Signal    string  `json:"signal,omitempty"`
	Reason    string  `json:"reason,omitempty"`
	Dropped   int64   `json:"dropped,omitempty"` // output bytes beyond the limit
}

func (*Welcome) Type() Type  { return TypeWelcome }
func (*Job) Type() Type      { return TypeJob }
func (*Ack) Type() Type      { return TypeAck }
func (*Cancel) Type() Type   { return TypeCancel }
func (*Credit) Type() Type   { return TypeCredit }
func (*Drain) Type() Type    { return TypeDrain }
func (*Hello) Type() Type    { return TypeHello }
func (*Take) Type() Type     { return TypeTake }
func (*Accepted) Type() Type { return TypeAccepted }
func (*Rejected) Type() Type { return TypeRejected }
func (*Started) Type() Type  { return TypeStarted }
func (*Output) Type() Type   { return TypeOutput }
func (*Gap) Type() Type      { return TypeGap }
func (*Finished) Type() Type { return TypeFinished }

// Event is a message about one execution, from its host.
type Event interface {
	Message
	// Ref gives the execution and the event's number.
	Ref() (execution string, seq int64)
}

func (m *Accepted) Ref() (string, int64) { return m.Execution, m.Seq }
func (m *Rejected) Ref() (string, int64) { return m.Execution, m.Seq }
func (m *Started) Ref() (string, int64)  { return m.Execution, m.Seq }
func (m *Output) Ref() (string, int64)   { return m.Execution, m.Seq }
func (m *Gap) Ref() (string, int64)      { return m.Execution, m.Seq }
func (m *Finished) Ref() (string, int64) { return m.Execution, m.Seq }

// EventSize is what an event counts against the credit.
func EventSize(e Event) int64 {
	const overhead = 128 // about what an empty event takes in JSON
	if o, ok := e.(*Output); ok {
		return overhead + int64(len(o.Text)+len(o.Data))
	}
	return overhead
}
