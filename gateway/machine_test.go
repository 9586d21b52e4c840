package gateway

import (
	"crypto/ed25519"
	"fmt"
	"strconv"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/session/wire"
)

// machine is a host that speaks the poll, just as far as a test drives it.
type machine struct {
	b       *bed
	id      string
	key     ed25519.PrivateKey
	session int64
	after   int64
}

// enroll enrols a host by the API.
func (b *bed) enroll(id string, labels map[string]string) *machine {
	b.t.Helper()
	token := read[api.EnrollToken](b.ask("POST", "/v1/tokens/enroll", b.operator(), api.EnrollTokenRequest{Labels: labels}).is(201, "")).Token
	m := &machine{b: b, id: id}
	b.enrollWith(m, token).is(200, "")
	return m
}

func (b *bed) enrollWith(m *machine, token string) *answer {
	b.t.Helper()
	if m.key == nil {
		m.key = mustKey(b.t)
	}
	return b.ask("POST", wire.PathEnroll, token, wire.EnrollRequest{Host: m.id,
		PublicKey: m.key.Public().(ed25519.PublicKey), Proof: ed25519.Sign(m.key, wire.EnrollProof(m.id, token))})
}

func (m *machine) token() string { return m.tokenAt(time.Now()) }

func (m *machine) tokenAt(now time.Time) string {
	m.b.t.Helper()
	s, err := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{"iss": m.id, "sub": m.id, "aud": wire.Audience,
		"iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix()}).SignedString(m.key)
	if err != nil {
		m.b.t.Fatal(err)
	}
	return s
}

func (m *machine) post(msgs ...wire.Message) *answer {
	m.b.t.Helper()
	body, err := wire.Encode(msgs...)
	if err != nil {
		m.b.t.Fatal(err)
	}
	path := wire.PathMessages
	if m.session != 0 {
		path += "?session=" + strconv.FormatInt(m.session, 10)
	}
	return m.b.ask("POST", path, m.token(), body)
}

func messages(a *answer) []wire.Message {
	a.t.Helper()
	if a.status == 204 {
		return nil
	}
	msgs, err := wire.Decode(a.is(200, "").body)
	if err != nil {
		a.t.Fatal(err)
	}
	return msgs
}

// hello begins a session.
func (m *machine) hello() {
	m.b.t.Helper()
	m.session = 0
	for _, msg := range messages(m.post(&wire.Hello{AgentVersion: "test", BootID: "b", Generation: "g-" + m.id, Nonce: "n-" + m.id, After: m.after})) {
		if w, ok := msg.(*wire.Welcome); ok {
			m.session, m.after = w.Session, w.N
		}
	}
	if m.session == 0 {
		m.b.t.Fatal("no welcome")
	}
}

func (m *machine) pollPath(wait string) string {
	return fmt.Sprintf("%s?session=%d&after=%d&wait=%s", wire.PathPoll, m.session, m.after, wait)
}

// take polls until a job comes.
func (m *machine) take() *wire.Job {
	m.b.t.Helper()
	end := time.Now().Add(20 * time.Second)
	for time.Now().Before(end) {
		for _, msg := range messages(m.b.ask("GET", m.pollPath("5s"), m.token(), nil)) {
			switch v := msg.(type) {
			case *wire.Job:
				m.after = max(m.after, v.N)
				return v
			case *wire.Cancel:
				m.after = max(m.after, v.N)
			}
		}
	}
	m.b.t.Fatal("no job came")
	return nil
}

// script runs a job in play: it accepts it, and tells what the test says it did.
type play struct {
	m   *machine
	job *wire.Job
	seq int64
}

func (m *machine) start() *play {
	m.b.t.Helper()
	j := m.take()
	p := &play{m: m, job: j, seq: 2}
	now := time.Now().UnixMilli()
	for _, msg := range messages(m.post(
		&wire.Accepted{Execution: j.Execution, Seq: 1, At: now, Token: j.Token, Position: 1},
		&wire.Started{Execution: j.Execution, Seq: 2, At: now})) {
		if a, ok := msg.(*wire.Ack); ok && a.Stored < 1 {
			m.b.t.Fatalf("accepted wasn't stored: %+v", a)
		}
	}
	return p
}

func (p *play) next() int64 { p.seq++; return p.seq }

func (p *play) says(stream wire.Stream, text string) {
	p.m.b.t.Helper()
	p.m.post(&wire.Output{Execution: p.job.Execution, Seq: p.next(), At: time.Now().UnixMilli(), Stream: stream, Text: text}).is(200, "")
}

func (p *play) loses(bytes int64) {
	p.m.b.t.Helper()
	n := p.next()
	p.m.post(&wire.Gap{Execution: p.job.Execution, Seq: n, Through: n, At: time.Now().UnixMilli(), Bytes: bytes}).is(200, "")
}

func (p *play) ends(exit int, dropped int64) {
	p.m.b.t.Helper()
	outcome := wire.Succeeded
	if exit != 0 {
		outcome = wire.Failed
	}
	p.m.post(&wire.Finished{Execution: p.job.Execution, Seq: p.next(), At: time.Now().UnixMilli(), Outcome: outcome, ExitCode: exit, Dropped: dropped}).is(200, "")
}
