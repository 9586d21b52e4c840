package gatebench

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/golang-jwt/jwt/v5"

	"github.com/rexgate/rexgate/session/wire"
)

// fleet is the hosts' ends.
type fleet struct {
	hosts []*host
}

// obey does what it is told until its input ends.
func (f *fleet) obey(in io.Reader, out io.Writer) int {
	lines := bufio.NewScanner(in)
	answers := json.NewEncoder(out)
	for lines.Scan() {
		var o order
		var r report
		err := json.Unmarshal(lines.Bytes(), &o)
		if err == nil {
			r, err = f.do(o)
		}
		if err != nil {
			r.Err = err.Error()
		}
		if answers.Encode(r) != nil {
			return 1
		}
	}
	return 0
}

func (f *fleet) do(o order) (report, error) {
	switch o.Do {
	case "connect":
		return report{}, f.connect(o)
	case "ping":
		return report{}, f.ping()
	case "polls":
		return f.polls(o)
	}
	return report{}, fmt.Errorf("what is %q?", o.Do)
}

// host is one host's end: no agent, but it says what one would.
type host struct {
	i       int
	url     string
	client  *http.Client // with one connection of its own
	token   string
	session int64
	after   int64
	conn    *websocket.Conn
}

func (f *fleet) connect(o order) error {
	hosts := make([]*host, o.Hosts)
	for i := range hosts {
		var err error
		if hosts[i], err = newHost(o.From+i, o.URL); err != nil {
			return err
		}
	}
	f.hosts = append(f.hosts, hosts...)
	if err := each(hosts, func(h *host) error { return h.begin(o.Poll) }); err != nil {
		return err
	}
	for _, h := range hosts {
		switch {
		case o.Idle:
		case o.Poll:
			go func() { h.ended(h.runPolls()) }()
		default:
			go func() { h.ended(h.runSocket()) }()
			go h.keepAlive()
		}
	}
	return nil
}

func (f *fleet) ping() error { return each(f.hosts, (*host).ping) }

// each calls fn for all hosts, some at a time, and gives the first error.
func each(hosts []*host, fn func(*host) error) error {
	var wg sync.WaitGroup
	var mu sync.Mutex // guards the following
	var first error
	next := make(chan *host)
	for range 64 {
		wg.Go(func() {
			for h := range next {
				if err := fn(h); err != nil {
					mu.Lock()
					if first == nil {
						first = fmt.Errorf("host %d: %w", h.i, err)
					}
					mu.Unlock()
				}
			}
		})
	}
	for _, h := range hosts {
		next <- h
	}
	close(next)
	wg.Wait()
	return first
}

func newHost(i int, url string) (*host, error) {
	now := time.Now()
	id := string(hostID(i))
	token, err := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.RegisteredClaims{
		Issuer: id, Subject: id, Audience: jwt.ClaimStrings{wire.Audience},
		IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(10 * time.Minute)),
	}).SignedString(keyOf(i))
	// More than about 1,000 connections from one address to one port cost the kernel a search for each.
	from := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(1+i/1000))}}
	return &host{i: i, url: url, token: token, client: &http.Client{Transport: &http.Transport{
		DialContext: from.DialContext, MaxConnsPerHost: 1, IdleConnTimeout: time.Hour,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // made for the benchmark
	}}}, err
}

func (h *host) hello() *wire.Hello {
	return &wire.Hello{
		AgentVersion: "1.0.0", BootID: "6d1e8f7e-5d3f-4a3a-9f1c-0c1d8d1e9a77", Generation: "0f9c2b7ae1d84c55", Nonce: "b7ae1d84c55f9c20",
		Slots: map[string]int{"default": 1, "urgent": 1}, Facts: map[string]string{"os": "linux", "arch": "amd64", "hostname": string(hostID(h.i))},
	}
}

func (h *host) begin(poll bool) error {
	if poll {
		msgs, _, err := h.ask(http.MethodPost, wire.PathMessages, h.hello())
		if err != nil {
			return err
		}
		h.session = msgs[0].(*wire.Welcome).Session
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var err error
	h.conn, _, err = websocket.Dial(ctx, h.url+wire.PathSocket, &websocket.DialOptions{
		HTTPClient: h.client, HTTPHeader: http.Header{"Authorization": {"Bearer " + h.token}},
		Subprotocols: []string{wire.Subprotocol}, CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil {
		return err
	}
	h.conn.SetReadLimit(wire.MaxFrame)
	if err := h.send(h.hello()); err != nil {
		return err
	}
	_, err = h.receive()
	return err
}

// ask makes a request, and gives the messages and how long it took.
func (h *host) ask(method, path string, msgs ...wire.Message) ([]wire.Message, time.Duration, error) {
	var body []byte
	if len(msgs) > 0 {
		body, _ = wire.Encode(msgs...)
	}
	req, err := http.NewRequest(method, h.url+path, bytes.NewReader(body))
	if err != nil {
		return nil, 0, err
	}
	req.Header.Set("Authorization", "Bearer "+h.token)
	began := time.Now()
	resp, err := h.client.Do(req)
	if err != nil {
		return nil, 0, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	took := time.Since(began)
	switch {
	case err != nil:
		return nil, took, err
	case resp.StatusCode == http.StatusNoContent:
		return nil, took, nil
	case resp.StatusCode != http.StatusOK:
		return nil, took, fmt.Errorf("%s: %s", resp.Status, text)
	}
	got, err := wire.Decode(text)
	return got, took, err
}

func (h *host) send(msgs ...wire.Message) error {
	frame, err := wire.Encode(msgs...)
	if err != nil {
		return err
	}
	return h.conn.Write(context.Background(), websocket.MessageText, frame)
}

func (h *host) receive() ([]wire.Message, error) {
	_, frame, err := h.conn.Read(context.Background())
	if err != nil {
		return nil, err
	}
	return wire.Decode(frame)
}

// ended says why a host's connection ended, as it does with the benchmark.
func (h *host) ended(err error) {
	if h.i == 0 {
		fmt.Fprintln(os.Stderr, "the first host:", err)
	}
}

func (h *host) runSocket() error {
	for {
		msgs, err := h.receive()
		if err != nil {
			return err
		}
		for _, m := range msgs {
			switch m := m.(type) {
			case *wire.Job:
				err = h.send(accepted(m))
			case *wire.Ack:
				if m.Verdict == wire.VerdictGo {
					err = h.send(rest(m.Execution)...)
				}
			}
			if err != nil {
				return err
			}
		}
	}
}

// keepAlive pings as agents do.
func (h *host) keepAlive() {
	for time.Sleep(wire.PingInterval); h.ping() == nil; time.Sleep(wire.PingInterval) {
	}
}

func (h *host) ping() error {
	ctx, cancel := context.WithTimeout(context.Background(), wire.DeadAfter)
	defer cancel()
	return h.conn.Ping(ctx)
}

func (h *host) runPolls() error {
	for {
		msgs, _, err := h.poll(10 * time.Minute)
		if err != nil {
			return err
		}
		for _, m := range msgs {
			j, ok := m.(*wire.Job)
			if !ok {
				continue
			}
			h.after = j.N
			path := fmt.Sprintf("%s?session=%d", wire.PathMessages, h.session)
			acks, _, err := h.ask(http.MethodPost, path, accepted(j))
			if err == nil && acks[0].(*wire.Ack).Verdict == wire.VerdictGo {
				_, _, err = h.ask(http.MethodPost, path, rest(j.Execution)...)
			}
			if err != nil {
				return err
			}
		}
	}
}

func (h *host) poll(wait time.Duration) ([]wire.Message, time.Duration, error) {
	return h.ask(http.MethodGet, fmt.Sprintf("%s?session=%d&after=%d&wait=%s", wire.PathPoll, h.session, h.after, wait))
}

func accepted(j *wire.Job) wire.Message {
	return &wire.Accepted{Execution: j.Execution, Seq: 1, At: time.Now().UnixMilli(), Token: j.Token, Position: 1}
}

// rest is what an instant script gives, all at once.
func rest(x string) []wire.Message {
	at := time.Now().UnixMilli()
	return []wire.Message{
		&wire.Started{Execution: x, Seq: 2, At: at},
		&wire.Output{Execution: x, Seq: 3, At: at, Stream: wire.Stdout, Text: "hello\n"},
		&wire.Finished{Execution: x, Seq: 4, At: at, Outcome: wire.Succeeded},
	}
}

// polls makes empty polls at an even rate, of all hosts in turn, whether those before are
// answered or not. Each one's latency counts from when it was due, so that an answer
// that holds up the next poll of the same host counts twice.
func (f *fleet) polls(o order) (report, error) {
	took := make([]float64, o.Count)
	var wg sync.WaitGroup
	var mu sync.Mutex // guards the following
	var first error
	begin := time.Now()
	for i := range o.Count {
		due := begin.Add(time.Duration(float64(i) / o.Rate * float64(time.Second)))
		if d := time.Until(due); d > 0 {
			time.Sleep(d)
		}
		wg.Go(func() {
			_, _, err := f.hosts[i%len(f.hosts)].poll(0)
			took[i] = math.Round(time.Since(due).Seconds()*1e6) / 1e3
			mu.Lock()
			defer mu.Unlock()
			if err != nil && first == nil {
				first = err
			}
		})
	}
	wg.Wait()
	slices.Sort(took)
	return report{Latencies: took}, first
}
