package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/rexgate/rexgate/client/clienttest"
)

// chrome is the browser of all tests of the page, started with the first that asks for it.
var (
	chrome  = sync.OnceValues(startBrowser)
	running *browser // written by the start, read after all tests
)

// browser is Debian's Chromium, behind a bridge in node that speaks JSON lines.
type browser struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	done  chan struct{} // closed when the bridge has ended

	mu      sync.Mutex // guards what follows
	last    int
	waiting map[int]chan answer
	err     error // why there are no more answers
}

type answer struct {
	ID    int             `json:"id"`
	Value json.RawMessage `json:"value"`
	Error string          `json:"error"`
}

const bridge = "../../web/test/bridge.mjs"

func startBrowser() (*browser, error) {
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		return nil, errors.New("find chromium: it isn't installed")
	}
	if _, err := exec.LookPath("node"); err != nil {
		return nil, errors.New("find node: it isn't installed")
	}
	if _, err := os.Stat("../../web/test/node_modules/playwright-core"); err != nil {
		return nil, errors.New("find playwright-core: `make tools` installs it")
	}
	b := &browser{cmd: exec.Command("node", bridge), done: make(chan struct{}), waiting: map[int]chan answer{}}
	b.cmd.Env = append(cleanEnv(), "REXGATE_TEST_CHROMIUM="+chromium)
	b.cmd.Stderr = os.Stderr
	if b.stdin, err = b.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := b.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := b.cmd.Start(); err != nil {
		return nil, err
	}
	go b.read(out)
	running = b
	return b, nil
}

// read hands the answers out until the bridge ends.
func (b *browser) read(out io.Reader) {
	defer close(b.done)
	lines := bufio.NewReader(out)
	var err error
	for err == nil {
		var line []byte
		if line, err = lines.ReadBytes('\n'); err != nil {
			break
		}
		var a answer
		if err = json.Unmarshal(line, &a); err != nil {
			break
		}
		b.mu.Lock()
		ch := b.waiting[a.ID]
		delete(b.waiting, a.ID)
		b.mu.Unlock()
		if ch != nil {
			ch <- a // it has room
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = fmt.Errorf("the browser's bridge has ended: %w", err)
	for _, ch := range b.waiting {
		ch <- answer{Error: b.err.Error()}
	}
	clear(b.waiting)
}

// stopBrowser ends it, if any test has started it.
func stopBrowser() {
	if running != nil {
		running.stdin.Close()
		<-running.done
		running.cmd.Wait()
	}
}

// do gives a command and waits for its answer.
func (b *browser) do(ctx context.Context, name string, args map[string]any) (json.RawMessage, error) {
	ch := make(chan answer, 1)
	b.mu.Lock()
	if b.err != nil {
		b.mu.Unlock()
		return nil, b.err
	}
	b.last++
	id := b.last
	b.waiting[id] = ch
	b.mu.Unlock()
	line := map[string]any{"id": id, "do": name}
	for k, v := range args {
		line[k] = v
	}
	text, err := json.Marshal(line)
	if err != nil {
		return nil, err
	}
	if _, err := b.stdin.Write(append(text, '\n')); err != nil { // one write: lines stay whole
		return nil, err
	}
	select {
	case a := <-ch:
		if a.Error != "" {
			return nil, errors.New(a.Error)
		}
		return a.Value, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// page is a page in a context of its own.
type page struct {
	t       *testing.T
	b       *browser
	id      int
	origins []string // that it may talk to
}

// openPage opens an address. Whatever must not happen on a page fails the test at its end: errors, violations
// of the policy, dialogs, requests to elsewhere.
func openPage(t *testing.T, address string, hosts ...string) *page {
	t.Helper()
	return openSized(t, address, nil, hosts...)
}

func openSized(t *testing.T, address string, look map[string]any, hosts ...string) *page {
	t.Helper()
	b, err := chrome()
	if err != nil {
		clienttest.Lacking(t, "%v", err)
	}
	p := &page{t: t, b: b, origins: hosts}
	args := map[string]any{"url": address}
	for k, v := range look {
		args[k] = v
	}
	if err := json.Unmarshal(p.do("open", args), &p.id); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close)
	return p
}

// tab opens an address in another tab beside the page.
func (p *page) tab(address string) *page {
	p.t.Helper()
	return &page{t: p.t, b: p.b, id: decoded[int](p, "tab", map[string]any{"url": address})}
}

func (p *page) do(name string, args map[string]any) json.RawMessage {
	p.t.Helper()
	if args == nil {
		args = map[string]any{}
	}
	args["page"] = p.id
	ctx, cancel := context.WithTimeout(context.WithoutCancel(p.t.Context()), patience)
	defer cancel()
	value, err := p.b.do(ctx, name, args)
	if err != nil {
		if p.id != 0 && name != "close" {
			p.t.Logf("the page at %s:\n%s", p.look("url", nil), p.look("text", map[string]any{"selector": "body"}))
		}
		p.t.Fatalf("%s %v: %v", name, args, err)
	}
	return value
}

// look is do for what is only said of a failure.
func (p *page) look(name string, args map[string]any) string {
	if args == nil {
		args = map[string]any{}
	}
	args["page"] = p.id
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	value, err := p.b.do(ctx, name, args)
	var text string
	if err == nil {
		err = json.Unmarshal(value, &text)
	}
	if err != nil {
		return err.Error()
	}
	return text
}

// close takes the page away and says what it did wrong.
func (p *page) close() {
	if p.t.Failed() {
		p.t.Logf("the page at %s:\n%s", p.look("url", nil), p.look("text", map[string]any{"selector": "body"}))
	}
	var end struct {
		Faults, Origins []string
	}
	if err := json.Unmarshal(p.do("close", nil), &end); err != nil {
		p.t.Fatal(err)
	}
	for _, f := range end.Faults {
		p.t.Errorf("on the page: %s", f)
	}
	allowed := map[string]bool{}
	for _, o := range p.origins {
		allowed[o] = true
	}
	for _, o := range end.Origins {
		if !allowed[o] {
			p.t.Errorf("the page asked %s, which is none of %q", o, p.origins)
		}
	}
}

// sees waits until an element with the text is seen.
func (p *page) sees(selector, text string) {
	p.t.Helper()
	p.do("wait", map[string]any{"selector": selector, "text": text})
}

// matches waits until an element whose text matches is seen.
func (p *page) matches(selector, pattern string) {
	p.t.Helper()
	p.do("wait", map[string]any{"selector": selector, "pattern": pattern})
}

// gone waits until no such element is seen.
func (p *page) gone(selector, text string) {
	p.t.Helper()
	p.do("gone", map[string]any{"selector": selector, "text": text})
}

func (p *page) click(selector, text string) {
	p.t.Helper()
	p.do("click", map[string]any{"selector": selector, "text": text})
}

func (p *page) fill(selector, text string) {
	p.t.Helper()
	p.do("fill", map[string]any{"selector": selector, "text": text})
}

func (p *page) text(selector string) string {
	p.t.Helper()
	return decoded[string](p, "text", map[string]any{"selector": selector})
}

func (p *page) url() string {
	p.t.Helper()
	return decoded[string](p, "url", nil)
}

// eval evaluates an expression in the page.
func eval[T any](p *page, expression string) T {
	p.t.Helper()
	return decoded[T](p, "eval", map[string]any{"text": expression})
}

func decoded[T any](p *page, name string, args map[string]any) T {
	p.t.Helper()
	var v T
	if err := json.Unmarshal(p.do(name, args), &v); err != nil {
		p.t.Fatal(err)
	}
	return v
}
